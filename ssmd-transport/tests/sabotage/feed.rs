//! A tiny feed that plays a list of lines and ends, and how it may be broken.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::feed::Harness;
use ssmd_core::{
    Body, Clock, Decode, DecodeCounts, DecodeError, Error, ErrorKind, Feed, FeedName, Frame, FrameKind,
    Frames, Gap, GapCause, Header, Limits, Output, Record, Result, Session, SessionId, Symbol, Timestamp,
    Wanted,
};
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::sabotage;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    NamesItselfAnew,
    UniverseShrinks,
    ChangesCase,
    NumbersFromOne,
    SkipsANumber,
    SessionIsAlwaysOne,
    StampsAreZero,
    GoesOnWhereTheLastStopped,
    SharesAPlace,
    GivesMoreThanMax,
    YieldsAfterTaking,
    EndsEarly,
    BeginsAgain,
    ResyncBeginsAgain,
    DurableSkips,
    CloseNumbersFromZero,
    DecodesByACounter,
    DecodersShareState,
    ReplacesOut,
    LeavesHalf,
    ForeignBytesStay,
    CountsNothing,
}

/// What the feed plays: plain numbers, a word about the connection, and lines that mean nothing to the decoder.
const LINES: [&str; 9] = ["hello", "1", "2", "3", "beat", "4,5", "x", "6", "7"];

/// Time between two lines.
const PACE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Shared {
    /// Frames played by all connections so far.
    played: AtomicU64,
    decoded: AtomicU64,
    asked: AtomicU64,
}

struct Lines {
    names: [FeedName; 2],
    shared: Arc<Shared>,
    fault: Fault,
}

#[async_trait]
impl Feed for Lines {
    fn name(&self) -> &FeedName {
        let renamed = self.fault == Fault::NamesItselfAnew && self.shared.played.load(Ordering::Relaxed) > 0;
        &self.names[usize::from(renamed)]
    }

    fn limits(&self) -> Limits {
        Limits {
            topics_per_session: NonZeroUsize::MIN,
            sessions: NonZeroUsize::MIN,
            session_age: None,
            connects: 10,
            connects_window: Duration::from_secs(1),
        }
    }

    async fn universe(&self) -> Result<Wanted> {
        let asked = self.shared.asked.fetch_add(1, Ordering::Relaxed);
        match asked {
            1.. if self.fault == Fault::UniverseShrinks => Ok(Wanted::default()),
            _ => Ok(Wanted::product(&["lines".parse()?], &[Symbol::new("A")?])),
        }
    }

    fn session(&self) -> Arc<dyn Session> {
        Arc::new(Opens { shared: self.shared.clone(), fault: self.fault })
    }

    fn decoder(&self) -> Box<dyn Decode> {
        let shared = self.shared.clone();
        Box::new(Adds { counts: DecodeCounts::default(), sum: 0, shared, fault: self.fault })
    }
}

struct Opens {
    shared: Arc<Shared>,
    fault: Fault,
}

#[async_trait]
impl Session for Opens {
    async fn open(
        &self,
        id: SessionId,
        _: watch::Receiver<Arc<Wanted>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Frames>> {
        let played = self.shared.played.load(Ordering::Relaxed) as usize;
        let at = if self.fault == Fault::GoesOnWhereTheLastStopped { played % LINES.len() } else { 0 };
        let (shared, fault) = (self.shared.clone(), self.fault);
        Ok(Box::new(Plays { id, clock, at, index: 0, due: None, shared, fault }))
    }
}

struct Plays {
    id: SessionId,
    clock: Arc<dyn Clock>,
    at: usize,
    index: u64,
    /// When the next line is due.
    due: Option<Duration>,
    shared: Arc<Shared>,
    fault: Fault,
}

impl Plays {
    fn line(&mut self) -> Option<Frame> {
        let played = self.shared.played.load(Ordering::Relaxed) as usize;
        let at = if self.fault == Fault::SharesAPlace { played % LINES.len() } else { self.at };
        let end = if self.fault == Fault::EndsEarly { LINES.len() - 1 } else { LINES.len() };
        let line = LINES.get(at).filter(|_| self.at < end)?;
        let kind = if matches!(*line, "hello" | "beat") { FrameKind::Control } else { FrameKind::Data };
        let index = match self.fault {
            Fault::NumbersFromOne => self.index + 1,
            Fault::SkipsANumber if self.index > 2 => self.index + 1,
            _ => self.index,
        };
        let zero = self.fault == Fault::StampsAreZero;
        let frame = Frame {
            received: if zero { Timestamp::from_nanos(0) } else { self.clock.now() },
            elapsed: self.clock.elapsed(),
            session: if self.fault == Fault::SessionIsAlwaysOne { SessionId(1) } else { self.id },
            index,
            kind,
            binary: false,
            payload: match self.fault {
                Fault::ChangesCase => line.to_uppercase().into(),
                _ => Bytes::from_static(line.as_bytes()),
            },
            source: None,
        };
        self.at += 1;
        self.index += 1;
        self.shared.played.fetch_add(1, Ordering::Relaxed);
        Some(frame)
    }
}

#[async_trait]
impl Frames for Plays {
    fn url(&self) -> String {
        "lines:".into()
    }

    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Frame>> {
        if self.at == LINES.len() && self.fault == Fault::BeginsAgain {
            self.at = 0;
        }
        let due = *self.due.get_or_insert(self.clock.elapsed() + PACE);
        self.clock.sleep(due.saturating_sub(self.clock.elapsed())).await;
        let more = usize::from(self.fault == Fault::GivesMoreThanMax);
        let frames: Vec<_> = (0..max.get().min(3) + more).map_while(|_| self.line()).collect();
        self.due = None;
        if self.fault == Fault::YieldsAfterTaking {
            yield_now().await;
        }
        Ok(frames)
    }

