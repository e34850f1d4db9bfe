//! The gap ledger: every known hole of a feed, each once, with its cause, its bounds and its evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use ssmd_core::entry::note;
use ssmd_core::{
    Body, Day, Decoders, Entry, EntryKind, ErrorKind, Evidence, FeedName, Gap, GapCause, MergeRules, Merger,
    Origin, Output, Result, SessionId, Timestamp,
};

use crate::chain::Chain;
use crate::commit::Object;
use crate::read::Archive;
use crate::text;
use crate::verify::MakeDecoder;

/// Who noticed a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FoundBy {
    /// Capture, which wrote it into the journal.
    Capture,
    /// A decoder, from the frames.
    Decoder,
    /// The archive, whose numbers are not dense.
    Archive,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerGap {
    /// The log that it is a hole in.
    #[serde(with = "text")]
    pub origin: Origin,
    /// The entry in which it shows; for lost entries the first of them.
    pub n: u64,
    /// When it was noticed, by the clock of the recording.
    pub at: Timestamp,
    /// Who noticed.
    pub found_by: FoundBy,
    /// The gap.
    #[serde(flatten)]
    pub gap: Gap,
}

/// The ledger of a feed for the days from `first` to `last`, sorted by time.
///
/// Gaps that only decoding finds are in it if `decoder` is given: it is fed from the beginning of the sessions that
/// are open when the first day begins. An object that cannot be read is a `lost` gap too.
///
/// # Errors
/// The store's own, where it cannot answer.
pub async fn ledger(
    archive: &Archive,
    feed: &FeedName,
    (first, last): (Day, Day),
    decoder: Option<MakeDecoder>,
) -> Result<Vec<LedgerGap>> {
    collect(archive, feed, (first, last), &|| Decoding {
        decoders: decoder.clone().map(decoders),
        merger: None,
    })
    .await
}

/// The same where several connections heard the same: without the holes of one that another covers, and what none of
/// them has once.
///
/// # Errors
/// As for [`ledger`].
pub async fn merged_ledger(
    archive: &Archive,
    feed: &FeedName,
    days: (Day, Day),
    (decoder, rules): (MakeDecoder, MergeRules),
) -> Result<Vec<LedgerGap>> {
    let make =
        || Decoding { decoders: Some(decoders(Arc::clone(&decoder))), merger: Some(Merger::new(rules)) };
    collect(archive, feed, days, &make).await
}

/// What a chain of objects is decoded with; nothing, if only what capture wrote down is asked for.
struct Decoding {
    decoders: Option<Decoders>,
    merger: Option<Merger>,
}

fn decoders(make: MakeDecoder) -> Decoders {
    Decoders::with(move || make())
}

