//! `ssmd cat`: what was received, byte for byte.

use ssmd_core::entry::Joiner;
use ssmd_core::{Entry, Frame, FrameKind, Origin};
use ssmd_storage::play::{self, Played};

use super::archive;
use crate::cli::{Cat, CatFormat};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// Prints frames as they were received.
pub(super) async fn run(args: &Cat) -> Outcome {
    let mut chosen = archive::choose(&args.part).await?;
    let mut entries = chosen.archive.entries(&chosen.feed, chosen.selection);
    let mut out = Out::new();
    let mut frames = FramesOf::default();
    while let Some(batch) = chosen.damage.next_batch(&mut entries).await? {
        for entry in &batch {
            if args.connection.is_some_and(|wanted| wanted != entry.session.0) {
                continue;
            }
            if args.format == CatFormat::Entries {
                let mut line = Vec::new();
                ssmd_storage::line::write(entry, &mut line);
                out.bytes(&line)?;
                continue;
            }
            let frame = match frames.next(entry) {
                Ok(frame) => frame,
                Err(error) => {
                    chosen.damage.pass(error)?;
                    continue;
                }
            };
            if let Some(frame) = frame
                && (args.sent || frame.kind != FrameKind::Sent)
            {
                print(&frame, args.format, &mut out)?;
            }
        }
    }
    out.flush()?;
    Ok(chosen.damage.exit(Exit::Ok))
}

fn print(frame: &Frame, format: CatFormat, out: &mut Out) -> Result<(), Stopped> {
    if format == CatFormat::Play {
        let mut line = Vec::with_capacity(frame.payload.len() + 64);
        play::write(&Played::from(frame.clone()), &mut line)?;
        return out.bytes(&line);
    }
    out.bytes(&frame.payload)?;
    if frame.payload.last() == Some(&b'\n') { Ok(()) } else { out.bytes(b"\n") }
}

/// Frames of entries; large ones are put together again.
#[derive(Default)]
pub(super) struct FramesOf {
    joiner: Joiner,
    origin: Option<Origin>,
}

impl FramesOf {
    /// Takes the next entry, gives a frame when one is complete.
    ///
    /// # Errors
    /// `Corrupt` if a part of a large frame is missing.
    pub(super) fn next(&mut self, entry: &Entry) -> ssmd_core::Result<Option<Frame>> {
        if self.origin != Some(entry.id.origin) {
            (self.joiner, self.origin) = (Joiner::default(), Some(entry.id.origin));
        }
        if matches!(entry.kind, ssmd_core::EntryKind::Frame(_)) { self.joiner.push(entry) } else { Ok(None) }
    }
}
