//! The data folder: where a recorder keeps its logs, its store and its control socket.

use std::path::{Path, PathBuf};

use ssmd_core::environment::StoreSpec;
use ssmd_core::{Error, FeedName, Result};

/// The folder that documents and commands mean unless they are told another.
pub(crate) const DEFAULT: &str = "./ssmd-data";

/// A data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|cause| {
            Error::io("create data folder", cause)
                .with("folder", path.display())
                .hint("name a folder that you may write to with --data DIR")
        })?;
        Ok(Self(path.to_owned()))
    }

    /// A folder of another machine: nothing is made.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a feed's log is.
    pub(crate) fn log(&self, feed: &FeedName) -> PathBuf {
        self.0.join("log").join(feed.as_str())
    }

    /// Where a feed's attempts to connect are kept.
    pub(crate) fn connects(&self, feed: &FeedName) -> PathBuf {
        self.0.join("connects").join(feed.as_str())
    }

    /// The store a document names. A path inside the default data folder moves with the folder.
    pub(crate) fn store(&self, spec: &StoreSpec) -> StoreSpec {
        let StoreSpec::File(path) = spec else { return spec.clone() };
        let default = Path::new(DEFAULT);
        let inside = Path::new(path).strip_prefix(default).or_else(|_| {
            let bare = default.strip_prefix(".").unwrap_or(default);
            Path::new(path).strip_prefix(bare)
        });
        match inside {
            Ok(rest) => StoreSpec::File(self.0.join(rest).to_string_lossy().into_owned()),
            Err(_) => spec.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_in_the_default_folder_move_with_it() {
        let folder = Folder(PathBuf::from("/data"));
        let moved = |path: &str| match folder.store(&StoreSpec::File(path.into())) {
            StoreSpec::File(path) => path,
            StoreSpec::S3(_) => unreachable!("a file stays one"),
        };
        assert_eq!(moved("./ssmd-data/store"), "/data/store");
        assert_eq!(moved("ssmd-data/store"), "/data/store");
        assert_eq!(moved("./elsewhere/store"), "./elsewhere/store");
        assert_eq!(moved("/srv/store"), "/srv/store");
    }
}
