//! Where an installed libechidna is. The build script looks, and a test looks at how it does.
//!
//! Whatever is wrong is one line that names what is missing. It compiles nothing.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The headers of libechidna that the bridge includes, those that they include among them.
pub(crate) const HEADERS: [&str; 7] =
    ["buf.hpp", "event_hlpr.hpp", "event_mgr.hpp", "mem.hpp", "string-util.hpp", "tcp.hpp", "websocket.hpp"];
/// What libechidna itself needs, as far as the bridge uses it.
const NEEDED: [&str; 3] = ["ssl", "crypto", "numa"];
/// How a library begins: an archive, or a shared object.
const BEGINNINGS: [&[u8]; 2] = [b"!<arch>\n", b"\x7fELF"];

/// A libechidna that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Folders of headers.
    pub(crate) include: Vec<PathBuf>,
    /// What cargo is to be told.
    pub(crate) link: Vec<String>,
}

/// The one in `folder`, which is what `LIBECHIDNA_DIR` says; without it the one that pkg-config knows.
///
/// # Errors
/// What is missing, and what to do.
pub(crate) fn find(folder: Option<&OsStr>, pkg_config: &OsStr) -> Result<Installed, String> {
    let found = match folder.filter(|folder| !folder.is_empty()) {
        Some(folder) => in_folder(Path::new(folder)),
        None => by_pkg_config(pkg_config),
    };
    found.map_err(|missing| unusable(&missing))
}

/// The message of a build that has to stop.
pub(crate) fn unusable(missing: &str) -> String {
    format!(
        "the feature `libechidna` needs an installed libechidna: {missing}; set LIBECHIDNA_DIR to a folder with \
         include/echidna/*.hpp and lib/libechidna.a (or .so), see docs/libechidna.md"
    )
}

fn in_folder(folder: &Path) -> Result<Installed, String> {
    if !folder.is_absolute() {
        return Err(format!("LIBECHIDNA_DIR is `{}`, which is no absolute path", folder.display()));
    }
    let include = folder.join("include");
    let headers = HEADERS.map(|header| include.join("echidna").join(header));
    if let Some(missing) = headers.iter().find(|header| !header.is_file()) {
        return Err(format!("there is no {}", missing.display()));
    }
    let lib = folder.join("lib");
    let kinds = [("libechidna.a", "static"), ("libechidna.so", "dylib")];
    let found = kinds.into_iter().find(|(name, _)| lib.join(name).is_file());
    let (name, kind) =
        found.ok_or_else(|| format!("there is no libechidna.a or .so in {}", lib.display()))?;
    if !is_library(&lib.join(name)) {
        return Err(format!("{} is no library", lib.join(name).display()));
    }
    let mut link = vec![format!("rustc-link-search=native={}", lib.display())];
    link.push(format!("rustc-link-lib={kind}=echidna"));
    link.extend(needed());
    Ok(Installed { include: vec![include], link })
}

fn is_library(path: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(8).read_to_end(&mut beginning));
    read.is_ok() && BEGINNINGS.iter().any(|library| beginning.starts_with(library))
}

fn by_pkg_config(program: &OsStr) -> Result<Installed, String> {
    let asked = Command::new(program).args(["--cflags", "--libs", "echidna"]).output();
    let asked = asked.ok().filter(|asked| asked.status.success());
    let asked = asked.ok_or("LIBECHIDNA_DIR is not set and pkg-config does not know `echidna`")?;
    Ok(of_words(&String::from_utf8_lossy(&asked.stdout)))
}

/// What the words of pkg-config mean.
pub(crate) fn of_words(words: &str) -> Installed {
    let mut installed = Installed { include: Vec::new(), link: Vec::new() };
    for word in words.split_whitespace() {
        if let Some(folder) = word.strip_prefix("-I") {
            installed.include.push(folder.into());
        } else if let Some(folder) = word.strip_prefix("-L") {
            installed.link.push(format!("rustc-link-search=native={folder}"));
        } else if let Some(library) = word.strip_prefix("-l") {
            installed.link.push(format!("rustc-link-lib={library}"));
        }
    }
    installed.link.extend(needed());
    installed
}

fn needed() -> [String; 3] {
    NEEDED.map(|library| format!("rustc-link-lib={library}"))
}
