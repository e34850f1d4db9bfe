//! The example environments, read with the words of the real venues.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::path::Path;
use std::sync::Arc;

use ssmd_core::SystemClock;
use ssmd_core::environment::{Checked, Environment, json_schema};
use ssmd_feeds::dial::Dialer;
use ssmd_feeds::tls::client_config;
use ssmd_feeds::{OpenContext, Subscriptions, open, vocabulary};

#[test]
fn every_example_loads_and_its_feeds_open() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/environments");
    if !folder.exists() {
        // The packaged crate has no examples beside it.
        return;
    }
    let tls = client_config(None).unwrap();
    let context = OpenContext {
        dial: Arc::new(Dialer::new(Arc::clone(&tls), false)),
        tls,
        clock: Arc::new(SystemClock::new()),
        subscriptions: Subscriptions::default(),
    };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let checked = Environment::check(&text, &path.to_string_lossy(), &vocabulary());
        match checked.and_then(Checked::to_start) {
            Ok(environment) => {
                environment.feeds.iter().for_each(|feed| drop(open(feed, &context).unwrap()));
            }
            Err(problems) => panic!("{problems}"),
        }
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}

/// `UPDATE_EXPECT=1` writes it anew; it follows from the table of keys and the venues' words.
#[test]
fn the_schema_for_editors_is_the_one_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environment.schema.json");
    if !path.parent().unwrap().exists() {
        // The packaged crate has no docs beside it.
        return;
    }
    let schema = format!("{:#}\n", json_schema(&vocabulary()));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == schema, "docs/environment.schema.json is another; UPDATE_EXPECT=1 rewrites it");
}
