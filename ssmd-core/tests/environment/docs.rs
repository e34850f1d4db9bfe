//! `docs/environment.md` says what the tables say. `UPDATE_EXPECT=1` rewrites its generated parts.

use std::fmt::Write as _;
use std::path::Path;

use ssmd_core::environment::{CODES, FIELDS, LATER};

use crate::golden::check;

#[test]
fn the_docs_say_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environment.md");
    if !path.exists() {
        // The packaged crate has no docs beside it.
        return;
    }
    let page = std::fs::read_to_string(&path).unwrap();
    let page = with(&page, "fields", &fields());
    let page = with(&page, "later", &later());
    let page = with(&page, "codes", &codes());
    check(&path, &page);
}

/// The page with the part between `<!-- NAME -->` and `<!-- /NAME -->` replaced.
fn with(page: &str, name: &str, part: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&open).unwrap_or_else(|| panic!("the page has no {open}"));
    let (_, after) = rest.split_once(&close).unwrap_or_else(|| panic!("the page has no {close}"));
    format!("{before}{open}\n{part}\n{close}{after}")
}

fn fields() -> String {
    let mut table = String::from("| key | what | default | example |\n| --- | --- | --- | --- |\n");
    for field in FIELDS {
        let default = field.default.unwrap_or("required");
        let (path, kind, example, meaning) = (field.path(), field.kind, field.example, field.meaning);
        writeln!(table, "| `{path}` | {kind}. {meaning} | {default} | `{example}` |").unwrap();
    }
    table
}

fn later() -> String {
    let mut list = String::new();
    for key in LATER {
        let dot = if key.section.is_empty() { "" } else { "." };
        writeln!(list, "- `{}{dot}{}`", key.section, key.key).unwrap();
    }
    list
}

fn codes() -> String {
    let mut text = String::new();
    for row in CODES {
        writeln!(text, "### {}: {}\n\n{}\n\n```yaml\n{}\n```\n", row.code, row.title, row.text, row.example)
            .unwrap();
    }
    text.trim_end().to_owned() + "\n"
}
