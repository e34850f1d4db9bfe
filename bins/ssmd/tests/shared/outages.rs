//! The whole path through servers, as the example of it declares it: each of them is away for a while, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use futures_util::TryStreamExt;
use serde_json::Value;
use ssmd_core::environment::{Secret, StoreSpec};
use ssmd_core::{Clock, Store, SystemClock};
use ssmd_storage::S3Store;
use tempfile::tempdir;

use super::redis::{ask, latest, redis, redis_again};
use super::rig::{Running, ended, run, ssmd, store_of, text_of, until};
use super::{Server, binary, keyed, keyed_json, number, objects, pause, server, servers, until_feed};

const EXAMPLE: &str = include_str!("../../../../examples/environments/nats-s3.yaml");
const BUCKET: &str = "ssmd-nats-s3-raw";
/// What the example's cache keeps of the symbols that it names.
const KEYS: [&str; 6] = [
    "ssmd:nats-s3:kraken.ticker.BTC~2FUSD",
    "ssmd:nats-s3:kraken.trade.BTC~2FUSD",
    "ssmd:nats-s3:kraken.book.BTC~2FUSD",
    "ssmd:nats-s3:kraken.ticker.ETH~2FUSD",
    "ssmd:nats-s3:kraken.trade.ETH~2FUSD",
    "ssmd:nats-s3:kraken.book.ETH~2FUSD",
];
/// How much more memory an outage may take: the relay's window and what the client of NATS holds are 8 MiB each.
const GROWTH_MAX: u64 = 32 << 20;

/// A text with one thing in it replaced, which must be there.
fn replaced(text: &str, what: &str, by: &str) -> String {
    assert!(text.contains(what), "{what} is not in {text}");
    text.replace(what, by)
}

/// The servers of the example. `None` of Redis is one that is away.
struct Servers {
    nats: Server,
    redis: Option<server::Server>,
    redis_port: u16,
    garage: servers::Server,
}

impl Servers {
    fn start() -> Option<Self> {
        let (nats, redis, garage) = (Server::start("max_payload: 8MB")?, redis()?, servers::own_garage()?);
        garage.named_bucket(BUCKET);
        Some(Self { nats, redis_port: redis.port, redis: Some(redis), garage })
    }

    /// The example with the addresses of these.
    fn example(&self) -> String {
        let text = replaced(EXAMPLE, "nats://127.0.0.1:4222", &self.nats.url());
        let text =
            replaced(&text, "redis://127.0.0.1:6379", &format!("redis://127.0.0.1:{}", self.redis_port));
        replaced(&text, "http://127.0.0.1:3900", &format!("http://{}", self.garage.address))
    }

    fn stop(&mut self, which: Which) {
        if matches!(which, Which::Nats | Which::All) {
            self.nats.kill();
        }
        if matches!(which, Which::Redis | Which::All) {
            self.redis.take().unwrap().kill();
        }
        if matches!(which, Which::Garage | Which::All) {
            self.garage.stop();
        }
    }

    fn start_again(&mut self, which: Which) {
        if matches!(which, Which::Nats | Which::All) {
            self.nats.restart();
        }
        if matches!(which, Which::Redis | Which::All) {
            self.redis = Some(redis_again(self.redis_port));
        }
        if matches!(which, Which::Garage | Which::All) {
            self.garage.restart();
        }
    }

    /// The number of the entry that each of the latest values comes from, once all are in Redis.
    fn latest(&self) -> BTreeMap<&'static str, u64> {
        let of = |key| {
            let record = latest(self.redis.as_ref().unwrap(), key);
            record["source"].as_str().unwrap().rsplit_once('/').unwrap().1.parse().unwrap()
        };
        KEYS.into_iter().map(|key| (key, of(key))).collect()
    }

    /// Waits until each of the latest values comes from an entry behind this one.
    fn until_latest(&self, after: u64) {
        until("new latest values", || self.latest().values().all(|n| *n > after).then_some(()));
    }

    /// The names of all objects under `raw` in the bucket.
    fn objects(&self) -> BTreeSet<String> {
        let keys = tempdir().unwrap();
        let StoreSpec::S3(mut spec) =
            StoreSpec::parse(&self.garage.store(BUCKET, self.garage.address)).unwrap()
        else {
            panic!("{BUCKET} is no bucket")
        };
        for (name, value) in
            [("access_key_id", servers::ACCESS_KEY_ID), ("secret_access_key", servers::SECRET_ACCESS_KEY)]
        {
            let path = keys.path().join(name);
            std::fs::write(&path, value).unwrap();
            spec.keys.insert(name.to_owned(), Secret::File(text_of(&path)));
        }
        let store: Arc<dyn Store> = Arc::new(S3Store::open(&spec).unwrap());
        let list = async {
            let objects: Vec<_> = store.list(Some(&"raw".parse().unwrap())).try_collect().await.unwrap();
            let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            objects.into_iter().map(|object| name(object.path.as_str())).collect()
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(list)
    }
}

/// Which server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Nats,
    Redis,
    Garage,
    All,
}

