//! A feed as configuration opens it, over loopback.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{Decode, FrameKind, Frames, Output, SystemClock};
use ssmd_feeds::tls::client_config;
use ssmd_feeds::{OpenContext, Subscriptions};

use super::{dialer, soon};

/// Frames taken at once.
pub const BATCH: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// A feed of these channels and symbols, at `url` or at the venue's own address.
pub fn spec(venue: &str, url: Option<String>, channels: &[&str], symbols: &[&str]) -> FeedSpec {
    FeedSpec {
        url,
        channels: channels.iter().map(|channel| channel.parse().unwrap()).collect(),
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        ..FeedSpec::new(venue.parse().unwrap())
    }
}

/// What opens feeds, with the machine's clock.
pub fn context() -> OpenContext {
    OpenContext {
        dial: dialer(),
        tls: client_config(None).unwrap(),
        clock: Arc::new(SystemClock::new()),
        subscriptions: Subscriptions::default(),
    }
}

/// Decodes what comes, all of which must be known, and asks again for what is broken, until it is enough.
pub async fn until(
    frames: &mut dyn Frames,
    decoder: &mut dyn Decode,
    out: &mut Vec<Output>,
    mut enough: impl FnMut(&dyn Decode, &[Output]) -> bool,
) {
    while !enough(decoder, out) {
        for frame in soon("receive", frames.next(BATCH)).await.unwrap() {
            assert_ne!(frame.kind, FrameKind::Unknown, "{:?}", frame.payload);
            let before = out.len();
            decoder.decode(&frame, out).unwrap();
            let broken: Vec<_> = out[before..]
                .iter()
                .filter_map(|output| match output {
                    Output::Resync(symbol) => Some(symbol.clone()),
                    Output::Record(_) => None,
                })
                .collect();
            for symbol in broken {
                frames.resync(&symbol).await.unwrap();
            }
        }
    }
}
