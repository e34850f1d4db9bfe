//! A script of faults: what goes wrong, when, and to whom. Strict: what it does not know is an error with its line.

use std::path::Path;
use std::time::Duration;

use ssmd_core::{Error, Result};

use super::yaml::{self, Node, Value, wrong};
use crate::sim::venue::Connection;

/// What a simulator does wrong on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultScript {
    /// Everything random follows from it.
    pub(super) seed: u64,
    pub(super) rules: Vec<Rule>,
}

/// One fault, and when it happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    pub(super) when: When,
    /// How often, at most.
    pub(super) times: u64,
    /// Only so long after the first connection opened.
    pub(super) until: Option<Duration>,
    pub(super) connection: Option<Connection>,
    pub(super) channel: Option<String>,
    pub(super) symbol: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Drop,
    Duplicate {
        copies: u64,
    },
    /// Sent after so many further frames of its channel and symbol.
    Reorder {
        by: u64,
    },
    Delay {
        time: Duration,
    },
    Corrupt,
    BadChecksum,
    Malformed,
    InvalidUtf8,
    Unknown,
    Oversize {
        bytes: usize,
    },
    Silence {
        time: Option<Duration>,
        pings: bool,
    },
    HalfOpen,
    Close {
        abrupt: bool,
    },
    Refuse,
    /// A digit of a size is wrong that REST tells.
    WrongRest,
    SlowDrip {
        bytes_per_second: u32,
    },
}

/// Which of the frames that it could hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    /// All behind so many.
    After(u64),
    /// Each one of so many.
    Every(u64),
    /// Each with this probability.
    Chance(f64),
    /// All that come so long after their connection opened.
    At(Duration),
    /// Refusals: when the connection that is named has ended. Answers of REST: the first ones.
    Gone,
}

/// Each fault's word and its own options.
pub(super) const KINDS: [(&str, &[&str]); 16] = [
    ("drop", &[]),
    ("duplicate", &["copies"]),
    ("reorder", &["by"]),
    ("delay", &["for"]),
    ("corrupt", &[]),
    ("bad_checksum", &[]),
    ("malformed", &[]),
    ("invalid_utf8", &[]),
    ("unknown", &[]),
    ("oversize", &["bytes"]),
    ("silence", &["for", "pings"]),
    ("half_open", &[]),
    ("close", &["abrupt"]),
    ("refuse", &[]),
    ("slow_drip", &["bytes_per_second"]),
    ("wrong_rest", &[]),
];
/// What every fault knows.
const COMMON: [&str; 10] =
    ["fault", "after", "every", "chance", "at", "times", "until", "connection", "channel", "symbol"];
/// One byte more than the largest frame that anybody keeps.
const OVERSIZE_BYTES: usize = ssmd_core::entry::FRAME_BYTES_MAX + 1;
/// The largest frame that a script may ask for, in bytes.
const OVERSIZE_BYTES_MAX: u64 = 1 << 30;
/// As slow as a dead line that is not quite dead.
const DRIP_BYTES_PER_SECOND: u64 = 5;

impl FaultScript {
    /// Reads a script's text.
    ///
    /// # Errors
    /// `Invalid`, with the line, for whatever it does not know.
    pub fn parse(text: &str) -> Result<Self> {
        let root = yaml::parse(text)?;
        let Value::Map(entries) = root.value else { return Err(wrong(root.line, "not a map")) };
        let mut script = Self { seed: 0, rules: Vec::new() };
        for (key, node) in entries {
            match (key.as_str(), node.value) {
                ("seed", Value::Scalar(text)) => script.seed = number(&text, node.line, "seed")?,
                ("faults", Value::List(rules)) => {
                    script.rules = rules.into_iter().map(Rule::read).collect::<Result<_>>()?;
                }
                ("seed" | "faults", _) => {
                    return Err(wrong(node.line, format!("`{key}` is of another type")));
                }
                _ => return Err(wrong(node.line, format!("unknown key `{key}`")).hint("keys: seed, faults")),
            }
        }
        Ok(script)
    }

