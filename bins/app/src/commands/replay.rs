//! `ssmd replay`: a day decoded again, at its own pace, a multiple of it, or at once.

use std::time::Duration;

use ssmd_core::codec;
use ssmd_core::{
    Clock, Error, ErrorKind, FeedName, Output, Record, RecordType, Symbol, SystemClock, Timestamp,
};
use ssmd_storage::Selection;

use super::archive;
use crate::cli::{RecordFormat, Replay, Speed};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// Decodes a day and prints its records.
pub(super) async fn run(args: &Replay) -> Outcome {
    let wanted = Wanted::new(args)?;
    let archive = archive::open(&args.store).await?;
    let feed = archive::feed(&archive, &args.feed)?;
    archive::day(&archive, &feed, args.day)?;
    let mut decoders = archive::decoders(&feed)?;
    let mut entries = archive.entries(&feed, Selection::day(args.day));
    let clock = SystemClock::new();
    let (mut pace, mut printer) = (Pace::new(args.speed), Printer::new(args.format, feed));
    let mut outputs = Vec::new();
    while let Some(batch) = entries.next_batch().await? {
        for entry in &batch {
            if let Some(wait) = pace.wait(entry.at, &clock) {
                printer.out.flush()?;
                clock.sleep(wait).await;
            }
            if let Err(error) = decoders.push(entry, &mut outputs) {
                tracing::warn!(%error, entry = %entry.id, "not decoded");
            }
            for output in outputs.drain(..) {
                match output {
                    Output::Record(record) if wanted.wants(&record) => printer.print(&record)?,
                    Output::Record(_) | Output::Resync(_) => {}
                }
            }
        }
    }
    printer.out.flush()?;
    let counts = decoders.counts();
    tracing::info!(frames = counts.frames, records = counts.records, "replayed");
    if args.format == RecordFormat::None {
        printer.out.json(&counts)?;
        printer.out.flush()?;
    }
    Ok(Exit::Ok)
}

/// Which records to print.
struct Wanted {
    types: Vec<RecordType>,
    symbol: Option<Symbol>,
}

impl Wanted {
    fn new(args: &Replay) -> Result<Self, Error> {
        let kind = |word: &String| {
            RecordType::from_word(word).ok_or_else(|| {
                let known: Vec<_> = RecordType::ALL.iter().map(|(_, word)| *word).collect();
                Error::new(ErrorKind::Invalid, "read record type")
                    .with("type", word)
                    .hint(format!("the types are: {}", known.join(", ")))
            })
        };
        let symbol = args.symbol.as_deref().map(Symbol::new).transpose()?;
        Ok(Self { types: args.types.iter().map(kind).collect::<Result<_, _>>()?, symbol })
    }

    fn wants(&self, record: &Record) -> bool {
        (self.types.is_empty() || self.types.contains(&record.body.record_type()))
            && (self.symbol.is_none() || self.symbol == record.header.symbol)
    }
}

/// When the next entry is due.
struct Pace {
    speed: Speed,
    /// The first entry's stamp, and when it was given out.
    start: Option<(Timestamp, Duration)>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, start: None }
    }

    fn wait(&mut self, at: Timestamp, clock: &dyn Clock) -> Option<Duration> {
        let Speed::Times(times) = self.speed else { return None };
        let now = clock.elapsed();
        let (first, began) = *self.start.get_or_insert((at, now));
        let due = began + at.since(first) / times;
        due.checked_sub(now).filter(|wait| !wait.is_zero())
    }
}

struct Printer {
    format: RecordFormat,
    feed: FeedName,
    out: Out,
    buffer: Vec<u8>,
}

impl Printer {
    fn new(format: RecordFormat, feed: FeedName) -> Self {
        Self { format, feed, out: Out::new(), buffer: Vec::with_capacity(1024) }
    }

    fn print(&mut self, record: &Record) -> Result<(), Stopped> {
        self.buffer.clear();
        match self.format {
            RecordFormat::Json => {
                codec::json::encode(record, &self.feed, &mut self.buffer);
                if self.buffer.last() != Some(&b'\n') {
                    self.buffer.push(b'\n');
                }
            }
            RecordFormat::Capnp => codec::capnp::encode(record, &mut self.buffer)?,
            RecordFormat::None => return Ok(()),
        }
        self.out.bytes(&self.buffer)
    }
}
