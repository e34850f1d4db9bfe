//! `ssmd replay`: the archive decoded again, at its own pace, a multiple of it, or at once.

use std::time::Duration;

use ssmd_core::codec;
use ssmd_core::{
    Clock, DecodeCounts, Error, ErrorKind, FeedName, Merger, Output, Record, RecordType, Symbol, SystemClock,
    Timestamp,
};

use super::archive::{self, Chosen};
use crate::cli::{RecordFormat, Replay, Speed};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::progress::Progress;

/// Decodes what was asked for, from the beginnings of its sessions, and prints its records.
pub(super) async fn run(args: &Replay) -> Outcome {
    let wanted = Wanted::new(args)?;
    let Chosen { archive, feed, selection, mut damage } = archive::choose(&args.part).await?;
    let (mut decoders, mut merger) = (archive::decoders(&feed)?, Merger::new(ssmd_feeds::merge_rules(&feed)));
    let segments = archive.segments_with_beginnings(&feed, &selection);
    let all = segments.iter().map(|(_, object)| object.entries).sum();
    let progress = Progress::beside_output("decoded", all);
    let mut entries = archive.read(segments);
    let clock = SystemClock::new();
    let (mut pace, mut printer) = (Pace::new(args.speed), Printer::new(args.format, feed));
    let (mut outputs, mut lead) = (Vec::new(), None);
    while let Some(batch) = damage.next_batch(&mut entries).await? {
        progress.add(batch.len() as u64);
        for entry in &batch {
            let shown = selection.contains(entry);
            if shown && let Some(wait) = pace.wait(entry.at, &clock) {
                printer.out.flush()?;
                clock.sleep(wait).await;
            }
            if shown && lead.is_none() {
                lead = Some(decoders.counts());
            }
            if let Err(error) = decoders.push(entry, &mut outputs)
                && shown
            {
                tracing::warn!(%error, entry = %entry.id, "not decoded");
            }
            merger.take(entry, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Record(record) if shown && wanted.wants(&record) => printer.print(&record)?,
                    Output::Record(_) | Output::Resync(_) => {}
                }
            }
        }
    }
    printer.out.flush()?;
    let counts = since(decoders.counts(), lead.unwrap_or_default());
    tracing::info!(frames = counts.frames, records = counts.records, "replayed");
    if args.format == RecordFormat::None {
        printer.out.json(&counts)?;
        printer.out.flush()?;
    }
    Ok(damage.exit(Exit::Ok))
}

/// What was counted since the lead-in: the sessions' beginnings, which nobody asked for.
fn since(all: DecodeCounts, lead: DecodeCounts) -> DecodeCounts {
    DecodeCounts {
        frames: all.frames - lead.frames,
        records: all.records - lead.records,
        unknown: all.unknown - lead.unknown,
        malformed: all.malformed - lead.malformed,
        books_verified: all.books_verified - lead.books_verified,
        books_failed: all.books_failed - lead.books_failed,
    }
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
