//! A document that says something of everything, changed in one line in ways of which the outcome is known: what is
//! wrong is told on that line, what is right is heard, and nothing becomes a default by itself. `PROPTEST_CASES`
//! says how often.

use proptest::prelude::*;
use ssmd_core::environment::{Environment, Problems};

use crate::hostile::{answered, cases};
use crate::load::FULL;
use crate::words::parse;

/// Values of every type. Where one stands that does not fit, the line is told.
const VALUES: &[&str] = &[
    "0",
    "7",
    "-2",
    "1.5",
    "1e3",
    "true",
    "yes",
    "null",
    "~",
    "",
    "x",
    "\"\"",
    "\" \"",
    "[]",
    "{}",
    "[x]",
    "[7]",
    "{ x: 1 }",
    "2027-02-01",
    "\"12:34\"",
    "12:34",
    "5s",
    "5GB",
    "ws://10.0.0.1",
    "https://x.example",
    "nats://x",
    "99999999999999999999",
    "é",
    "a b",
    "-",
    "|",
    ">-",
    "'x",
    "*x",
    "&x y",
    "!!str x",
    "%x",
    "@x",
    "\u{7f}",
    "# x",
];

/// What one line may be changed to.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// One letter of the key is doubled, dropped or replaced.
    Key(u8),
    /// Another value.
    Value,
    /// The line stands twice.
    Twice,
    /// The line is gone.
    Gone,
    /// A tab before it, a control character behind it, a bracket that nobody closes.
    Broken(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0_u8..3).prop_map(Change::Key),
        4 => Just(Change::Value),
        1 => Just(Change::Twice),
        1 => Just(Change::Gone),
        1 => (0_u8..3).prop_map(Change::Broken),
    ]
}

/// Lines `key: scalar`: their place from 0, the key with what is before it, the value.
fn scalars() -> Vec<(usize, &'static str, &'static str)> {
    let scalar = |(at, line): (usize, &'static str)| {
        let (key, value) = line.split_once(": ")?;
        let one = !value.starts_with(['[', '{']) && !line.trim_start().starts_with(['#', '-']);
        one.then_some((at, key, value))
    };
    FULL.lines().enumerate().filter_map(scalar).collect()
}

/// Keys of which a value may be wrong for what stands elsewhere, which is then told there; and free names.
fn refers(key: &str, value: &str) -> bool {
    let keys = ["name", "client_id", "internal", "startup", "teardown", "open", "close"];
    let free = ["ticket", "kalshi", "nats", "description"];
    keys.contains(&key.trim()) || free.contains(&key.trim()) || value == "ETHUSD"
}

/// Whether leaving the line out says the same as the line.
fn is_default(key: &str, value: &str) -> bool {
    let defaults = [
        ("enabled", "true"),
        ("dialer", "rust"),
        ("allow_plaintext", "false"),
        ("retention_days", "-1"),
        ("redundancy", "1"),
    ];
    defaults.contains(&(key.trim(), value))
}

fn told_on(problems: &Problems, line: usize) -> bool {
    problems.problems.iter().any(|problem| problem.line == line)
}

fn misspelled(key: &str, how: u8, at: usize) -> String {
    let indent = key.len() - key.trim_start().len();
    let at = indent + at % (key.len() - indent);
    match how {
        0 => format!("{}{}{}", &key[..=at], &key[at..=at], &key[at + 1..]),
        1 => format!("{}{}", &key[..at], &key[at + 1..]),
        _ => format!("{}Q{}", &key[..at], &key[at + 1..]),
    }
}

fn with_line(at: usize, line: Option<String>) -> String {
    let mut lines: Vec<_> = FULL.lines().map(str::to_owned).collect();
    match line {
        Some(line) => lines[at] = line,
        None => drop(lines.remove(at)),
    }
    lines.join("\n") + "\n"
}

/// What must hold of the changed document, and what does.
fn judge(original: &Environment, change: Change, pick: usize, value: &str) -> Result<(), String> {
    let scalars = scalars();
    let (at, key, old) = scalars[pick % scalars.len()];
    let line = format!("{key}: {old}");
    let changed = match change {
        Change::Key(how) => Some(format!("{}: {old}", misspelled(key, how, pick / scalars.len()))),
        Change::Value => Some(format!("{key}: {value}")),
        Change::Twice => Some(format!("{line}\n{line}")),
        Change::Gone => None,
        Change::Broken(0) => Some(format!("\t{line}")),
        Change::Broken(1) => Some(format!("{line}\u{1}")),
        Change::Broken(_) => Some(format!("{key}: [{old}")),
    };
    let text = with_line(at, changed.clone());
    let free = refers(key, old);
    let same_text = changed.as_deref() == Some(line.as_str());
    match answered(text.as_bytes()) {
        Ok(loaded) if same_text => {
            (loaded == *original).then_some(()).ok_or("the same text says something else")
        }
        Ok(loaded) if loaded == *original => {
            (matches!(change, Change::Gone) && is_default(key, old)).then_some(()).ok_or("it was not heard")
        }
        Ok(_) if matches!(change, Change::Key(_)) => free.then_some(()).ok_or("a misspelled key loads"),
        Ok(_) if matches!(change, Change::Twice | Change::Broken(_)) => Err("it loads"),
        Ok(_) => Ok(()),
        // What stands twice is wrong the second time; what is missing is told where it is asked for.
        Err(problems) => match change {
            Change::Twice => told_on(&problems, at + 2),
            Change::Gone => problems.problems.iter().all(|problem| problem.line <= at + 1) || free,
            // An open bracket, quote or block reaches as far as it reads.
            Change::Broken(2) => problems.problems.iter().all(|problem| problem.line > at),
            _ => {
                told_on(&problems, at + 1)
                    || free
                    || problems.problems.iter().any(|p| p.code.as_str() == "E0005")
            }
        }
        .then_some(())
        .ok_or("another line is named"),
    }
    .map_err(|why| {
        format!(
            "{why}: line {}: {line:?} → {changed:?}\n{:?}",
            at + 1,
            parse(&text).err().map(|p| p.to_string())
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn every_change_of_a_line_is_heard_or_told_on_that_line(
        change in change(),
        pick in 0_usize..10_000,
        value in 0..VALUES.len(),
    ) {
        let original = parse(FULL).unwrap();
        prop_assert_eq!(judge(&original, change, pick, VALUES[value]), Ok(()));
    }
}