    /// Reads a script from a file.
    ///
    /// # Errors
    /// Those of reading the file and of [`FaultScript::parse`], with its path.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::io("read fault script", cause).with("path", path.display()))?;
        Self::parse(&text).map_err(|error| error.with("path", path.display()))
    }
}

impl Rule {
    fn read(node: Node) -> Result<Self> {
        let line = node.line;
        let Value::Map(entries) = node.value else { return Err(wrong(line, "a fault is a map")) };
        let mut options = Options { line, entries: Vec::new() };
        for (key, node) in entries {
            let Value::Scalar(text) = node.value else {
                return Err(wrong(node.line, format!("`{key}` is of another type")));
            };
            options.entries.push((key, text, node.line));
        }
        let Some((word, _)) = options.take("fault") else {
            return Err(wrong(line, "no `fault`: what goes wrong?"));
        };
        let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == word) else {
            let known: Vec<_> = KINDS.iter().map(|(known, _)| *known).collect();
            return Err(wrong(line, format!("unknown fault `{word}`")).hint(known.join(", ")));
        };
        for (key, _, line) in &options.entries {
            if !COMMON.contains(&key.as_str()) && !own.contains(&key.as_str()) {
                let known = COMMON.iter().chain(*own).copied().collect::<Vec<_>>().join(", ");
                return Err(wrong(*line, format!("`{word}` does not know `{key}`")).hint(known));
            }
        }
        let kind = kind(&word, &mut options)?;
        let when = options.when(kind)?;
        let once = matches!(when, When::After(_) | When::At(_) | When::Gone);
        Ok(Self {
            kind,
            when,
            times: options.number("times")?.unwrap_or(if once { 1 } else { u64::MAX }),
            until: options.duration("until")?,
            connection: options.number("connection")?,
            channel: options.take("channel").map(|(text, _)| text),
            symbol: options.take("symbol").map(|(text, _)| text),
        })
    }
}

fn kind(word: &str, options: &mut Options) -> Result<Kind> {
    Ok(match word {
        "drop" => Kind::Drop,
        "duplicate" => Kind::Duplicate { copies: options.number("copies")?.unwrap_or(1) },
        "reorder" => Kind::Reorder { by: options.number("by")?.unwrap_or(1).max(1) },
        "delay" => {
            let time = options.duration("for")?;
            Kind::Delay { time: time.ok_or_else(|| wrong(options.line, "`delay` needs `for`"))? }
        }
        "corrupt" => Kind::Corrupt,
        "bad_checksum" => Kind::BadChecksum,
        "malformed" => Kind::Malformed,
        "invalid_utf8" => Kind::InvalidUtf8,
        "unknown" => Kind::Unknown,
        "oversize" => {
            let bytes = options.number("bytes")?.unwrap_or(OVERSIZE_BYTES as u64).min(OVERSIZE_BYTES_MAX);
            Kind::Oversize { bytes: bytes as usize }
        }
        "silence" => Kind::Silence { time: options.duration("for")?, pings: options.truth("pings")? },
        "half_open" => Kind::HalfOpen,
        "close" => Kind::Close { abrupt: options.truth("abrupt")? },
        "refuse" => Kind::Refuse,
        "wrong_rest" => Kind::WrongRest,
        _ => {
            let rate = options.number("bytes_per_second")?.unwrap_or(DRIP_BYTES_PER_SECOND);
            Kind::SlowDrip { bytes_per_second: rate.clamp(1, 1000) as u32 }
        }
    })
}

/// The options of one fault that were not taken yet.
struct Options {
    line: usize,
    entries: Vec<(String, String, usize)>,
}

impl Options {
    fn take(&mut self, key: &str) -> Option<(String, usize)> {
        let at = self.entries.iter().position(|(there, ..)| there == key)?;
        let (_, text, line) = self.entries.swap_remove(at);
        Some((text, line))
    }

    fn number(&mut self, key: &str) -> Result<Option<u64>> {
        self.take(key).map(|(text, line)| number(&text, line, key)).transpose()
    }

    fn truth(&mut self, key: &str) -> Result<bool> {
        match self.take(key) {
            None => Ok(false),
            Some((text, line)) => {
                text.parse().map_err(|_| wrong(line, format!("`{key}` is true or false, not `{text}`")))
            }
        }
    }