/// Holds that capturing goes on while a server is away, and gives the most memory that it took.
fn watch(up: &Running, data: &str, seconds: u64) -> u64 {
    let clock = SystemClock::new();
    let (mut peak, mut durable) = (0, 0);
    while clock.elapsed().as_secs() < seconds {
        let more = until_feed(data, "up", "more entries", |feed| number(feed, "durable") > durable);
        durable = number(&more, "durable");
        peak = up.resident().unwrap_or(0).max(peak);
        pause(100);
    }
    peak
}

#[test]
fn the_example_loses_nothing_while_nats_redis_or_the_bucket_are_away() {
    let Some(mut servers) = Servers::start() else { return };
    let folder = tempdir().unwrap();
    let data = text_of(&folder.path().join("data"));
    let config = text_of(&folder.path().join("nats-s3.yaml"));
    std::fs::write(&config, servers.example()).unwrap();
    let seconds: u64 = std::env::var("SSMD_OUTAGE_SECONDS").map_or(4, |text| text.parse().unwrap());
    let arguments = ["up", "-c", &config, "--data", &data, "--sim"];
    let up = Running::start(keyed(ssmd(&arguments)).env("SSMD_LOG", "error"));
    until_feed(&data, "up", "a copy", |feed| {
        number(feed, "durable") > 300 && number(feed, "relay_behind") < 100
    });
    servers.until_latest(0);
    let (before, mut peak) = (up.resident().unwrap_or(0), 0);

    for which in [Which::Nats, Which::Redis, Which::Garage, Which::All] {
        servers.stop(which);
        peak = watch(&up, &data, seconds).max(peak);
        servers.start_again(which);
        let feed = until_feed(&data, "up", "the copy", |feed| number(feed, "relay_behind") < 100);
        servers.until_latest(number(&feed, "durable"));
    }
    let durable = number(&until_feed(&data, "up", "a status", |_| true), "durable");
    assert_eq!(ask(servers.redis.as_ref().unwrap(), &["FLUSHALL"]), "OK");
    servers.until_latest(durable);

    // The bucket is away when it stops, too: that waits for it a while.
    servers.stop(Which::Garage);
    up.signal("TERM");
    pause(1000 * seconds.min(5));
    servers.start_again(Which::Garage);
    let (stopped, said) = up.end();
    assert!(stopped.success(), "{said}");
    let durable = ssmd_transport::log::inspect(&folder.path().join("data/log/kraken")).unwrap().durable;

    let store = servers.garage.store(BUCKET, servers.garage.address);
    let report = keyed_json(&["verify", "--store", &store, "--json"]);
    for (field, must) in
        [("errors", 0), ("books_failed", 0), ("holes", 0), ("lost", 0), ("gaps", 0), ("entries", durable)]
    {
        assert_eq!(report[field], must, "{field} of {report}");
    }
    let gaps = keyed_json(&["gaps", "--store", &store, "--json"]);
    assert_eq!(gaps, Value::Array(Vec::new()));
    // The stream has what the log has.
    let journal = |more: &[&str]| {
        let listed = run(&[&["journal", "ls", "-c", &config, "--data", &data, "--json"], more].concat());
        serde_json::from_slice::<Value>(&listed.stdout).unwrap()[0].clone()
    };
    let (log, copy) = (journal(&["--local"]), journal(&[]));
    for field in ["origin", "first", "last", "entries", "payload_bytes", "earliest", "latest", "holes"] {
        assert_eq!(log[field], copy[field], "{field}: {log} {copy}");
    }
    assert_eq!((number(&log, "first"), number(&log, "entries")), (1, durable), "{log}");
    same_objects_of_the_stream(&servers, folder.path(), durable);
    let growth = peak.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "{before} bytes before, {peak} at most while servers were away");
    println!(
        "outages-lost 0 (target 0): {durable} entries in {} commits, NATS, Redis, the bucket and all of them away for {seconds} s \
         each; memory grew by {} MiB (target < 32) from {} MiB",
        report["commits"],
        growth >> 20,
        before >> 20
    );
}

/// Archives what the stream has on a machine without a log, into a folder of its own: the same objects under the same
/// names. The buckets of the document are its last part.
fn same_objects_of_the_stream(servers: &Servers, folder: &Path, entries: u64) {
    let (config, elsewhere) = (text_of(&folder.join("copy.yaml")), folder.join("elsewhere"));
    let example = servers.example();
    let (document, _) = example.split_once("  storage:\n").unwrap();
    std::fs::write(&config, format!("{document}  store: \"{}\"\n", store_of(&elsewhere))).unwrap();
    let mut archiver = Command::new(binary("ssmd-archiver"));
    archiver.args(["-c", &config, "--data", &text_of(&elsewhere), "--listen", "127.0.0.1:0", "--once"]);
    let archived = ended(archiver.env("SSMD_LOG", "error"));
    assert!(archived.status.success(), "{}", String::from_utf8_lossy(&archived.stderr));
    let report = keyed_json(&["verify", "--store", &store_of(&elsewhere), "--json"]);
    assert_eq!((number(&report, "entries"), number(&report, "errors")), (entries, 0), "{report}");
    assert_eq!(objects(&elsewhere), servers.objects());
}
