//! The tables of `docs/backends.md`: what the suites saw each backend keep. A test compares the one cell of its promise
//! and its backend, so no process needs what another one saw. `UPDATE_EXPECT=1` writes the cells of the tests that run.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use ssmd_core::conformance::Verdict;

/// What tells the table of a suite, in the column of a backend, what came of each promise.
pub(crate) fn of(
    suite: &'static str,
    promises: &'static [&'static str],
    backend: &'static str,
) -> impl Fn(&str, &Verdict) {
    move |promise, verdict| {
        let cell = match verdict {
            Verdict::Kept => "kept".to_owned(),
            Verdict::Skipped(ability) => format!("cannot {ability}"),
            // The test has failed by then.
            Verdict::Broken(how) => panic!("{promise}: {how}"),
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backends.md");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            write(&path, suite, promises, backend, promise, &cell);
            return;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let table = Table::of(&text, suite);
        let names: Vec<_> = promises.iter().map(|promise| words(promise)).collect();
        let rows: Vec<_> = table.rows.iter().map(|row| row[0].clone()).collect();
        assert_eq!(rows, names, "{}: the rows of {suite}; UPDATE_EXPECT=1 rewrites them", path.display());
        let said = table.cell(&words(promise), backend);
        assert_eq!(
            said,
            Some(&*cell),
            "{}: {backend}, {promise}; UPDATE_EXPECT=1 rewrites it",
            path.display()
        );
    }
}

/// Writes one cell, while no other process does.
fn write(path: &Path, suite: &str, promises: &[&str], backend: &str, promise: &str, cell: &str) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    file.lock().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let mut table = Table::of(&text, suite);
    table.set(promises, backend, promise, cell);
    let text = table.written_into(&text, suite);
    file.rewind().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_len(text.len() as u64).unwrap();
}

/// A promise's name, for people.
fn words(promise: &str) -> String {
    promise.replace('_', " ")
}

/// Promises down, backends across.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The table behind a suite's mark.
    pub(crate) fn of(text: &str, suite: &str) -> Self {
        let (_, table, _) = cut(text, suite);
        let mut rows = table.lines().map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        });
        let head = rows.next().unwrap_or_else(|| vec!["promise".to_owned()]);
        Self { head, rows: rows.skip(1).collect() }
    }

    pub(crate) fn cell(&self, promise: &str, backend: &str) -> Option<&str> {
        let column = self.head.iter().position(|name| name == backend)?;
        let row = self.rows.iter().find(|row| row[0] == promise)?;
        row.get(column).map(String::as_str)
    }

    /// Sets a cell, in rows that are the promises of today.
    pub(crate) fn set(&mut self, promises: &[&str], backend: &str, promise: &str, cell: &str) {
        let column = self.head.iter().position(|name| name == backend).unwrap_or_else(|| {
            self.head.push(backend.to_owned());
            self.head.len() - 1
        });
        let old = std::mem::take(&mut self.rows);
        self.rows = promises
            .iter()
            .map(|name| words(name))
            .map(|name| {
                let known = old.iter().find(|row| row[0] == name);
                let mut row = known.cloned().unwrap_or_else(|| vec![name]);
                row.resize(self.head.len(), String::new());
                row
            })
            .collect();
        let row = self.rows.iter_mut().find(|row| row[0] == words(promise)).unwrap();
        row[column] = cell.to_owned();
    }

    fn written_into(&self, text: &str, suite: &str) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = vec!["---".to_owned(); self.head.len()];
        let lines: String = [&self.head, &rule].into_iter().chain(&self.rows).map(|row| line(row)).collect();
        let (before, _, after) = cut(text, suite);
        format!("{before}{lines}{after}")
    }
}

/// What stands before a suite's table, the table, and what stands behind it.
fn cut<'a>(text: &'a str, suite: &str) -> (&'a str, &'a str, &'a str) {
    let mark = format!("<!-- written by the suite of {suite} -->\n");
    let begin =
        text.find(&mark).unwrap_or_else(|| panic!("docs/backends.md has no line {mark}")) + mark.len();
    let end = text[begin..]
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('|'))
        .map(str::len)
        .sum::<usize>();
    (&text[..begin], &text[begin..begin + end], &text[begin + end..])
}
