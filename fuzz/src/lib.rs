//! A fuzz target for every parser: what may never happen, whatever the bytes are.
//!
//! Each target takes one case, any bytes, and panics if a promise is broken: a panic of the parser itself, more memory
//! than its bound, a round trip that changes something. This crate knows no engine: `tests/replay.rs` runs every
//! target over its seeds, its corpus and mutations of both, and the package in `guided/` runs them under libFuzzer.

mod archive;
mod bound;
mod frames;
mod log;
mod names;
mod numbers;
mod records;
pub mod seeds;
mod settings;

/// One parser and what it promises.
#[derive(Debug)]
pub struct Target {
    /// Its name, as `make fuzz TARGET=…` takes it.
    pub name: &'static str,
    /// What it feeds and what it holds, in a line.
    pub about: &'static str,
    /// Runs one case.
    ///
    /// # Panics
    /// If a promise is broken.
    pub run: fn(&[u8]),
    /// Cases to begin with, written here; those read from recordings come from [`seeds::recorded`].
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether real frames, of [`seeds::recorded`], are cases of this target.
    pub takes_frames: bool,
}

/// The most bytes of a case that the engines make. Lengths are also tested where they are bounds, by tests of their own.
pub const CASE_BYTES_MAX: usize = 16 * 1024;

/// Every target.
pub static TARGETS: &[Target] = &[
    Target {
        name: "kraken_protocol",
        about: "frames, a line each, to a subscribed connection: answers are JSON, and few",
        run: frames::protocol,
        seeds: seeds::frames,
        takes_frames: true,
    },
    Target {
        name: "kraken_decode",
        about: "frames, a line each, to a decoder: untouched output on error, records that both codecs carry",
        run: frames::decode,
        seeds: seeds::frames,
        takes_frames: true,
    },
    Target {
        name: "kraken_pairs",
        about: "the body of AssetPairs and a pattern",
        run: frames::pairs,
        seeds: seeds::pairs,
        takes_frames: false,
    },
    Target {
        name: "environment",
        about: "an environment document: as many problems as are told, in places that exist",
        run: settings::environment,
        seeds: seeds::environments,
        takes_frames: false,
    },
    Target {
        name: "control",
        about: "a request to the control socket, and its filter",
        run: settings::control,
        seeds: seeds::requests,
        takes_frames: false,
    },
    Target {
        name: "log_scan",
        about: "entries of a segment, with checksums as they come or made right: accepted is what verifies",
        run: log::scan,
        seeds: seeds::log_entries,
        takes_frames: false,
    },
    Target {
        name: "log_header",
        about: "the header of a segment, likewise",
        run: log::header,
        seeds: seeds::log_headers,
        takes_frames: false,
    },
    Target {
        name: "commit",
        about: "a commit, with its hash as it comes or made right",
        run: archive::commit,
        seeds: seeds::commits,
        takes_frames: false,
    },
    Target {
        name: "version",
        about: "a version of an environment, with its hash as it comes or made right",
        run: archive::version,
        seeds: seeds::versions,
        takes_frames: false,
    },
    Target {
        name: "line",
        about: "a line of a raw segment, and any bytes as the payload of one",
        run: archive::line,
        seeds: seeds::lines,
        takes_frames: true,
    },
    Target {
        name: "segment",
        about: "a raw segment, packed as it comes or packed here: dense numbers, bounded memory",
        run: archive::segment,
        seeds: seeds::segments,
        takes_frames: false,
    },
    Target {
        name: "play",
        about: "a play file, plain, gzip or zstd",
        run: archive::play,
        seeds: seeds::plays,
        takes_frames: false,
    },
    Target {
        name: "names",
        about: "symbols, tokens, subjects, filters, object paths: no collision, no escape",
        run: names::names,
        seeds: seeds::names,
        takes_frames: false,
    },
    Target {
        name: "ids",
        about: "entry ids, origins, timestamps, days, channels, notes: what they print they read",
        run: names::ids,
        seeds: seeds::ids,
        takes_frames: false,
    },
    Target {
        name: "decimal",
        about: "two numbers: their digits, their sum and their difference",
        run: numbers::decimal,
        seeds: seeds::decimals,
        takes_frames: false,
    },
    Target {
        name: "book",
        about: "changes of an order book against a plain map",
        run: numbers::book,
        seeds: seeds::books,
        takes_frames: false,
    },
    Target {
        name: "json",
        about: "a record as JSON: what is read is written and read the same",
        run: records::json,
        seeds: seeds::json_records,
        takes_frames: false,
    },
    Target {
        name: "capnp",
        about: "records as Cap'n Proto, end to end: what is read is written and read the same",
        run: records::capnp,
        seeds: seeds::capnp_records,
        takes_frames: false,
    },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
