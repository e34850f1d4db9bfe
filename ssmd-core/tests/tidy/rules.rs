//! What a source file must be like: sizes, a first line that says what it is, and what may not stand in it.

use crate::source::{Source, item_end};
use crate::{Broken, broken};

/// No file is longer, in lines.
const FILE_LINES_MAX: usize = 600;
/// No function is longer, in lines from its signature to its last brace: a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// No binary's `main.rs` is longer, in lines: what binaries share lives in `bins/app`.
const MAIN_LINES_MAX: usize = 60;

/// Code that capnpc wrote.
const GENERATED: &str = "_capnp.rs";
/// The only file with `unsafe`, and the only one that C++ is bound in.
const BORDER: &str = "ssmd-echidna/src/ffi.rs";

/// The only source that is compiled from another language.
const BRIDGE: [&str; 2] = ["ssmd-echidna/src/bridge.hpp", "ssmd-echidna/src/bridge.cpp"];
/// How files of such languages end.
const FOREIGN: [&str; 10] = ["c", "cc", "cpp", "cxx", "h", "hh", "hpp", "hxx", "s", "S"];

/// What may not stand in code.
struct Ban {
    /// The code, as whole words.
    code: &'static str,
    /// Why, and what stands there instead.
    rule: &'static str,
    /// Whether tests may have it. (Clippy's `disallowed_methods` still speaks in tests.)
    in_tests: bool,
    /// Which files it holds for.
    applies: fn(&str) -> bool,
}

const fn ban(code: &'static str, rule: &'static str) -> Ban {
    Ban { code, rule, in_tests: false, applies: |_| true }
}

const BANS: [Ban; 15] = [
    ban("todo!", "nothing is left to do: finish it or leave it out"),
    ban("unimplemented!", "nothing is left to do: finish it or leave it out"),
    ban("dbg!", "logs go through `tracing`"),
    ban("#[ignore", "a test runs or does not exist"),
    ban("unbounded_channel", "every queue has a bound: `tokio::sync::mpsc::channel`"),
    Ban {
        applies: |path| path != BORDER,
        ..ban("unsafe", "`unsafe` lives at the border to C++: ssmd-echidna/src/ffi.rs")
    },
    Ban {
        in_tests: true,
        ..ban(".unwrap()", "no `unwrap` outside tests: return the error, or `expect` the reason")
    },
    Ban {
        in_tests: true,
        applies: is_exact,
        ..ban("f64", "no price or size passes through a float: `Decimal`")
    },
    Ban {
        in_tests: true,
        applies: is_exact,
        ..ban("f32", "no price or size passes through a float: `Decimal`")
    },
    Ban {
        in_tests: true,
        applies: is_not_clock,
        ..ban("SystemTime::now", "time comes from `ssmd_core::Clock`")
    },
    Ban {
        in_tests: true,
        applies: is_not_clock,
        ..ban("Instant::now", "time comes from `ssmd_core::Clock`")
    },
    Ban {
        in_tests: true,
        applies: is_not_clock,
        ..ban("thread::sleep", "wait through `ssmd_core::Clock::sleep`")
    },
    Ban {
        in_tests: true,
        applies: is_not_clock,
        ..ban("time::sleep", "wait through `ssmd_core::Clock::sleep`")
    },
    Ban {
        in_tests: true,
        applies: is_not_tasks,
        ..ban("tokio::spawn", "someone owns every task: `ssmd_core::Tasks`")
    },
    Ban {
        in_tests: true,
        applies: is_not_tasks,
        ..ban("task::spawn", "someone owns every task: `ssmd_core::Tasks`")
    },
];

/// Where prices and sizes are read, kept and written.
fn is_exact(path: &str) -> bool {
    let core = ["decimal", "record", "book", "codec"];
    let in_core = path.strip_prefix("ssmd-core/src/").and_then(|rest| rest.split(['/', '.']).next());
    in_core.is_some_and(|module| core.contains(&module))
        || path.starts_with("ssmd-feeds/src/") && path.rsplit('/').any(|part| part.starts_with("decode"))
}

fn is_not_clock(path: &str) -> bool {
    path != "ssmd-core/src/clock.rs"
}