    async fn resync(&mut self, _: &Symbol) -> Result<()> {
        if self.fault == Fault::ResyncBeginsAgain {
            self.at = 0;
        }
        Err(Error::new(ErrorKind::Unsupported, "resync lines"))
    }

    async fn durable(&mut self, below: u64) -> Result<()> {
        if self.fault == Fault::DurableSkips && below > 0 {
            self.at += 1;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Vec<Frame>> {
        if self.fault == Fault::CloseNumbersFromZero {
            self.index = 0;
        }
        Ok(self.line().into_iter().collect())
    }
}

/// Adds up the numbers of a line; a record says the sum so far.
struct Adds {
    counts: DecodeCounts,
    sum: u64,
    shared: Arc<Shared>,
    fault: Fault,
}

impl Adds {
    fn record(&self, frame: &Frame) -> Output {
        let detail = match self.fault {
            Fault::DecodesByACounter => self.shared.decoded.fetch_add(1, Ordering::Relaxed),
            Fault::DecodersShareState => self.shared.decoded.fetch_add(self.sum, Ordering::Relaxed),
            _ => self.sum,
        };
        let header = Header {
            symbol: None,
            venue_time: None,
            received: frame.received,
            sequence: None,
            session: frame.session,
            index: frame.index,
            source: frame.source,
        };
        let detail = detail.to_string();
        let (channel, symbol, from, to, missing) = (None, None, None, None, None);
        let gap = Gap { cause: GapCause::Sequence, channel, symbol, from, to, missing, detail };
        Output::Record(Record { header, body: Body::Gap(gap) })
    }

    fn add(&mut self, frame: &Frame, out: &mut Vec<Output>) -> std::result::Result<(), DecodeError> {
        let malformed = || DecodeError::Malformed("no number".into());
        let text = std::str::from_utf8(&frame.payload).map_err(|_| malformed())?;
        let before = self.sum;
        let mut records = Vec::new();
        for number in text.split(',') {
            let Ok(number) = number.parse::<u64>() else {
                if self.fault == Fault::LeavesHalf {
                    out.push(self.record(frame));
                }
                if self.fault == Fault::ForeignBytesStay {
                    self.sum += 1;
                } else {
                    self.sum = before;
                }
                return Err(malformed());
            };
            self.sum += number;
            records.push(self.record(frame));
        }
        if self.fault == Fault::ReplacesOut {
            out.clear();
        }
        self.counts.records += records.len() as u64;
        out.extend(records);
        Ok(())
    }
}

impl Decode for Adds {
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Output>) -> std::result::Result<(), DecodeError> {
        self.counts.frames += 1;
        if matches!(&*frame.payload, b"hello" | b"beat") {
            return Ok(());
        }
        let added = self.add(frame, out);
        self.counts.malformed += u64::from(added.is_err());
        added
    }

    fn counts(&self) -> DecodeCounts {
        if self.fault == Fault::CountsNothing { DecodeCounts::default() } else { self.counts }
    }
}

struct LinesHarness(Mutex<Option<Lines>>);

impl LinesHarness {
    fn new(fault: Fault) -> Self {
        let names = ["lines", "other-lines"].map(|name| FeedName::new(name).unwrap());
        Self(Mutex::new(Some(Lines { names, shared: Arc::default(), fault })))
    }
}

#[async_trait]
impl Harness for LinesHarness {
    async fn open(&mut self) -> Result<Arc<dyn Feed>> {
        Ok(Arc::new(self.0.lock().unwrap().take().unwrap()))
    }

    fn known(&self) -> Option<Vec<(FrameKind, Vec<u8>)>> {
        let kind = |line| if matches!(line, "hello" | "beat") { FrameKind::Control } else { FrameKind::Data };
        Some(LINES.iter().map(|line| (kind(*line), line.as_bytes().to_vec())).collect())
    }
}

sabotage! { feed, LinesHarness, Fault;
    the_name_and_the_limits_stay: [NamesItselfAnew]
    the_universe_can_be_asked_again: [UniverseShrinks]
    frames_are_those_known: [ChangesCase, EndsEarly]
    frames_are_numbered_from_zero_without_holes: [NumbersFromOne, SkipsANumber]
    frames_carry_the_session_they_were_opened_for: [SessionIsAlwaysOne]
    frames_are_stamped_by_the_clock: [StampsAreZero]
    every_connection_starts_from_nothing: [GoesOnWhereTheLastStopped]
    connections_do_not_disturb_one_another: [SharesAPlace]
    next_gives_at_most_max: [GivesMoreThanMax]
    a_dropped_next_loses_no_frame: [YieldsAfterTaking]
    the_end_comes_after_every_frame: [EndsEarly, BeginsAgain]
    resync_disturbs_no_frame: [ResyncBeginsAgain]
    durable_disturbs_no_frame: [DurableSkips]
    close_is_orderly: [CloseNumbersFromZero]
    decoding_is_deterministic: [DecodesByACounter]
    a_new_decoder_starts_from_nothing: [DecodersShareState]
    decoding_adds_to_what_is_there: [ReplacesOut]
    a_decode_error_leaves_out_as_it_was: [LeavesHalf]
    foreign_bytes_do_not_disturb_decoding: [ForeignBytesStay]
    decoders_count_what_they_do: [CountsNothing]
}
