//! A feed of your own: implement the trait, run the suite, pass it to the pipeline.
//!
//! This one counts to a hundred and is complete. A venue's feed would open a socket instead; for those,
//! `ssmd_feeds::WsFeed` does the I/O and a `Protocol` says what to send and what is heard.

use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::conformance::Verdict;
use ssmd_core::conformance::feed::{self, Plain};
use ssmd_core::{
    Clock, Decimal, Decode, DecodeCounts, DecodeError, Error, ErrorKind, Feed, FeedName, Frame, FrameKind,
    Frames, Header, Journal, Limits, Origin, Output, Record, Result, Session, SessionId, Start, Symbol,
    SystemClock, Topic, Wanted, record,
};
use ssmd_feeds::capture::{Capture, CaptureOptions};
use ssmd_transport::memory::MemoryJournal;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What it counts to.
const LAST: u64 = 100;

struct Counting(FeedName);

#[async_trait]
impl Feed for Counting {
    fn name(&self) -> &FeedName {
        &self.0
    }

    fn limits(&self) -> Limits {
        Limits {
            topics_per_session: NonZeroUsize::MAX,
            sessions: NonZeroUsize::MAX,
            session_age: None,
            connects: 10,
            connects_window: Duration::from_secs(60),
        }
    }

    async fn universe(&self) -> Result<Wanted> {
        Ok(Wanted([Topic { channel: "numbers".parse()?, symbol: None }].into()))
    }

    fn session(&self) -> Arc<dyn Session> {
        Arc::new(Counted)
    }

    fn decoder(&self) -> Box<dyn Decode> {
        Box::new(Numbers(DecodeCounts::default()))
    }
}

struct Counted;

#[async_trait]
impl Session for Counted {
    async fn open(
        &self,
        id: SessionId,
        _wanted: watch::Receiver<Arc<Wanted>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Frames>> {
        Ok(Box::new(Count { id, clock, next: 0 }))
    }
}

struct Count {
    id: SessionId,
    clock: Arc<dyn Clock>,
    next: u64,
}

#[async_trait]
impl Frames for Count {
    fn url(&self) -> String {
        "count:".to_owned()
    }

    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Frame>> {
        let end = LAST.min(self.next.saturating_add(max.get() as u64));
        let frame = |index: u64| Frame {
            received: self.clock.now(),
            elapsed: self.clock.elapsed(),
            session: self.id,
            index,
            kind: FrameKind::Data,
            binary: false,
            payload: format!("{}", index + 1).into(),
            source: None,
        };
        let frames = (self.next..end).map(frame).collect();
        self.next = end;
        Ok(frames)
    }

    async fn resync(&mut self, _symbol: &Symbol) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "resync"))
    }

    async fn durable(&mut self, _below: u64) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<Vec<Frame>> {
        Ok(Vec::new())
    }
}

/// Each frame is a trade at that price.
struct Numbers(DecodeCounts);

impl Decode for Numbers {
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Output>) -> std::result::Result<(), DecodeError> {
        self.0.frames += 1;
        let price = Decimal::parse(&frame.payload).map_err(|error| {
            self.0.malformed += 1;
            DecodeError::Malformed(error.to_string())
        })?;
        let trade = record::Trade { price, size: price, side: None, id: None, order_type: None };
        self.0.records += 1;
        out.push(Output::Record(Record {
            header: Header {
                symbol: None,
                venue_time: None,
                received: frame.received,
                sequence: None,
                session: frame.session,
                index: frame.index,
                source: frame.source,
            },
            body: record::Body::Trade(trade),
        }));
        Ok(())
    }

    fn counts(&self) -> DecodeCounts {
        self.0
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn StdError>> {
    let name: FeedName = "counting".parse()?;

    // Run the suite. In a crate's tests, `ssmd_core::feed_conformance!` makes a test of each promise.
    let outcomes = feed::suite(|| async { Plain(Arc::new(Counting(name.clone()))) }).await;
    let mut broken = 0;
    for outcome in &outcomes {
        println!("{:<60} {}", outcome.promise, outcome.verdict);
        broken += usize::from(matches!(outcome.verdict, Verdict::Broken(_)));
    }
    if broken > 0 {
        return Err(format!("{broken} promises are broken").into());
    }

    // Pass it to the pipeline: it is captured as any venue is.
    let (clock, journal): (Arc<dyn Clock>, _) =
        (Arc::new(SystemClock::new()), Arc::new(MemoryJournal::new()));
    let feed = Arc::new(Counting(name));
    let capture = Capture::new(CaptureOptions::new(feed, journal.clone(), Origin::new_random(), clock));
    let (_resync, resyncs) = mpsc::channel(1);
    let summary = capture.run(CancellationToken::new(), resyncs).await?;
    println!("captured {} frames", summary.figures.frames);
    assert_eq!(summary.figures.frames, LAST);

    let mut entries = journal.read(Start::Oldest).await?;
    let batch = entries.next(NonZeroUsize::MAX).await?;
    println!("the journal holds {} entries, frames and notes", batch.len());
    Ok(())
}
