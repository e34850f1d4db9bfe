//! A WebSocket feed keeps what every feed promises.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::Server;
use common::toy::Toy;
use ssmd_core::conformance::feed::Harness;
use ssmd_core::{Feed, FrameKind, Result, Tasks};
use ssmd_feeds::ws::Liveness;

/// A venue that says the same to everyone and then says goodbye.
#[derive(Default)]
struct Venue {
    tasks: Tasks,
}

const SAID: [(FrameKind, &str); 5] = [
    (FrameKind::Control, "+trade A"),
    (FrameKind::Data, "one"),
    (FrameKind::Unknown, "?two"),
    (FrameKind::Control, "beat"),
    (FrameKind::Data, "three"),
];

#[async_trait]
impl Harness for Venue {
    async fn open(&mut self) -> Result<Arc<dyn Feed>> {
        let server = Server::start().await;
        // The suite moves the clock to the next sleeper whenever it waits, also for the kernel: beats take the
        // jumps, so that silence stays far away.
        let (heartbeat, silence) = (Duration::from_secs(1), Duration::from_secs(1_000_000));
        let toy = Toy { heartbeat, silence, alive: None, ..Toy::new(&server.url) };
        let feed = toy.feed(Liveness::Messages, &["A"], 100);
        self.tasks.spawn("venue", async move {
            let mut talks = Tasks::new();
            loop {
                let mut peer = server.accept_whenever().await;
                talks.spawn("talk", async move {
                    // The subscription comes first, so that it has its place before what is said.
                    peer.hear().await;
                    for (_, text) in SAID {
                        if peer.try_say(text).await.is_err() {
                            return Ok(());
                        }
                    }
                    peer.goodbye().await;
                    Ok(())
                });
            }
        });
        Ok(Arc::new(feed))
    }

    fn known(&self) -> Option<Vec<(FrameKind, Vec<u8>)>> {
        let sent = (FrameKind::Sent, b"+trade A".to_vec());
        Some([sent].into_iter().chain(SAID.map(|(kind, text)| (kind, text.as_bytes().to_vec()))).collect())
    }

    fn completes(&self) -> bool {
        false
    }
}

ssmd_core::feed_conformance!(ws, async { Venue::default() });
