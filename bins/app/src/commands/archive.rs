//! What the commands that read an archive share.

use std::path::Path;
use std::sync::Arc;

use ssmd_core::environment::StoreSpec;
use ssmd_core::{Day, Decoders, Entry, Error, ErrorKind, FeedName, Result, Store};
use ssmd_storage::verify::unknown_feed;
use ssmd_storage::{Archive, EntryReader, Selection};

use crate::cli::{Part, StoreArgs};
use crate::environment;
use crate::exit::Exit;
use crate::folder::{DEFAULT, Folder};

/// Where the archive is that is meant: the one that is named, or that of the environment that is used in this folder,
/// or the one in the data folder.
///
/// # Errors
/// `Invalid` for what is no archive's address, and where the environment is wrong.
pub(super) fn place(args: &StoreArgs) -> Result<StoreSpec> {
    if let Some(store) = &args.store {
        return StoreSpec::parse(store);
    }
    let folder = Folder::at(&args.data);
    let Some(document) = environment::find(None)? else {
        return Ok(folder.store(&StoreSpec::File(format!("{DEFAULT}/store"))));
    };
    let resolved = environment::read(&document).map_err(|_| {
        Error::new(ErrorKind::Invalid, "find archive")
            .detail("the environment that is used here is wrong")
            .with("file", document.display())
            .hint("`ssmd check` says how; --store names an archive")
    })?;
    Ok(folder.store(&resolved.environment.archive()))
}

/// The store that is meant.
///
/// # Errors
/// As [`place`]; `Unavailable` if there is none; reading commands never create one.
pub(super) fn store(args: &StoreArgs) -> Result<Arc<dyn Store>> {
    let spec = place(args)?;
    let StoreSpec::File(path) = &spec else { return ssmd_storage::open(&spec, Path::new(".")) };
    if !Path::new(path).is_dir() {
        return Err(Error::new(ErrorKind::Unavailable, "open archive")
            .detail("there is none")
            .with("store", &spec)
            .hint("name it with --store URL, or the folder of what recorded it with --data DIR"));
    }
    let inner = Path::new(path).join("store");
    if inner.is_dir() && !Path::new(path).join("commits").is_dir() {
        return Err(Error::new(ErrorKind::Unavailable, "open archive")
            .detail("this is a data folder, the archive is in it")
            .with("store", &spec)
            .hint(format!("name it with --store file:{}", inner.display())));
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

/// What a command reads: a feed, and the part of it that was asked for.
pub(super) struct Chosen {
    /// The archive.
    pub archive: Archive,
    /// The feed.
    pub feed: FeedName,
    /// Which of its entries.
    pub selection: Selection,
    /// What of it is damaged.
    pub damage: Damage,
}

/// The damage that was met, which ends a command unless it was told to pass over it.
pub(super) struct Damage {
    skip: bool,
    found: bool,
}

impl Damage {
    /// Names what is damaged, and goes on.
    ///
    /// # Errors
    /// `error`, if it is something else, or damage that is not to be passed over.
    pub(super) fn pass(&mut self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        if !self.skip {
            return Err(error.hint("`--skip-damaged` passes over it; `ssmd verify` names all damage"));
        }
        eprintln!("skipped: {}", error.report());
        self.found = true;
        Ok(())
    }

    /// The next entries of a reader; none at the end.
    ///
    /// # Errors
    /// As for [`Damage::pass`].
    pub(super) async fn next_batch(&mut self, entries: &mut EntryReader) -> Result<Option<Vec<Entry>>> {
        loop {
            match entries.next_batch().await {
                Ok(batch) => return Ok(batch),
                Err(error) => self.pass(error)?,
            }
        }
    }

    /// How a command ends that would have ended like this otherwise.
    pub(super) fn exit(&self, otherwise: Exit) -> Exit {
        if self.found { Exit::Found } else { otherwise }
    }
}

/// Opens the archive, finds the feed (the only one, unless it is named), and checks that there is anything to read.
///
/// # Errors
/// As [`open`]; `NotFound` with what there is instead; `Invalid` for a span that ends before it begins.
pub(super) async fn choose(part: &Part) -> Result<Chosen> {
    let (archive, damaged) = Archive::open_sound(store(&part.store)?).await?;
    let mut damage = Damage { skip: part.skip_damaged, found: false };
    damaged.into_iter().try_for_each(|error| damage.pass(error))?;
    let feed = match (&part.feed, archive.feeds().as_slice()) {
        (Some(name), _) => feed(&archive, name)?,
        (None, [only]) => only.clone(),
        (None, []) => return Err(Error::new(ErrorKind::NotFound, "find feed").hint("the archive is empty")),
        (None, many) => {
            let many: Vec<_> = many.iter().map(FeedName::as_str).collect();
            return Err(Error::new(ErrorKind::Invalid, "find feed")
                .detail("the archive holds several")
                .hint(format!("name one with --feed: {}", many.join(", "))));
        }
    };
    if let Some(wanted) = part.day {
        day(&archive, &feed, wanted)?;
        return Ok(Chosen { archive, feed, selection: Selection::day(wanted), damage });
    }
    if let (Some(from), Some(to)) = (part.from, part.to)
        && from >= to
    {
        return Err(Error::new(ErrorKind::Invalid, "read time span")
            .detail("it ends before it begins")
            .with("from", from)
            .with("to", to));
    }
    let selection = Selection { from: part.from, to: part.to, ..Selection::all() };
    if archive.segments(&feed, &selection).is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "find time span")
            .detail("nothing was recorded then")
            .with("feed", &feed)
            .hint(format!("`ssmd ls --feed {feed}` lists its days")));
    }
    Ok(Chosen { archive, feed, selection, damage })
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
    Err(unknown_feed(&feed, feeds.iter()))
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
