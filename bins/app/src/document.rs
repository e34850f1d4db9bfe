//! The document that a daemon was started with: read again when it changes, and who changed it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, Result};
use ssmd_storage::environments::Applied;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::reload::Order;

/// How often the file is looked at. A look costs a few microseconds, sees renames, symbolic links that are switched
/// and network folders alike, and two of them that agree say that whoever writes has finished.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// So many looks in a row agree before a file that is not there counts as gone: an editor may be between two steps.
const GONE_AFTER: u32 = 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// `None` while there is no file.
    fn look(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self::of(&meta))
    }

    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Looks at the document, and at those that it extends, until `stop` and orders to read it each time it has become another one and rests, and once at
/// the beginning, since it may have changed since it was read to start with.
pub(crate) async fn watch(
    path: PathBuf,
    documents: impl Fn(&Path) -> Option<Vec<PathBuf>>,
    clock: Arc<dyn Clock>,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
) -> Result<()> {
    let look = |paths: &[PathBuf]| paths.iter().map(|path| Seen::look(path)).collect::<Vec<_>>();
    let mut paths = documents(&path).unwrap_or_else(|| vec![path.clone()]);
    let (mut known, mut before, mut agree) = (Vec::new(), Vec::new(), 0);
    loop {
        let now = look(&paths);
        agree = if now == before { agree + 1 } else { 0 };
        let enough = if now.iter().all(Option::is_some) { 1 } else { GONE_AFTER };
        if now != known && agree >= enough {
            // It may extend others from now on. Those that one extended which is wrong now may be what is wrong.
            paths = documents(&path).unwrap_or(paths);
            known = look(&paths);
            let told = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                told = orders.send(Order::Read("file")) => told,
            };
            // Nobody does anything any more.
            let Ok(()) = told else { return Ok(()) };
        }
        before = now;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(LOOK_EVERY) => {}
        }
    }
}

/// This process's user on this machine.
pub(crate) fn myself(how: &str) -> Applied {
    by_user(rustix::process::getuid().as_raw(), how)
}

/// The owner of a file, which is who wrote it last wherever editors replace files; else this process's user.
pub(crate) fn owner(path: &Path, how: &str) -> Applied {
    std::fs::metadata(path).map_or_else(|_| myself(how), |meta| by_user(meta.uid(), how))
}

/// A user of this machine.
pub(crate) fn by_user(id: u32, how: &str) -> Applied {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&users, id).map_or_else(|| format!("uid {id}"), str::to_owned);
    let host = rustix::system::uname();
    Applied { who: format!("{name}@{}", host.nodename().to_string_lossy()), how: how.to_owned() }
}

/// The name of a user in a file of the form of `/etc/passwd`.
fn user_name(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use ssmd_core::{ManualClock, Timestamp};

    use super::*;

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_change_is_told_once_the_file_rests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env.yaml");
        std::fs::write(&path, "one").unwrap();
        let clock = ManualClock::new(Timestamp::from_nanos(0));
        let (orders, mut told) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let mut tasks = ssmd_core::Tasks::new();
        tasks.spawn("watch", watch(path.clone(), |_| None, Arc::new(clock.clone()), orders, stop.clone()));
        let mut count = 0;
        let mut look = async || {
            settle().await;
            clock.advance(LOOK_EVERY);
            settle().await;
            count += std::iter::from_fn(|| told.try_recv().ok()).count();
            count
        };
        assert_eq!((look().await, look().await), (1, 1));
        // Somebody writes, and goes on writing.
        std::fs::write(&path, "tw").unwrap();
        assert_eq!(look().await, 1);
        std::fs::write(&path, "two").unwrap();
        assert_eq!((look().await, look().await, look().await), (1, 2, 2));
        // Somebody moves the old file away, and a moment later the new one into its place.
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        assert_eq!((look().await, look().await), (2, 2));
        std::fs::write(folder.path().join("new"), "six").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!((look().await, look().await, look().await), (2, 3, 3));
        // It is gone, and stays so: that is told, once.
        std::fs::remove_file(&path).unwrap();
        for _ in 0..GONE_AFTER {
            assert_eq!(look().await, 3);
        }
        assert_eq!((look().await, look().await), (4, 4));
        stop.cancel();
        tasks.wait().await.unwrap();
    }

    #[test]
    fn users_have_names() {
        let users = "root:x:0:0:root:/:/bin/sh\nbroken\nssmd:x:1000:1000::/:/bin/sh\n";
        assert_eq!((user_name(users, 1000), user_name(users, 7)), (Some("ssmd"), None));
        assert!(!myself("start").who.is_empty());
    }
}
