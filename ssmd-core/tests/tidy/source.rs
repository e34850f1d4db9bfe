//! Rust source as the rules see it: lines without comments and texts, with tests marked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One file.
pub(crate) struct Source {
    /// Relative to the workspace.
    pub(crate) path: String,
    /// Its lines as they are.
    pub(crate) raw: Vec<String>,
    /// The same lines with comments and the insides of texts and characters blanked out.
    pub(crate) code: Vec<String>,
    /// Whether the line belongs to tests.
    pub(crate) test: Vec<bool>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let raw: Vec<_> = text.lines().map(str::to_owned).collect();
        let code: Vec<_> = blank(text).lines().map(str::to_owned).collect();
        let everything = is_test_path(path);
        let mut test = vec![everything; raw.len()];
        for (from, to, _) in test_items(&code) {
            test[from..=to].fill(true);
        }
        Self { path: path.to_owned(), raw, code, test }
    }

    /// The files of modules that this file declares for tests only, relative to the workspace.
    fn test_modules(&self) -> Vec<String> {
        let path = Path::new(&self.path);
        let stem = path.file_stem().unwrap_or_default();
        let parent = path.parent().unwrap_or(Path::new(""));
        let folder = match stem.to_str() {
            Some("mod" | "lib" | "main") => parent.to_owned(),
            _ => parent.join(stem),
        };
        let declared = test_items(&self.code).into_iter().filter_map(|(.., module)| module);
        declared.map(|module| folder.join(module).to_string_lossy().replace('\\', "/")).collect()
    }
}

/// Every Rust file of the workspace, with modules that are declared for tests marked as such.
pub(crate) fn read_all(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("source is UTF-8");
        let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        Source::new(&relative, &text)
    };
    let mut sources: Vec<_> =
        paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")).map(read).collect();
    mark_test_modules(&mut sources);
    sources
}

pub(crate) fn mark_test_modules(sources: &mut [Source]) {
    let modules: BTreeSet<_> = sources.iter().flat_map(Source::test_modules).collect();
    for source in sources {
        let module = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if modules.iter().any(|test| module == test || module.starts_with(&format!("{test}/"))) {
            source.test.fill(true);
        }
    }
}

/// Files below `folder`, without build output and what begins with a dot.
pub(crate) fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder that can be read") {
        let entry = entry.expect("an entry that can be read");
        let name = entry.file_name();
        let kind = entry.file_type().expect("an entry with a type");
        if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            walk(&entry.path(), paths);
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
}

fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches") || path.ends_with("/tests.rs")
}

/// Items under `#[cfg(test)]` or `#[test]`: first line, last line, and the module's name if it is in another file.
fn test_items(code: &[String]) -> Vec<(usize, usize, Option<String>)> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let line = code[at].trim();
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            let (last, braces) = item_end(code, at);
            let words = code[at..=last].join(" ");
            let module = (!braces)
                .then(|| words.split("mod ").nth(1).map(|rest| rest.trim_end_matches(';').trim().to_owned()))
                .flatten();
            items.push((at, last, module));
            at = last;
        }
        at += 1;
    }
    items
}

/// The last line of the item that begins at `from`, and whether it has a body in braces.
pub(crate) fn item_end(code: &[String], from: usize) -> (usize, bool) {
    let (mut braces, mut others, mut seen) = (0_i32, 0_i32, false);
    for (at, line) in code.iter().enumerate().skip(from) {
        for character in line.chars() {
            match character {
                '{' => (braces, seen) = (braces + 1, true),
                '}' => braces -= 1,
                '(' | '[' => others += 1,
                ')' | ']' => others -= 1,
                ';' if braces == 0 && others == 0 => return (at, seen),
                _ => {}
            }
            if seen && braces == 0 && character == '}' {
                return (at, true);
            }
        }
    }
    (code.len() - 1, seen)
}

/// The text with comments and the insides of strings and characters replaced by spaces; line breaks stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut word = false;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, word).unwrap_or(0);
        let (taken, after) = rest.split_at(if length == 0 { first.len_utf8() } else { length });
        if length == 0 {
            out.push_str(taken);
        } else {
            out.extend(taken.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        }
        word = length == 0 && (first.is_alphanumeric() || first == '_');
        rest = after;
    }
    out
}

/// The longest prefix of a literal: `br`.
const PREFIX_BYTES_MAX: usize = 2;

/// How many bytes of comment or literal stand at the front; `None` where there is code.
fn skipped(text: &str, in_word: bool) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let letters = text.bytes().take(PREFIX_BYTES_MAX).take_while(|byte| b"rbc".contains(byte)).count();
    let prefix = if in_word { "" } else { &text[..letters] };
    let literal = &text[prefix.len()..];
    match prefix {
        "r" | "br" | "cr" => raw_string(literal).map(|length| prefix.len() + length),
        "" | "b" | "c" if literal.starts_with('"') => Some(prefix.len() + quoted(literal, '"')?),
        "" | "b" if literal.starts_with('\'') => character(literal).map(|length| prefix.len() + length),
        _ => None,
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..text.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" if depth == 1 => return at + 2,
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let body = text[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&close)? + close.len())
}

fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A character, which a lifetime is not.
fn character(text: &str) -> Option<usize> {
    let mut inside = text.chars().skip(1);
    let first = inside.next()?;
    if first == '\\' || inside.next() == Some('\'') { quoted(text, '\'') } else { None }
}

#[test]
fn comments_and_texts_are_no_code() {
    let text =
        "a(\"x // {\"); // todo\nb('{', '\\'', b'\"', r#\"} \"# , \"\\\"}\"); /* {\n/* */ { */ c<'a>(r#type)";
    let code = blank(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains(['{', '}', '"', 'x']), "{code}");
    for kept in ["a(", "b(", "c<'a>(r#type)"] {
        assert!(code.contains(kept), "{kept}: {code}");
    }
}

#[test]
fn tests_are_marked_and_nothing_else() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { }\n}\nfn c() {}\n#[cfg(test)]\nmod far;\n";
    let mut sources = vec![Source::new("x/src/a.rs", text), Source::new("x/src/a/far.rs", "fn d() {}")];
    mark_test_modules(&mut sources);
    assert_eq!(sources[0].test, [false, true, true, true, true, false, true, true]);
    assert_eq!(sources[1].test, [true]);
    assert_eq!(Source::new("x/tests/a.rs", "fn e() {}").test, [true]);
}
