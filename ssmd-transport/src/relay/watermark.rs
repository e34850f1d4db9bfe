//! The watermark's way back: from who archives, through a [`Cache`], to the log that may then forget.

use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Cache, Clock, Error, ErrorKind, Expect, Origin, Positions, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::known::Known;
use super::{Keys, Relay};

/// Told through which number an origin is archived.
pub type Covered = Arc<dyn Fn(Origin, u64) -> Result<()> + Send + Sync>;

/// How often a watermark is put although nothing has changed: a cache may lose what it holds.
const AGAIN_EVERY: Duration = Duration::from_secs(30);

/// Tells what is archived.
pub struct Watermark {
    /// Where.
    pub cache: Arc<dyn Cache>,
    /// Under which names.
    pub keys: Keys,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Through which number each origin is archived.
    pub archived: watch::Receiver<Positions>,
}

impl Watermark {
    /// Tells it until `stop`, and then once more. What cannot be told is tried again; a watermark may be too low.
    ///
    /// # Errors
    /// None: an error is logged, and the log keeps more than it needs.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            let archived = self.archived.borrow_and_update().clone();
            for (origin, n) in archived {
                if let Err(error) = raise(&*self.cache, &self.keys.covered(origin), n).await {
                    tracing::warn!(%origin, %error, "could not tell what is archived; trying again");
                }
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                changed = self.archived.changed() => if changed.is_err() {
                    stop.cancelled().await;
                },
                () = self.clock.sleep(AGAIN_EVERY) => {}
            }
        }
    }
}

/// Puts a watermark unless a higher one is there.
async fn raise(cache: &dyn Cache, key: &str, n: u64) -> Result<()> {
    loop {
        let there = cache.get(key).await?;
        let known = there.as_ref().and_then(|there| parse(&there.value));
        if known.is_some_and(|known| known >= n) {
            return Ok(());
        }
        let expect = there.map_or(Expect::Absent, |there| Expect::Version(there.version));
        match cache.put(key, n.to_string().into(), expect, None).await {
            // Somebody else archives too.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            put => return put.map(drop),
        }
    }
}

fn parse(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl Relay {
    /// Asks the cache how far an origin is archived, and tells the log.
    pub(super) async fn look_for_watermark(&self, origin: Origin, known: &Known) {
        let told = self.in_time(self.cache.get(&self.keys.covered(origin))).await.and_then(|found| {
            let Some(found) = found else { return Ok(()) };
            let n = parse(&found.value).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "read covered watermark").with("origin", origin)
            })?;
            // Told again and again: a log that could not take it then may now.
            known.cover(origin, n);
            (self.covered)(origin, n)
        });
        if let Err(error) = told {
            self.count_error("cache");
            tracing::debug!(%origin, %error, "it is not known how much is archived");
        }
    }
}
