//! `ssmd import`: play files into an archive.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ssmd_core::{Error, FeedName, ManualClock, Metrics, Origin, SystemClock};
use ssmd_storage::import;
use ssmd_storage::play::PlayReader;

use super::archive;
use crate::cli::Import;
use crate::exit::Exit;
use crate::output::{Out, Outcome};
use crate::progress::Progress;
use crate::status::{grouped, plural};

/// Imports play files as the log of a new origin.
pub(super) async fn run(args: &Import) -> Outcome {
    let feed: FeedName = args.feed.parse()?;
    ssmd_feeds::decoder(&feed)?;
    let mut sources = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let failed = |cause| Error::io("open play file", cause).with("file", path.display());
        let file = File::open(path).map_err(failed)?;
        sources.push((path, file.metadata().map_err(failed)?.len(), file));
    }
    let progress = Arc::new(Progress::new("imported", sources.iter().map(|(_, bytes, _)| bytes).sum()));
    let mut files = Vec::with_capacity(sources.len());
    for (path, _, file) in sources {
        let counted = Counted { file, progress: Arc::clone(&progress) };
        files.push(PlayReader::new(counted).map_err(|error| error.with("file", path.display()))?);
    }
    let store = ssmd_storage::open(&archive::place(&args.store)?, Path::new("."))?;
    let clock: Arc<dyn ssmd_core::Clock> = match args.day {
        Some(day) => Arc::new(ManualClock::new(day.start())),
        None => Arc::new(SystemClock::new()),
    };
    let origin = Origin::new_random();
    let options = import::Options { feed: feed.clone(), origin, compression: Default::default() };
    let summary = import::import(store, files, options, clock, Metrics::new()).await?;
    drop(progress);
    let mut out = Out::new();
    if args.json {
        out.json(&serde_json::json!({
            "feed": feed, "origin": origin.to_string(), "entries": summary.entries, "objects": summary.objects,
            "commits": summary.commits, "bytes": summary.bytes,
        }))?;
    } else {
        out.line(format_args!(
            "{} entries into {}, {}, as origin {origin}",
            grouped(summary.entries),
            plural(summary.objects, "object"),
            plural(summary.commits, "commit"),
        ))?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// A file that says how much of it was read.
struct Counted {
    file: File,
    progress: Arc<Progress>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.progress.add(read as u64);
        Ok(read)
    }
}
