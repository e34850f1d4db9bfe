//! What the build script takes for an installed libechidna, and what it says of everything else.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "../build/installed.rs"]
mod installed;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use installed::{HEADERS, Installed, find, of_words};
use tempfile::{TempDir, tempdir};

const NO_PROGRAM: &str = "/nonexistent/pkg-config";

/// A folder as an installer leaves it, with libraries of these names.
fn folder(libraries: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    let include = folder.path().join("include/echidna");
    fs::create_dir_all(&include).unwrap();
    HEADERS.iter().for_each(|header| fs::write(include.join(header), "").unwrap());
    fs::create_dir(folder.path().join("lib")).unwrap();
    for name in libraries {
        let begins = if name.ends_with(".a") { "!<arch>\n" } else { "\x7fELF" };
        fs::write(folder.path().join("lib").join(name), begins).unwrap();
    }
    folder
}

fn look(folder: &Path) -> Result<Installed, String> {
    find(Some(folder.as_os_str()), OsStr::new(NO_PROGRAM))
}

/// What is said of a folder that will not do: one line, which says what to set.
fn said(folder: &Path) -> String {
    let said = look(folder).unwrap_err();
    assert!(!said.contains('\n') && said.contains("set LIBECHIDNA_DIR to a folder with"), "{said}");
    said
}

#[test]
fn a_static_library_is_taken_before_a_shared_one() {
    for (libraries, expected) in [
        (&["libechidna.a", "libechidna.so"][..], "rustc-link-lib=static=echidna"),
        (&["libechidna.so"], "rustc-link-lib=dylib=echidna"),
    ] {
        let folder = folder(libraries);
        let installed = look(folder.path()).unwrap();
        assert_eq!(installed.include, [folder.path().join("include")]);
        let search = format!("rustc-link-search=native={}", folder.path().join("lib").display());
        assert_eq!(installed.link[..2], [search, expected.to_owned()]);
        assert!(installed.link.contains(&"rustc-link-lib=numa".to_owned()), "{installed:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let whole = ["libechidna.a"];
    for header in HEADERS {
        let folder = folder(&whole);
        let header = folder.path().join("include/echidna").join(header);
        fs::remove_file(&header).unwrap();
        assert!(said(folder.path()).contains(&format!("there is no {}", header.display())));
    }
    let without = folder(&[]);
    assert!(said(without.path()).contains("there is no libechidna.a or .so in"));
    let other = folder(&whole);
    fs::write(other.path().join("lib/libechidna.a"), "").unwrap();
    assert!(said(other.path()).contains("libechidna.a is no library"));
    assert!(said(Path::new("/nonexistent")).contains("there is no /nonexistent/include/echidna/"));
    assert!(said(Path::new("../echidna")).contains("`../echidna`, which is no absolute path"));
    // Set to nothing is not set.
    assert!(said(Path::new("")).contains("LIBECHIDNA_DIR is not set and pkg-config does not know `echidna`"));
    assert_eq!(find(None, OsStr::new(NO_PROGRAM)).unwrap_err(), said(Path::new("")));
}

#[test]
fn what_pkg_config_says_is_handed_on() {
    let installed = of_words("-I/opt/e/include -pthread -L/opt/e/lib -lechidna\n");
    assert_eq!(installed.include, [Path::new("/opt/e/include")]);
    let link = ["rustc-link-search=native=/opt/e/lib", "rustc-link-lib=echidna", "rustc-link-lib=ssl"];
    assert_eq!(installed.link[..3], link);
}

/// So that tests which were asked to run with a libechidna never pass without one.
#[test]
fn the_one_that_this_environment_names_is_there() {
    let Some(folder) = std::env::var_os("LIBECHIDNA_DIR").filter(|folder| !folder.is_empty()) else {
        println!("LIBECHIDNA_DIR is not set: nothing is held against it");
        return;
    };
    find(Some(&folder), OsStr::new(NO_PROGRAM)).unwrap();
}
