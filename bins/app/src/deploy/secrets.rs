//! The secrets of an environment as references to one Secret of Kubernetes: variables and files, never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use ssmd_core::environment::{Environment, Secret};
use ssmd_core::{Error, Result, name};

use super::{DATA, DOCUMENT, WORK, unsupported};

/// The longest key of a Secret, in bytes.
const KEY_BYTES_MAX: usize = 253;

/// What a container must be given.
#[derive(Debug, Default)]
pub(super) struct References {
    /// Variables, each from the key that is called as it is.
    pub(super) variables: Vec<String>,
    /// Folders with files in them.
    pub(super) mounts: Vec<Mount>,
}

/// A folder in which secrets are files.
#[derive(Debug)]
pub(super) struct Mount {
    /// Its path in the container.
    pub(super) folder: String,
    /// The key of each file and its path in the folder.
    pub(super) files: Vec<(String, String)>,
}

impl References {
    /// Those of the feeds that are recorded.
    ///
    /// # Errors
    /// `Unsupported` for a variable or a path that a container cannot have.
    pub(super) fn of(environment: &Environment) -> Result<Self> {
        let (mut variables, mut files) = (BTreeSet::new(), BTreeMap::new());
        for (feed, secret) in
            environment.enabled().flat_map(|feed| feed.keys.values().map(move |key| (feed, key)))
        {
            let mut take = || {
                match secret {
                    Secret::Env(variable) => {
                        known(variable)?;
                        variables.insert(variable.clone());
                    }
                    Secret::File(path) => {
                        let (key, path) = place(path)?;
                        files.insert(path, key);
                    }
                    Secret::Mounted { .. } => {
                        return Err(unsupported("secrets of Kubernetes are not built yet"));
                    }
                }
                Ok(())
            };
            take().map_err(|error: Error| error.with("feed", &feed.name).with("secret", secret))?;
        }
        Ok(Self { variables: variables.into_iter().collect(), mounts: mounts(&files)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.mounts.is_empty()
    }

    /// Each key of the Secret, and what becomes of it.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, String)> {
        let variables = self.variables.iter().map(|name| (name.clone(), format!("the variable {name}")));
        let files = self.mounts.iter().flat_map(|mount| {
            mount.files.iter().map(|(key, path)| (key.clone(), format!("the file {}/{path}", mount.folder)))
        });
        variables.chain(files)
    }
}

/// Holds a variable against the names that every Kubernetes takes, also as keys.
fn known(variable: &str) -> Result<()> {
    let fits = variable.len() <= KEY_BYTES_MAX
        && !variable.starts_with(|c: char| c.is_ascii_digit())
        && variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits {
        return Ok(());
    }
    Err(unsupported("a variable that Kubernetes does not have")
        .hint("letters, digits and `_`, the first one no digit"))
}

/// The key of a file, and its path in the container. No variable has a `.`, so no file has the key of one.
fn place(written: &str) -> Result<(String, PathBuf)> {
    let mut path = PathBuf::new();
    for part in Path::new(written).components() {
        match part {
            Component::ParentDir => return Err(unsupported("`..` in the path of a secret")),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    let token = name::encode(&path.to_string_lossy()).replace('~', ".");
    Ok((format!("file.{token}"), Path::new(WORK).join(path)))
}

/// As few folders as hold all files, none of them inside another.
fn mounts(files: &BTreeMap<PathBuf, String>) -> Result<Vec<Mount>> {
    let work = PathBuf::from(WORK);
    let folder = |path: &Path| {
        if path.starts_with(&work) { Some(work.clone()) } else { path.parent().map(Path::to_owned) }
    };
    let folders: BTreeSet<_> = files.keys().filter_map(|path| folder(path)).collect();
    let mut outermost: Vec<PathBuf> = Vec::new();
    for folder in folders {
        // What is inside a folder comes right behind it.
        if outermost.last().is_none_or(|last| !folder.starts_with(last)) {
            outermost.push(folder);
        }
    }
    outermost.into_iter().map(|folder| mount(&folder, files)).collect()
}

fn mount(folder: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Mount> {
    let ours = [DATA, DOCUMENT].map(Path::new);
    let shown = folder.to_string_lossy();
    let hides = ours.iter().any(|ours| ours.starts_with(folder) || folder.starts_with(ours));
    if hides || Path::new(WORK).starts_with(folder) && folder != Path::new(WORK) || shown.contains(':') {
        return Err(cannot_be_mounted(&shown));
    }
    let inside = files.iter().filter_map(|(path, key)| {
        let path = path.strip_prefix(folder).ok()?;
        Some((key.clone(), path.to_string_lossy().into_owned()))
    });
    Ok(Mount { folder: shown.clone().into_owned(), files: inside.collect() })
}

fn cannot_be_mounted(folder: &str) -> Error {
    unsupported("a secret cannot be mounted in this folder")
        .with("folder", folder)
        .hint("a path that is relative, or one in a folder of its own")
}

#[cfg(test)]
mod tests {
    use super::super::tests::environment;
    use super::*;

    #[test]
    fn each_secret_is_referred_to_once_in_as_few_folders_as_there_must_be() {
        let environment = environment(
            "dev",
            "{ secrets: { unused: { env: UNUSED } }, feeds: { kalshi: { symbols: [X], keys: {
               key_id: { env: KALSHI_API_KEY }, private_key: { file: ./keys//kalshi.pem } } } } }",
        );
        let references = References::of(&environment).unwrap();
        assert_eq!(
            references.keys().collect::<Vec<_>>(),
            [
                ("KALSHI_API_KEY".to_owned(), "the variable KALSHI_API_KEY".to_owned()),
                ("file.keys.2Fkalshi.2Epem".to_owned(), "the file /run/ssmd/keys/kalshi.pem".to_owned()),
            ]
        );
    }

    #[test]
    fn files_of_folders_in_one_another_share_a_mount() {
        let written = ["/k/a/b/1", "/k/a/2", "/k/ab/3", "4", "x/5", "/run/ssmd/6", "/k/a/b/c/7"];
        let files = written.iter().map(|path| place(path).map(|(key, path)| (path, key)).unwrap()).collect();
        let mounts = mounts(&files).unwrap();
        let found: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.folder.as_str(), mount.files.iter().map(|(_, path)| path.as_str()).collect()))
            .collect::<Vec<(_, Vec<_>)>>();
        assert_eq!(
            found,
            [("/k/a", vec!["2", "b/1", "b/c/7"]), ("/k/ab", vec!["3"]), ("/run/ssmd", vec!["4", "6", "x/5"]),]
        );
    }

    #[test]
    fn keys_are_what_kubernetes_takes_and_never_the_same_for_two_files() {
        let long = "d/".repeat(200);
        let written = ["a.pem", "a~2Epem", "a/pem", "/a/pem", "a pem", "ü", "a_pem", "A.pem", "...", &long];
        let keys: BTreeSet<_> = written.iter().map(|path| place(path).unwrap().0).collect();
        assert_eq!(keys.len(), written.len());
        for key in keys {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            assert!(key.len() <= KEY_BYTES_MAX && key.chars().all(fits), "{key}");
            assert!(known(&key).is_err(), "{key} could be a variable");
        }
    }
}
