//! `ssmd grep`: the frames that match.

use regex::bytes::RegexBuilder;
use ssmd_core::{Error, ErrorKind, FrameKind};

use super::archive;
use super::cat::FramesOf;
use crate::cli::Grep;
use crate::exit::Exit;
use crate::output::{Out, Outcome};

/// The most memory a pattern may take once it is compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Prints matching frames, each on a line; says by its exit code whether there were any.
pub(super) async fn run(args: &Grep) -> Outcome {
    let text = if args.fixed { regex::escape(&args.pattern) } else { args.pattern.clone() };
    let pattern = RegexBuilder::new(&text).size_limit(PATTERN_BYTES_MAX).build().map_err(|cause| {
        Error::new(ErrorKind::Invalid, "read pattern").because(cause).hint("search a plain text with --fixed")
    })?;
    let mut chosen = archive::choose(&args.part).await?;
    let mut entries = chosen.archive.entries(&chosen.feed, chosen.selection);
    let (mut out, mut frames, mut found) = (Out::new(), FramesOf::default(), 0_u64);
    while let Some(batch) = chosen.damage.next_batch(&mut entries).await? {
        for entry in &batch {
            let frame = match frames.next(entry) {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(error) => {
                    chosen.damage.pass(error)?;
                    continue;
                }
            };
            if (frame.kind == FrameKind::Sent && !args.sent) || !pattern.is_match(&frame.payload) {
                continue;
            }
            found += 1;
            if !args.count {
                out.bytes(frame.payload.trim_ascii_end())?;
                out.bytes(b"\n")?;
            }
        }
    }
    if args.count {
        out.line(found)?;
    }
    out.flush()?;
    Ok(chosen.damage.exit(if found > 0 { Exit::Ok } else { Exit::Found }))
}
