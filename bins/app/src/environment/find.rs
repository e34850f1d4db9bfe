//! Which file an environment's name means, and which environments there are.
//!
//! A name means the document that calls itself so, among `env.yaml` and the files of `environments/`. Everything that
//! cannot be a name is a path.

use std::path::{Path, PathBuf};

use ssmd_core::environment::{Document, document_name};
use ssmd_core::{EnvironmentName, Error, ErrorKind, Result};

use super::context;

/// The document that `ssmd init` writes.
pub(crate) const FIRST: &str = "env.yaml";
/// The folder of the others.
pub(crate) const FOLDER: &str = "environments";

const OPERATION: &str = "find environment";
/// What names one where no flag does, and the older spelling.
const VARIABLES: [&str; 2] = ["SSMD_ENV", "SSMD_CONFIG"];

/// A document that calls itself something.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// `metadata.name`.
    pub(crate) name: String,
    /// The file.
    pub(crate) path: PathBuf,
}

/// The document that is meant: the one that is named, by a flag or a variable, or the one that was chosen for this
/// folder.
///
/// # Errors
/// `NotFound` for a name that no document has, `Invalid` for one that several have.
pub(crate) fn find(word: Option<&Path>) -> Result<Option<PathBuf>> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match word.map(Path::to_owned).or_else(|| VARIABLES.into_iter().find_map(set)) {
        Some(word) => of_word(&word).map(Some),
        None => context::chosen(),
    }
}

fn of_word(word: &Path) -> Result<PathBuf> {
    let Some(name) = word.to_str().filter(|word| EnvironmentName::new(word).is_ok()) else {
        return Ok(word.to_owned());
    };
    let named: Vec<_> = listed().into_iter().filter(|listed| listed.name == name).collect();
    match named.as_slice() {
        [only] => Ok(only.path.clone()),
        [] if word.is_file() => Ok(word.to_owned()),
        [] => Err(Error::new(ErrorKind::NotFound, OPERATION).with("name", name).hint(format!(
            "`ssmd env list` shows those in {FIRST} and {FOLDER}/; `ssmd env create {name}` makes it"
        ))),
        [first, second, ..] => Err(Error::new(ErrorKind::Invalid, OPERATION)
            .detail("two documents have this name")
            .with("name", name)
            .with("first", first.path.display())
            .with("second", second.path.display())
            .hint("name the file, or rename one of them")),
    }
}

/// Every document of this folder that calls itself something, `env.yaml` first, then by file name.
pub(crate) fn listed() -> Vec<Listed> {
    let yaml = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
    let folder = std::fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = folder.filter(yaml).collect();
    paths.sort();
    paths.insert(0, PathBuf::from(FIRST));
    let name = |path: PathBuf| {
        let name = document_name(&std::fs::read_to_string(&path).ok()?)?;
        Some(Listed { name, path })
    };
    paths.into_iter().filter_map(name).collect()
}

/// Refuses to pass over documents that are in this folder and that nobody chose.
///
/// # Errors
/// `Invalid`, with what would use the first of them.
pub(super) fn none_lies_here() -> Result<()> {
    let (path, chooses) = match listed().into_iter().next() {
        Some(Listed { name, path }) => (path, format!("`ssmd env use {name}` chooses it for this folder")),
        None if Path::new(FIRST).exists() => {
            (FIRST.into(), format!("`ssmd check {FIRST}` says what is wrong with it"))
        }
        None => return Ok(()),
    };
    Err(Error::new(ErrorKind::Invalid, OPERATION)
        .detail("one is in this folder, and none is chosen")
        .with("file", path.display())
        .hint(format!("{chooses}; -c {} names it", path.display())))
}

/// The document that another one extends: a path relative to it, or a name, which means `NAME.yaml` beside it.
pub(super) fn extended(reference: &str, document: &Document) -> Result<Document> {
    let folder = Path::new(&document.name).parent().unwrap_or(Path::new(""));
    let mut path = folder.join(reference);
    if EnvironmentName::new(reference).is_ok() && !path.is_file() {
        path.set_extension("yaml");
    }
    let text = std::fs::read(&path)
        .map_err(|cause| Error::io("read document", cause).with("file", path.display()))?;
    Ok(Document { name: path.display().to_string(), id: identity(&path), text })
}

/// The same for two paths of one file.
pub(super) fn identity(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