fn is_not_tasks(path: &str) -> bool {
    path != "ssmd-core/src/tasks.rs"
}

/// Every rule about one file.
pub(crate) fn check(source: &Source, out: &mut Vec<Broken>) {
    absolute_paths(&source.path, source.raw.iter().map(String::as_str), out);
    if source.path.ends_with(GENERATED) {
        return;
    }
    sizes(source, out);
    let opening = |line: &String| line.starts_with("//!") || line.starts_with("#![doc = include_str!(");
    if source.path.contains("src/") && !source.raw.first().is_some_and(opening) {
        out.push(broken(&source.path, 1, "a file opens with `//!`: what it owns, what it refuses to know"));
    }
    for ban in BANS.iter().filter(|ban| (ban.applies)(&source.path)) {
        for (at, line) in source.code.iter().enumerate() {
            if has_word(line, ban.code) && !(ban.in_tests && source.test[at]) {
                out.push(broken(&source.path, at + 1, &format!("`{}`: {}", ban.code, ban.rule)));
            }
        }
    }
}

/// No C++ but that of the bridge.
pub(crate) fn foreign_source(path: &str, out: &mut Vec<Broken>) {
    let ends = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    if FOREIGN.contains(&ends) && !BRIDGE.contains(&path) {
        out.push(broken(path, 1, "C++ lives in ssmd-echidna/src/bridge.hpp and bridge.cpp"));
    }
}

/// No file names a folder of one machine.
pub(crate) fn absolute_paths<'a>(path: &str, lines: impl Iterator<Item = &'a str>, out: &mut Vec<Broken>) {
    let machine = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];
    for (at, line) in lines.enumerate() {
        if machine.iter().any(|folder| line.contains(folder)) {
            out.push(broken(
                path,
                at + 1,
                "no path of one machine: take it from the environment or the flags",
            ));
        }
    }
}

fn sizes(source: &Source, out: &mut Vec<Broken>) {
    let lines = source.raw.len();
    let is_main = source.path.starts_with("bins/") && source.path.ends_with("/src/main.rs");
    let (most, what) = if is_main { (MAIN_LINES_MAX, "main.rs") } else { (FILE_LINES_MAX, "file") };
    if lines > most {
        out.push(broken(
            &source.path,
            most + 1,
            &format!("a {what} has at most {most} lines, this one {lines}"),
        ));
    }
    for (at, line) in source.code.iter().enumerate() {
        if !is_function(line) {
            continue;
        }
        let (last, _) = item_end(&source.code, at);
        let lines = last - at + 1;
        if lines > FUNCTION_LINES_MAX {
            let rule = format!("a function has at most {FUNCTION_LINES_MAX} lines, this one {lines}");
            out.push(broken(&source.path, at + 1, &rule));
        }
    }
}

/// Whether a function begins on this line: `fn` and a name, after nothing but words such as `pub(crate) async`.
fn is_function(line: &str) -> bool {
    let Some((before, after)) = line.split_once("fn ") else { return false };
    let words = |c: char| c.is_alphanumeric() || matches!(c, '_' | '(' | ')' | ' ' | '"' | ':');
    let named = after.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'));
    named && before.chars().all(words) && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Whether `code` stands in `line` and is no part of a longer word.
fn has_word(line: &str, code: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(code).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + code.len()..].chars().next());
        let free = |edge: Option<char>, neighbour: Option<char>| {
            !edge.is_some_and(letter) || !neighbour.is_some_and(letter)
        };
        free(code.chars().next(), before) && free(code.chars().next_back(), after)
    })
}

#[cfg(test)]
fn found(path: &str, text: &str) -> Vec<Broken> {
    let mut out = Vec::new();
    check(&Source::new(path, text), &mut out);
    out
}

