//! The objects of one origin, in order: their bytes, their lines, and what the lines add up to.

use std::sync::Arc;

use bytes::Bytes;
use ssmd_core::{
    Body, Day, Decoders, Entry, EntryKind, Error, ErrorKind, FeedName, Gap, Origin, Output, Result, Store,
};

use super::report::Report;
use super::sessions::Sessions;
use super::{MakeDecoder, is_damage};
use crate::chain::Chain;
use crate::commit::Object;
use crate::layout::{Compression, SegmentName, sha256};
use crate::line;
use crate::segment::{SegmentReader, Summary};

/// The check of one origin, from its first object to its last.
pub(super) struct OriginCheck {
    feed: FeedName,
    origin: Origin,
    decoders: Option<Decoders>,
    sessions: Sessions,
    /// The number after the last one that was read in order.
    next: u64,
    day: Option<Day>,
    outputs: Vec<Output>,
    scratch: Vec<u8>,
}

impl OriginCheck {
    pub(super) fn new(chain: &Chain, make: Option<MakeDecoder>) -> Self {
        Self {
            feed: chain.feed.clone(),
            origin: chain.origin,
            decoders: make.map(|make| Decoders::with(move || make())),
            sessions: Sessions::new(chain.origin),
            next: 1,
            day: None,
            outputs: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Checks the next object.
    pub(super) async fn object(
        mut self,
        store: Arc<dyn Store>,
        object: Object,
        mut report: Report,
    ) -> Result<(Self, Report)> {
        report.objects += 1;
        report.bytes += object.bytes;
        report.days.insert(object.day);
        let body = match crate::read::fetch(&*store, &object).await {
            Ok(body) => body,
            Err(error) if is_damage(error.kind()) => {
                report.problem("object_missing", error.report(), &object.path);
                self.interrupt(object.last + 1);
                return Ok((self, report));
            }
            Err(error) => return Err(error),
        };
        let checked = tokio::task::spawn_blocking(move || {
            self.bytes(&object, body, &mut report);
            (self, report)
        });
        checked.await.map_err(|cause| Error::new(ErrorKind::Bug, "verify object").because(cause))
    }

    /// Checks what only shows at the end.
    pub(super) fn finish(mut self, report: &mut Report) {
        self.sessions.finish(report);
        if let Some(decoders) = &self.decoders {
            report.count(decoders.counts());
        }
    }

    fn bytes(&mut self, object: &Object, body: Bytes, report: &mut Report) {
        if object.first != self.next {
            self.interrupt(object.first);
        }
        let sound = body.len() as u64 == object.bytes && sha256(&body) == object.sha256;
        if !sound {
            report.problem("object_hash", "its bytes are not those that were committed", &object.path);
        }
        if let Err(error) = self.lines(object, body, report) {
            if sound {
                report.problem("object_unreadable", error.report(), &object.path);
            }
            self.interrupt(object.last + 1);
        }
        self.next = object.last + 1;
    }

    fn lines(&mut self, object: &Object, body: Bytes, report: &mut Report) -> Result<()> {
        let mut reader = SegmentReader::open(body)?;
        let mut first_at = None;
        let mut summary = Summary::new(0);
        loop {
            let more = reader.read_lines(|text, entry| {
                first_at.get_or_insert(entry.at);
                summary.count(&entry, 0);
                self.canonical(text, &entry, report);
                self.entry(&entry, report);
                Ok(())
            })?;
            if !more {
                break;
            }
        }
        summary.plain_bytes = reader.plain_bytes();
        if self.day.is_some_and(|day| day > object.day) {
            report.problem("day_order", "its day lies before that of the object before it", &object.path);
        }
        self.day = Some(object.day);
        let header = reader.header();
        let claims = Summary {
            last: object.last,
            entries: object.entries,
            frames: object.frames,
            sessions: object.sessions.iter().copied().collect(),
            earliest: object.earliest,
            latest: object.latest,
            plain_bytes: object.plain_bytes,
        };
        let is_it = (&header.feed, header.origin, header.day, header.first)
            == (&self.feed, self.origin, object.day, object.first);
        if !is_it || summary != claims {
            report.problem("object_claims", "its commit says something else about it", &object.path);
        }
        let suffixes = [Compression::Zstd(0).suffix(), Compression::Gzip.suffix()];
        let names = suffixes.map(|suffix| {
            let Object { first, last, ref sha256, day, .. } = *object;
            let at = first_at.unwrap_or_default();
            let (feed, origin) = (&self.feed, self.origin);
            SegmentName { feed, origin, day, at, first, last, sha256, suffix }.path().ok()
        });
        if !names.iter().flatten().any(|name| name.as_str() == object.path) {
            report.problem("object_name", "its name is not that of its content", &object.path);
        }
        Ok(())
    }

    /// The same entry, the same line: this also finds embedded frames that are no JSON.
    fn canonical(&mut self, text: &[u8], entry: &Entry, report: &mut Report) {
        self.scratch.clear();
        line::write(entry, &mut self.scratch);
        if self.scratch.strip_suffix(b"\n") != Some(text) {
            report.problem("line_form", "the line is not in the form that its entry has", entry.id);
        }
    }

    fn entry(&mut self, entry: &Entry, report: &mut Report) {
        report.entries += 1;
        report.frames += u64::from(matches!(entry.kind, EntryKind::Frame(_)) && !entry.more);
        self.sessions.entry(entry, report);
        let Some(decoders) = &mut self.decoders else {
            report.gaps += u64::from(entry.kind == EntryKind::Gap && is_gap(entry));
            return;
        };
        self.outputs.clear();
        // A frame that does not decode is counted, and kept all the same.
        let _ = decoders.push(entry, &mut self.outputs);
        let is_gap = |output: &&Output| matches!(output, Output::Record(r) if matches!(r.body, Body::Gap(_)));
        report.gaps += self.outputs.iter().filter(is_gap).count() as u64;
    }

    /// Goes on behind something that could not be read.
    fn interrupt(&mut self, next: u64) {
        self.sessions.interrupt();
        self.next = next;
    }
}

fn is_gap(entry: &Entry) -> bool {
    ssmd_core::entry::note::decode::<Gap>(&entry.payload).is_ok()
}
