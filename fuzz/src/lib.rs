//! A fuzz target for every parser: what may never happen, whatever the bytes are.
//!
//! Each target takes one case, any bytes, and panics if a promise is broken: a panic of the parser itself, more memory
//! than its bound, a round trip that changes something. This crate knows no engine: `tests/replay.rs` runs every
//! target over its seeds, its corpus and mutations of both, and its binary runs them under libFuzzer (`scripts/fuzz`).

use std::panic::RefUnwindSafe;
use std::sync::LazyLock;

mod archive;
mod bound;
mod log;
mod names;
mod numbers;
mod records;
pub mod seeds;
mod settings;
mod venues;

/// One parser and what it promises.
pub struct Target {
    /// Its name, as `make fuzz TARGET=…` takes it.
    pub name: String,
    /// What it feeds and what it holds, in a line.
    pub about: &'static str,
    /// The most bytes of a case that the engines make: more than what is long for the parser. Lengths are also tested
    /// where they are bounds, by tests of their own.
    pub bytes_max: usize,
    /// Runs one case.
    ///
    /// # Panics
    /// If a promise is broken.
    pub run: Run,
    /// Cases to begin with, written here or in the venue's folder; those read from recordings come from
    /// [`seeds::recorded`].
    pub seeds: MakeCases,
    /// The feeds whose recorded frames, of [`seeds::recorded`], are cases of this target.
    pub recorded: Vec<&'static str>,
}

/// Runs one case.
pub type Run = Box<dyn Fn(&[u8]) + Send + Sync + RefUnwindSafe>;
/// Makes cases.
pub type MakeCases = Box<dyn Fn() -> Vec<Vec<u8>> + Send + Sync + RefUnwindSafe>;

/// Every target.
pub fn targets() -> &'static [Target] {
    static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
        let mut targets = venues::targets();
        targets.extend(PARSERS.iter().map(Parser::target));
        targets
    });
    &TARGETS
}

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    targets().iter().find(|target| target.name == name)
}

/// A parser that belongs to no venue.
struct Parser {
    name: &'static str,
    about: &'static str,
    bytes_max: usize,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    takes_frames: bool,
}

impl Parser {
    fn target(&self) -> Target {
        let every_feed = || ssmd_feeds::VENUES.iter().map(|venue| venue.words.name).collect();
        Target {
            name: self.name.to_owned(),
            about: self.about,
            bytes_max: self.bytes_max,
            run: Box::new(self.run),
            seeds: Box::new(self.seeds),
            recorded: if self.takes_frames { every_feed() } else { Vec::new() },
        }
    }
}

/// Those of venues follow from the table of venues (`venues.rs`).
const PARSERS: &[Parser] = &[
    Parser {
        name: "environment",
        about: "an environment document: as many problems as are told, in places that exist",
        bytes_max: 4 * 1024,
        run: settings::environment,
        seeds: seeds::environments,
        takes_frames: false,
    },
    Parser {
        name: "control",
        about: "a request to the control socket, and its filter",
        bytes_max: 1024,
        run: settings::control,
        seeds: seeds::requests,
        takes_frames: false,
    },
    Parser {
        name: "log_scan",
        about: "entries of a segment, with checksums as they come or made right: accepted is what verifies",
        bytes_max: 8 * 1024,
        run: log::scan,
        seeds: seeds::log_entries,
        takes_frames: false,
    },
    Parser {
        name: "log_header",
        about: "the header of a segment, likewise",
        bytes_max: 512,
        run: log::header,
        seeds: seeds::log_headers,
        takes_frames: false,
    },
    Parser {
        name: "commit",
        about: "a commit, with its hash as it comes or made right",
        bytes_max: 8 * 1024,
        run: archive::commit,
        seeds: seeds::commits,
        takes_frames: false,
    },
    Parser {
        name: "version",
        about: "a version of an environment, with its hash as it comes or made right",
        bytes_max: 4 * 1024,
        run: archive::version,
        seeds: seeds::versions,
        takes_frames: false,
    },
    Parser {
        name: "line",
        about: "a line of a raw segment, and any bytes as the payload of one",
        bytes_max: 4 * 1024,
        run: archive::line,
        seeds: seeds::lines,
        takes_frames: true,
    },
    Parser {
        name: "segment",
        about: "a raw segment, packed as it comes or packed here: dense numbers, bounded memory",
        bytes_max: 8 * 1024,
        run: archive::segment,
        seeds: seeds::segments,
        takes_frames: false,
    },
    Parser {
        name: "play",
        about: "a play file, plain, gzip or zstd",
        bytes_max: 4 * 1024,
        run: archive::play,
        seeds: seeds::plays,
        takes_frames: false,
    },
    Parser {
        name: "names",
        about: "symbols, tokens, subjects, filters, object paths: no collision, no escape",
        bytes_max: 1024,
        run: names::names,
        seeds: seeds::names,
        takes_frames: false,
    },
    Parser {
        name: "ids",
        about: "entry ids, origins, timestamps, days, channels, notes: what they print they read",
        bytes_max: 512,
        run: names::ids,
        seeds: seeds::ids,
        takes_frames: false,
    },
    Parser {
        name: "decimal",
        about: "two numbers: their digits, their sum and their difference",
        bytes_max: 256,
        run: numbers::decimal,
        seeds: seeds::decimals,
        takes_frames: false,
    },
    Parser {
        name: "book",
        about: "changes of an order book against a plain map",
        bytes_max: 1024,
        run: numbers::book,
        seeds: seeds::books,
        takes_frames: false,
    },
    Parser {
        name: "json",
        about: "a record as JSON: what is read is written and read the same",
        bytes_max: 4 * 1024,
        run: records::json,
        seeds: seeds::json_records,
        takes_frames: false,
    },
    Parser {
        name: "capnp",
        about: "records as Cap'n Proto, end to end: what is read is written and read the same",
        bytes_max: 8 * 1024,
        run: records::capnp,
        seeds: seeds::capnp_records,
        takes_frames: false,
    },
];
