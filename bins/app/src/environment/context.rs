//! Which environment is used in which folder: what `ssmd env use` chose.
//!
//! It stands in the user's configuration folder, never in the repository: what one operator looks at is nobody
//! else's business. A choice holds for the folder it was made in and those below, so that no command elsewhere can
//! hit an environment that nobody named there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ssmd_core::{Error, ErrorKind, Result};

use super::write;

/// Folders and the documents that are used in them.
type Contexts = BTreeMap<PathBuf, PathBuf>;

const OPERATION: &str = "read the chosen environments";

/// The document that is used in the working directory.
///
/// # Errors
/// `NotFound` if it is not there any more, `Invalid` if the file of choices cannot be read.
pub(super) fn chosen() -> Result<Option<PathBuf>> {
    let Some(file) = file() else { return Ok(None) };
    let (contexts, here) = (read(&file)?, here()?);
    let Some((folder, document)) = here.ancestors().find_map(|folder| contexts.get_key_value(folder)) else {
        return Ok(None);
    };
    if !document.is_file() {
        return Err(Error::new(ErrorKind::NotFound, "find environment")
            .detail("the one that is used here is gone")
            .with("file", document.display())
            .with("folder", folder.display())
            .hint("choose another: `ssmd env use NAME`, or none: `ssmd env use --none`"));
    }
    // As short as the user would write it.
    Ok(Some(document.strip_prefix(&here).unwrap_or(document).to_owned()))
}

/// Uses a document in the working directory and below from now on.
///
/// # Errors
/// `NotFound` if there is no home to keep the choice in; the operating system's.
pub(crate) fn remember(document: &Path) -> Result<()> {
    let document = document
        .canonicalize()
        .map_err(|cause| Error::io("find environment", cause).with("file", document.display()))?;
    update(|contexts, here| drop(contexts.insert(here, document)))
}

/// Uses none in the working directory any more.
///
/// # Errors
/// As [`remember`].
pub(crate) fn forget() -> Result<()> {
    update(|contexts, here| drop(contexts.remove(&here)))
}

fn update(change: impl FnOnce(&mut Contexts, PathBuf)) -> Result<()> {
    let file = file().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find the folder of choices")
            .detail("neither XDG_CONFIG_HOME nor HOME is set")
            .hint("name the environment in each command: -c NAME|FILE, or SSMD_ENV")
    })?;
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .map_err(|cause| Error::io("create the folder of choices", cause).with("folder", folder.display()))?;
    let _lock = write::lock(folder)?;
    let mut contexts = read(&file)?;
    change(&mut contexts, here()?);
    let text = serde_json::to_vec_pretty(&contexts)
        .map_err(|cause| Error::new(ErrorKind::Bug, "write JSON").because(cause))?;
    write::replace(&file, &text)
}

fn here() -> Result<PathBuf> {
    std::env::current_dir().map_err(|cause| Error::io("find the working directory", cause))
}

fn file() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join("ssmd").join("environments.json"))
}

fn read(file: &Path) -> Result<Contexts> {
    match std::fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|cause| {
            Error::new(ErrorKind::Invalid, OPERATION)
                .with("file", file.display())
                .because(cause)
                .hint("delete the file and choose again")
        }),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Contexts::new()),
        Err(cause) => Err(Error::io(OPERATION, cause).with("file", file.display())),
    }
}