#[test]
fn every_ban_catches_its_code_and_spares_comments_and_longer_words() {
    for ban in &BANS {
        let path = ["ssmd-core/src/record.rs", "ssmd-feeds/src/ws.rs"].into_iter().find(|p| (ban.applies)(p));
        let path = path.unwrap();
        let bad = format!("//! Doc.\nlet a = x{};\n", ban.code);
        let bad = if ban.code.starts_with('.') { bad } else { bad.replace("= x", "= ") };
        let broken = found(path, &bad);
        assert_eq!(broken.len(), 1, "{}: {broken:?}", ban.code);
        assert_eq!(broken[0].line, 2);
        for good in [format!("//! Doc.\n// {}\n", ban.code), format!("//! Doc.\nlet a = \"{}\";\n", ban.code)]
        {
            assert!(found(path, &good).is_empty(), "{}", ban.code);
        }
        let test = format!("//! Doc.\n#[cfg(test)]\nmod tests {{\n a{}\n}}\n", ban.code);
        let test = if ban.code.starts_with('.') { test } else { test.replace(" a", " ") };
        assert_eq!(found(path, &test).is_empty(), ban.in_tests, "{}", ban.code);
    }
    assert!(
        found("ssmd-core/src/record.rs", "//! Doc.\nfn f(a: af64, b: not_unsafe, f64x: u8) {}\n").is_empty()
    );
    assert!(found("ssmd-core/src/metrics.rs", "//! Doc.\nfn f(a: f64) {}\n").is_empty());
    assert_eq!(found("ssmd-feeds/src/kraken/decode.rs", "//! Doc.\nfn f(a: f64) {}\n").len(), 1);
    assert!(found("ssmd-core/src/clock.rs", "//! Doc.\nlet a = Instant::now();\n").is_empty());
    assert!(found("ssmd-echidna/src/ffi.rs", "//! Doc.\nunsafe fn f() {}\n").is_empty());
    assert_eq!(found("ssmd-echidna/src/lib.rs", "//! Doc.\nunsafe fn f() {}\n").len(), 1);
}

#[test]
fn other_languages_are_caught() {
    let broken = |path: &str| {
        let mut out = Vec::new();
        foreign_source(path, &mut out);
        out.len()
    };
    assert_eq!(["ssmd-feeds/src/a.cpp", "ssmd-echidna/src/other.hpp", "a.S"].map(broken), [1; 3]);
    assert_eq!([BRIDGE[0], BRIDGE[1], "a/src/cpp.rs", "a/hpp"].map(broken), [0; 4]);
}

#[test]
fn long_files_and_functions_are_caught() {
    let lines = |count: usize| format!("//! Doc.\n{}", "let a = 1;\n".repeat(count - 1));
    assert!(found("a/src/a.rs", &lines(FILE_LINES_MAX)).is_empty());
    assert_eq!(found("a/src/a.rs", &lines(FILE_LINES_MAX + 1)).len(), 1);
    assert!(found("bins/a/src/main.rs", &lines(MAIN_LINES_MAX)).is_empty());
    assert_eq!(found("bins/a/src/main.rs", &lines(MAIN_LINES_MAX + 1)).len(), 1);
    assert!(found("a/src/schema/a_capnp.rs", &lines(FILE_LINES_MAX + 1)).is_empty());

    let function = |count: usize| {
        format!(
            "//! Doc.\npub(crate) async fn f(\n) -> [u8; 4] {{\n{}}}\nfn g();\n",
            "a(\"{\");\n".repeat(count - 3)
        )
    };
    assert!(found("a/src/a.rs", &function(FUNCTION_LINES_MAX)).is_empty());
    let broken = found("a/src/a.rs", &function(FUNCTION_LINES_MAX + 1));
    assert_eq!((broken.len(), broken[0].line), (1, 2), "{broken:?}");
}

#[test]
fn missing_docs_and_paths_of_one_machine_are_caught() {
    assert_eq!(found("a/src/a.rs", "use b;\n")[0].line, 1);
    assert_eq!(found("a/src/a.rs", "").len(), 1);
    assert!(found("a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
    for folder in ["ro", "ho", "wo"] {
        let rest = if folder == "ro" {
            "ot"
        } else if folder == "ho" {
            "me"
        } else {
            "rk"
        };
        let bad = format!("//! Doc.\n// see /{folder}{rest}/a\n");
        assert_eq!(found("a/src/a.rs", &bad)[0].line, 2);
    }
}
