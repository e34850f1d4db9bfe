//! What the commands that read an archive share.

use std::path::Path;
use std::sync::Arc;

use ssmd_core::environment::StoreSpec;
use ssmd_core::{Day, Decoders, Error, ErrorKind, FeedName, Result, Store};
use ssmd_storage::Archive;

use crate::cli::StoreArgs;

/// The store that was named.
///
/// # Errors
/// `NotFound` if there is none; reading commands never create one.
pub(super) fn store(args: &StoreArgs) -> Result<Arc<dyn Store>> {
    let spec = StoreSpec::parse(&args.store)?;
    let StoreSpec::File(path) = &spec;
    if !Path::new(path).is_dir() {
        return Err(Error::new(ErrorKind::NotFound, "open archive")
            .with("store", &args.store)
            .hint("name it with --store file:PATH; `ssmd up --data DIR` keeps it in file:DIR/store"));
    }
    ssmd_storage::open(&spec, Path::new("."))
}

/// Opens the archive that was named.
///
/// # Errors
/// As [`store`]; `Corrupt` if its commits are damaged.
pub(super) async fn open(args: &StoreArgs) -> Result<Archive> {
    Archive::open(store(args)?).await
}

/// The feed that was named, which the archive must know.
///
/// # Errors
/// `NotFound`, with the feeds that there are.
pub(super) fn feed(archive: &Archive, name: &str) -> Result<FeedName> {
    let feed: FeedName = name.parse()?;
    let feeds = archive.feeds();
    if feeds.contains(&feed) {
        return Ok(feed);
    }
    let known: Vec<_> = feeds.iter().map(FeedName::as_str).collect();
    let hint = if known.is_empty() {
        "the archive is empty".to_owned()
    } else {
        format!("the archive holds: {}", known.join(", "))
    };
    Err(Error::new(ErrorKind::NotFound, "find feed").with("feed", name).hint(hint))
}

/// Checks that the archive has anything of that day.
///
/// # Errors
/// `NotFound`, with the days that there are.
pub(super) fn day(archive: &Archive, feed: &FeedName, day: Day) -> Result<()> {
    let days = archive.days(feed);
    if days.contains(&day) {
        return Ok(());
    }
    let hint = match (days.first(), days.last()) {
        (Some(first), Some(last)) => {
            format!("its days are {first} to {last}; `ssmd ls --feed {feed}` lists them")
        }
        _ => "it has no days".to_owned(),
    };
    Err(Error::new(ErrorKind::NotFound, "find day").with("feed", feed).with("day", day).hint(hint))
}

/// Decoders for a feed's frames.
///
/// # Errors
/// `NotFound` if this version knows no such venue.
pub(super) fn decoders(feed: &FeedName) -> Result<Decoders> {
    let make = ssmd_feeds::decoder(feed)?;
    Ok(Decoders::with(move || make()))
}