async fn collect(
    archive: &Archive,
    feed: &FeedName,
    (first, last): (Day, Day),
    decoding: &(dyn Fn() -> Decoding + Sync),
) -> Result<Vec<LedgerGap>> {
    let mut gaps = Vec::new();
    for chain in archive.of(feed) {
        lost(chain, first, last, &mut gaps);
        let wanted: BTreeSet<u64> =
            chain.objects.values().filter(|o| (first..=last).contains(&o.day)).map(|o| o.first).collect();
        let mut decoding = decoding();
        let objects = match decoding.decoders {
            Some(_) => chain.with_beginnings(|object| wanted.contains(&object.first)),
            None => chain.objects.values().filter(|object| wanted.contains(&object.first)).cloned().collect(),
        };
        for object in objects {
            let counts = wanted.contains(&object.first);
            let mut found = Vec::new();
            let read = read(archive, chain.origin, &object, &mut decoding, &mut found).await;
            match read {
                Ok(()) if counts => gaps.append(&mut found),
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let detail = error.to_string();
                    let gap = hole(chain, object.first, object.last, object.latest, detail);
                    gaps.extend(counts.then_some(gap));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(tidy(gaps))
}

/// The ledger of everything that a selection's days hold; see [`ledger`].
///
/// # Errors
/// As for [`ledger`].
pub async fn ledger_of_all(
    archive: &Archive,
    feed: &FeedName,
    decoder: Option<MakeDecoder>,
) -> Result<Vec<LedgerGap>> {
    ledger(archive, feed, (Day::from_days(i32::MIN), Day::from_days(i32::MAX)), decoder).await
}

async fn read(
    archive: &Archive,
    origin: Origin,
    object: &Object,
    decoding: &mut Decoding,
    found: &mut Vec<LedgerGap>,
) -> Result<()> {
    let mut reader = archive.read(vec![(origin, object.clone())]);
    let mut outputs = Vec::new();
    while let Some(batch) = reader.next_batch().await? {
        for entry in &batch {
            let Some(decoders) = &mut decoding.decoders else {
                found.extend(recorded(entry));
                continue;
            };
            outputs.clear();
            // What does not decode is counted by the verification; it is no gap.
            let _ = decoders.push(entry, &mut outputs);
            if let Some(merger) = &mut decoding.merger {
                merger.take(entry, &mut outputs);
            }
            found.extend(outputs.drain(..).filter_map(|output| decoded(entry, output)));
        }
    }
    Ok(())
}

fn recorded(entry: &Entry) -> Option<LedgerGap> {
    if entry.kind != EntryKind::Gap {
        return None;
    }
    // A gap that cannot be read is a problem that the verification names.
    let gap = note::decode(&entry.payload).ok()?;
    Some(LedgerGap { origin: entry.id.origin, n: entry.id.n, at: entry.at, found_by: FoundBy::Capture, gap })
}

fn decoded(entry: &Entry, output: Output) -> Option<LedgerGap> {
    let Output::Record(record) = output else { return None };
    let Body::Gap(gap) = record.body else { return None };
    let found_by = if entry.kind == EntryKind::Gap { FoundBy::Capture } else { FoundBy::Decoder };
    Some(LedgerGap { origin: entry.id.origin, n: entry.id.n, at: record.header.received, found_by, gap })
}

/// Numbers that no object holds, where they lie between these days.
fn lost(chain: &Chain, first_day: Day, last_day: Day, gaps: &mut Vec<LedgerGap>) {
    let mut holes: BTreeSet<(u64, u64)> = chain.coverage.holes().into_iter().collect();
    // Losses at the very end are not between two intervals.
    let end = chain.coverage.last().unwrap_or(0);
    holes.extend(chain.lost.values().filter(|lost| lost.first > end).map(|lost| (lost.first, lost.last)));
    for (first, last) in holes {
        let noticed = chain.lost.values().find(|lost| lost.first <= first && last <= lost.last);
        let noticed = noticed.map(|lost| lost.noticed);
        let before = chain.objects.range(..first).next_back().map(|(_, object)| object);
        let after = chain.objects.range(last..).next().map(|(_, object)| object);
        let begins = before.or(after).map(|object| object.day);
        let ends = after.or(before).map(|object| object.day);
        let outside = begins.is_some_and(|day| day > last_day) || ends.is_some_and(|day| day < first_day);
        if outside {
            continue;
        }
        let at = after.map(|object| object.earliest).or(noticed).unwrap_or_default();
        gaps.push(hole(chain, first, last, at, String::new()));
    }
}

fn hole(chain: &Chain, first: u64, last: u64, at: Timestamp, detail: String) -> LedgerGap {
    let shown = |n: u64| Some(format!("entry {n}"));
    let evidence = |at, n| Evidence { at, session: SessionId(0), index: 0, shown: shown(n) };
    let before = chain.objects.range(..first).next_back().map(|(_, object)| object);
    let after = chain.objects.range(last..).map(|(_, object)| object).find(|object| object.first > last);
    let gap = Gap {
        cause: GapCause::Lost,
        channel: None,
        symbol: None,
        from: before.map(|object| evidence(object.latest, object.last)),
        to: after.map(|object| evidence(object.earliest, object.first)),
        missing: Some(last - first + 1),
        detail,
    };
    LedgerGap { origin: chain.origin, n: first, at, found_by: FoundBy::Archive, gap }
}

/// Each gap once: of an open one and the same one closed, the closed one.
fn tidy(mut gaps: Vec<LedgerGap>) -> Vec<LedgerGap> {
    gaps.sort_by_key(|gap| (gap.at, gap.origin, gap.n, gap.found_by));
    let mut kept: Vec<LedgerGap> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for gap in gaps {
        let begins =
            (gap.origin, gap.gap.cause, &gap.gap.channel, &gap.gap.symbol, &gap.gap.from, gap.gap.missing);
        let unbounded = gap.gap.from.is_none();
        let key = format!("{begins:?}{}", if unbounded { gap.n } else { 0 });
        match known.get(&key).and_then(|&at| kept.get_mut(at)) {
            Some(same) if same.gap.to.is_none() => *same = gap,
            Some(same) if gap.gap.to.is_none() || same.gap.to == gap.gap.to => {}
            _ => {
                known.insert(key, kept.len());
                kept.push(gap);
            }
        }
    }
    kept
}