    fn duration(&mut self, key: &str) -> Result<Option<Duration>> {
        self.take(key).map(|(text, line)| duration(&text, line, key)).transpose()
    }

    fn when(&mut self, kind: Kind) -> Result<When> {
        let mut all = Vec::new();
        all.extend(self.number("after")?.map(When::After));
        if let Some(every) = self.number("every")? {
            all.push(When::Every(every.max(1)));
        }
        if let Some((text, line)) = self.take("chance") {
            let chance = text.parse().ok().filter(|chance| (0.0..=1.0).contains(chance));
            all.push(When::Chance(chance.ok_or_else(|| wrong(line, "`chance` is from 0 to 1"))?));
        }
        all.extend(self.duration("at")?.map(When::At));
        match (all.as_slice(), kind) {
            ([], Kind::Refuse | Kind::WrongRest) => Ok(When::Gone),
            (_, Kind::Refuse) => Err(wrong(self.line, "`refuse` follows the end of its `connection`")),
            (_, Kind::WrongRest) => {
                Err(wrong(self.line, "`wrong_rest` hits the first answers; `times` says how many"))
            }
            ([when], _) => Ok(*when),
            _ => Err(wrong(self.line, "one of `after`, `every`, `chance` and `at` says when")),
        }
    }
}

fn number(text: &str, line: usize, key: &str) -> Result<u64> {
    text.parse().map_err(|_| wrong(line, format!("`{key}` is a whole number, not `{text}`")))
}

/// Reads `250ms`, `5s`, `2m`.
fn duration(text: &str, line: usize, key: &str) -> Result<Duration> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let read = units.iter().find_map(|(unit, ms)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_millis(count.checked_mul(*ms)?))
    });
    read.ok_or_else(|| wrong(line, format!("`{key}` is a time such as 250ms, 5s or 2m, not `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_when_and_to_whom() {
        let text = "seed: 7\nfaults:\n  - { fault: drop, chance: 0.01, channel: book, symbol: BTC/USD }\n  \
                    - fault: silence\n    at: 5s\n    for: 250ms\n    connection: 2\n  - { fault: refuse, times: 3 }\n";
        let script = FaultScript::parse(text).unwrap();
        assert_eq!((script.seed, script.rules.len()), (7, 3));
        assert_eq!(script.rules[0].when, When::Chance(0.01));
        assert_eq!((script.rules[0].times, script.rules[1].times, script.rules[2].times), (u64::MAX, 1, 3));
        let time = Some(Duration::from_millis(250));
        assert_eq!(script.rules[1].kind, Kind::Silence { time, pings: false });
        assert_eq!((script.rules[1].connection, script.rules[2].when), (Some(2), When::Gone));
    }

    #[test]
    fn every_word_is_a_fault() {
        for (word, _) in KINDS {
            let more = match word {
                "delay" => ", after: 1, for: 1s",
                "refuse" | "wrong_rest" => "",
                _ => ", after: 1",
            };
            let text = format!("faults: [{{ fault: {word}{more} }}]");
            assert_eq!(FaultScript::parse(&text).unwrap().rules.len(), 1, "{word}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_an_error_with_its_line() {
        for (line, text) in [
            (1, ""),
            (1, "- a"),
            (2, "seed: 1\nsede: 2"),
            (2, "faults:\n  - { fault: dorp, every: 2 }"),
            (3, "faults:\n  - fault: drop\n    evry: 2"),
            (3, "faults:\n  - fault: drop\n    copies: 2"),
            (3, "faults:\n  - fault: drop\n    chance: 2"),
            (2, "faults:\n  - { fault: drop }"),
            (2, "faults:\n  - { fault: drop, every: 2, after: 3 }"),
            (2, "faults:\n  - { fault: delay, every: 2 }"),
            (2, "seed: 1\nseed: 1"),
            (1, "seed: &a 1"),
            (1, "faults: [[[[1]]]]"),
            (3, "faults:\n  - fault: delay\n    for: 5 parsecs"),
        ] {
            let error = FaultScript::parse(text).unwrap_err();
            assert_eq!(error.context("line"), Some(line.to_string().as_str()), "{text}: {error}");
        }
    }
}
