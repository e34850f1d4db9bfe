//! The command line of `ssmd`: what can be typed, and the help that teaches it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ssmd_core::{Day, Timestamp};

mod books;
mod daemons;
mod environment;
mod journal;
mod running;
mod store;

pub use books::{Books, FeedShow};
pub use daemons::{Archiver, Cache, Connector};
pub use environment::*;
pub use journal::{JournalArgs, JournalCommand, JournalInspect, JournalLs};
pub use running::{Deploy, EnvApply, EnvHistory, Running, Versions};
pub use store::StoreArgs;

/// Stupid simple market data: records exchange feeds, archives them, proves what it has, and replays it.
///
/// Try it with no account and no network: ssmd up --sim
#[derive(Debug, Parser)]
#[command(name = "ssmd", version, after_help = AFTER)]
pub struct Cli {
    /// Write logs as JSON lines.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Examples:
  ssmd up --sim --for 30s      record a simulated exchange for half a minute
  ssmd init                    declare what to record, in env.yaml
  ssmd symbol add SOL/USD      record one symbol more
  ssmd up                      record what is declared
  ssmd verify                  prove that everything recorded is there
  ssmd cat | head              the exchange's own frames

Exit codes: 0 fine, 1 failed, 2 usage, 3 damage found or nothing found,
69 unavailable, 75 busy, 78 bad document.";

const UP: &str = "\
Examples:
  ssmd up --sim                     a simulated exchange, until Ctrl-C
  ssmd up                           what `ssmd init` declared here
  ssmd up -c environment.yaml --data /srv/ssmd --listen 127.0.0.1:9600

An edited document is applied without a restart, but not under --sim. Ctrl-C
(SIGTERM, a closed terminal) stops in order: sockets close, what was heard is
sealed and archived. A second one ends at once; the next start archives the
rest.";

const CHECK: &str = "\
Examples:
  ssmd check environment.yaml             what it declares, or all that is wrong
  ssmd check environment.yaml --online    and whether symbols, store and secrets
                                          are there
  ssmd explain E0203                      what a problem means

✓ is right, ✗ is wrong, ○ is right and not carried out: not enabled, without
the keys that the venue wants, or not built yet, which nothing starts with.";

const TAIL: &str = "\
A record's subject is ENVIRONMENT.FEED.json.TYPE.SYMBOL, of a feed with a
category ENVIRONMENT.FEED.CATEGORY.json.TYPE.SYMBOL. In a filter `*` stands
for one part and `>` for all that follow; `/` in a symbol is ~2F.

Examples:
  ssmd tail                                  everything
  ssmd tail '*.kraken.json.trade.>'        trades of one feed
  ssmd tail '*.*.json.*.BTC~2FUSD'         one symbol
  ssmd tail '*.*.json.gap.>'               holes, as they are found";

const CAT: &str = "\
Examples:
  ssmd cat --day 2026-08-01 | head
  ssmd cat --from 2026-08-01T12:00:00Z --to 2026-08-01T12:05:00Z
  ssmd cat --day 2026-08-01 --format play --connection 3 --sent";

const GREP: &str = "\
Examples:
  ssmd grep -F '\"trade_id\":1234567'
  ssmd grep --day 2026-08-01 --count '\"type\":\"snapshot\"'";

const GAPS: &str = "\
Examples:
  ssmd gaps                                       every hole there is
  ssmd gaps --from 2026-08-01 --to 2026-08-08     those of a week";

const BOOKS: &str = "\
Examples:
  ssmd books                                      of what runs here
  ssmd books --store file:./archive --day 2026-08-01 --feed kraken";

const REPLAY: &str = "\
Sessions that began earlier are decoded from their beginning, so books are
right from the first record on.

Examples:
  ssmd replay --day 2026-08-01 --type trade,gap
  ssmd replay --day 2026-08-01 --symbol BTC/USD --speed 10
  ssmd replay --from 2026-08-01T12:00:00Z --to 2026-08-01T13:00:00Z";

const IMPORT: &str = "\
A play file is JSON lines {\"t\":NS,\"c\":CONNECTION,\"raw\":\"FRAME\"}, as
`ssmd cat --format play` prints it. Every import is a log of its own.

Example:
  ssmd import --store file:./archive --feed kraken 2026-08-01.jsonl.zst";

const SIM: &str = "\
Examples:
  ssmd sim --listen 127.0.0.1:9000 --symbols BTC/USD,ETH/USD --rate 2000
  ssmd sim --listen 127.0.0.1:9000 --play day.jsonl.zst --speed max

Point a feed at it: url: ws://127.0.0.1:9000/v2, rest: http://127.0.0.1:9000";

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record: connector, log, archiver and store in one process, with a live view.
    #[command(after_help = UP)]
    Up(Up),
    /// Make a first environment here: env.yaml. Asks nothing, overwrites nothing.
    Init(Init),
    /// Validate an environment document; says everything that is wrong at once.
    #[command(after_help = CHECK)]
    Check(Check),
    /// Say what a problem's code means, with an example of how it is wrong and how it is right.
    Explain(Explain),
    /// Work with environments: make, choose, show, compare, promote.
    #[command(subcommand)]
    Env(EnvCommand),
    /// Show which feeds there are, and say which are recorded.
    #[command(subcommand)]
    Feed(FeedCommand),
    /// Say which symbols are recorded.
    #[command(subcommand)]
    Symbol(SymbolCommand),
    /// Serve a venue's protocol on loopback: a market model, or recorded frames.
    #[command(after_help = SIM)]
    Sim(Sim),
    /// Print records as they are decoded by what runs in the data folder.
    #[command(after_help = TAIL)]
    Tail(Tail),
    /// Show how what runs in the data folder is doing.
    Status(Running),
    /// Look into a journal: which logs it holds, and their entries.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// List what an archive holds.
    Ls(Ls),
    /// Print what was received, byte for byte.
    #[command(after_help = CAT)]
    Cat(Cat),
    /// Print the received frames that contain a text or match a pattern.
    #[command(after_help = GREP)]
    Grep(Grep),
    /// Print every known hole, with cause, bounds and evidence.
    #[command(after_help = GAPS)]
    Gaps(Gaps),
    /// Audit books: how often each was checked, what came of it, and since when it is as it is.
    #[command(after_help = BOOKS)]
    Books(Books),
    /// Prove an archive: every commit, object, line, frame number and book checksum.
    Verify(Verify),
    /// Decode the archive again, at the speed it happened, faster, or as fast as possible.
    #[command(after_help = REPLAY)]
    Replay(Replay),
    /// Put play files into an archive.
    #[command(after_help = IMPORT)]
    Import(Import),
    /// Measure this machine and this build: every promised figure beside its limit.
    Bench(Bench),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Flags of every daemon.
#[derive(Clone, Debug, Args)]
pub struct Daemon {
    /// The environment; without it the one of this folder (`ssmd env use`), else live Kraken BTC/USD and ETH/USD.
    #[arg(short = 'c', long, visible_alias = "env", value_name = "NAME|FILE", env = "SSMD_ENV")]
    pub config: Option<PathBuf>,
    /// Apply an edited document only when told: SIGHUP, `ssmd env apply`.
    #[arg(long)]
    pub no_watch: bool,
    /// The folder for log, store and control socket. Paths of the document that lie in ./ssmd-data move with it.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
    /// Serve /health, /health/ready and /metrics here.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Stop after this long (30s, 5m, 1h).
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub run_for: Option<Duration>,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

/// When a recorder stops by itself.
#[derive(Clone, Copy, Debug, Args)]
pub struct Until {
    /// Stop when no frame but heartbeats has come for this long, counted from the first frame.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub until_idle: Option<Duration>,
}

/// `ssmd up`.
#[derive(Debug, Args)]
pub struct Up {
    /// What every daemon takes.
    #[command(flatten)]
    pub daemon: Daemon,
    /// When to stop by itself.
    #[command(flatten)]
    pub until: Until,
    /// Record a simulated exchange instead of the real one.
    #[arg(long)]
    pub sim: bool,
    /// The simulated market's messages a second.
    #[arg(long, value_name = "N", default_value_t = 500, requires = "sim", value_parser = clap::value_parser!(u32).range(1..))]
    pub sim_rate: u32,
    /// The simulated market's seed.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "sim")]
    pub sim_seed: u64,
    /// What the simulated exchange does wrong.
    #[command(flatten)]
    pub wrong: UpFaults,
}

/// Faults of `ssmd up --sim`.
#[derive(Clone, Debug, Default, Args)]
pub struct UpFaults {
    /// Do wrong what this script says (docs/simulator.md).
    #[arg(long, value_name = "FILE", requires = "sim")]
    pub faults: Option<PathBuf>,
    /// Write each fault, and what shows of it, as a JSON line.
    #[arg(long, value_name = "FILE", requires = "faults")]
    pub ledger: Option<PathBuf>,
}

/// `ssmd check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A name, or a document.
    #[arg(value_name = "NAME|FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The same, as other commands spell it.
    #[command(flatten)]
    pub which: Which,
    /// Also ask the world: whether venues list the symbols, the store can be written, secrets are there.
    #[arg(long)]
    pub online: bool,
    /// Print the answer as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The code, as in E0101; without it all are listed.
    pub code: Option<String>,
    /// Print a JSON object, or an array of all.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd sim`.
#[derive(Debug, Args)]
pub struct Sim {
    /// Whose protocol to speak.
    #[arg(long, default_value = "kraken")]
    pub feed: String,
    /// Where to listen: a loopback address.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Play recorded frames, in the order of the files, instead of a market model.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["symbols", "rate", "seed"])]
    pub play: Vec<PathBuf>,
    /// How fast to play: 1 as recorded, N times that, or max.
    #[arg(long, value_name = "1|N|max", default_value = "1", value_parser = speed)]
    pub speed: Speed,
    /// The model's symbols.
    #[arg(long, value_name = "SYMBOL", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// The model's messages a second, over all symbols.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// The model's seed: the same seed makes the same market.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write every text frame that was sent, with its connection's number.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Do wrong what this script says (docs/simulator.md).
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Write each fault, and what shows of it, as a JSON line.
    #[arg(long, value_name = "FILE", requires = "faults")]
    pub ledger: Option<PathBuf>,
    /// Let in only who signs with the other half of this key (PEM), where clients sign.
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// After the last played frame: close, drain, write the log, exit 0.
    #[arg(long, requires = "play")]
    pub exit_when_done: bool,
}

/// `ssmd tail`.
#[derive(Debug, Args)]
pub struct Tail {
    /// The folder it was started with.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
    /// Only records whose subject matches: ENV.FEED[.CATEGORY].json.TYPE.SYMBOL, `*` for one part, `>` for the rest.
    #[arg(default_value = ">")]
    pub filter: String,
}

/// `ssmd ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// The archive.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only this feed, with its days.
    #[arg(long)]
    pub feed: Option<String>,
    /// Only this day, with its segments.
    #[arg(long, alias = "date", requires = "feed", value_parser = day)]
    pub day: Option<Day>,
    /// Print one JSON array.
    #[arg(long)]
    pub json: bool,
}

/// A part of an archive.
#[derive(Clone, Debug, Args)]
pub struct Part {
    /// The archive.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The feed; needed only if the archive has several.
    #[arg(long)]
    pub feed: Option<String>,
    /// Only this UTC day, as in 2026-08-01.
    #[arg(long, alias = "date", value_parser = day, conflicts_with_all = ["from", "to"])]
    pub day: Option<Day>,
    /// Only from this time on: a UTC day, or a time as in 2026-08-01T12:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Timestamp>,
    /// Only before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub to: Option<Timestamp>,
    /// Pass over what is damaged: each is named on standard error, and the exit code is 3.
    #[arg(long)]
    pub skip_damaged: bool,
}

/// `ssmd gaps`.
#[derive(Debug, Args)]
pub struct Gaps {
    /// Where to look.
    #[command(flatten)]
    pub part: Part,
    /// Of connections that hear the same, only the holes that none of the others covers.
    #[arg(long)]
    pub merged: bool,
    /// Print one JSON array.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd cat`.
#[derive(Debug, Args)]
pub struct Cat {
    /// Where to look.
    #[command(flatten)]
    pub part: Part,
    /// How to print: `raw` is each frame on a line, `play` a play file, `entries` the archive's own lines.
    #[arg(long, value_enum, default_value_t = CatFormat::Raw)]
    pub format: CatFormat,
    /// Print also what we sent.
    #[arg(long)]
    pub sent: bool,
    /// Only this connection.
    #[arg(long, value_name = "C")]
    pub connection: Option<u64>,
}

/// Forms of `ssmd cat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatFormat {
    /// Each frame as it was received, and a newline.
    Raw,
    /// JSON lines `{"t":…,"c":…,"raw":…}`.
    Play,
    /// The archive's own lines, with what is no frame.
    Entries,
}

/// `ssmd grep`.
#[derive(Debug, Args)]
pub struct Grep {
    /// The pattern: a regular expression, or a text with --fixed.
    pub pattern: String,
    /// Where to look.
    #[command(flatten)]
    pub part: Part,
    /// The pattern is a plain text.
    #[arg(short = 'F', long)]
    pub fixed: bool,
    /// Search also what we sent.
    #[arg(long)]
    pub sent: bool,
    /// Print only how many frames match.
    #[arg(long)]
    pub count: bool,
}

/// `ssmd verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The archive.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only this feed.
    #[arg(long)]
    pub feed: Option<String>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Where to look.
    #[command(flatten)]
    pub part: Part,
    /// How fast: 1 as it happened, N times that, or max.
    #[arg(long, value_name = "1|N|max", default_value = "max", value_parser = speed)]
    pub speed: Speed,
    /// How to print the records.
    #[arg(long, value_enum, default_value_t = RecordFormat::Json)]
    pub format: RecordFormat,
    /// Only these types of records.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Only this symbol.
    #[arg(long)]
    pub symbol: Option<String>,
}

/// Forms of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecordFormat {
    /// JSON lines.
    Json,
    /// A stream of Cap'n Proto messages.
    Capnp,
    /// Nothing: only count.
    None,
}

/// `ssmd import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Play files: JSON lines, plain, gzip or zstd.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The archive.
    #[command(flatten)]
    pub store: StoreArgs,
    /// The feed they came from.
    #[arg(long)]
    pub feed: String,
    /// The day for frames whose receive time is not known.
    #[arg(long, alias = "date", value_parser = day)]
    pub day: Option<Day>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Only these rows: decode, environment, receive, dialers, durable, archive, restart, memory, universe, nats,
    /// mqtt, redis, s3, outage.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The dialers side by side: the same as `--only dialers`.
    #[arg(long, conflicts_with = "only")]
    pub dialers: bool,
    /// The backends beside their bare clients, through real servers: the same as `--only nats,mqtt,redis,s3,outage`.
    #[arg(long, conflicts_with_all = ["only", "dialers"])]
    pub backends: bool,
    /// Where to make the folder to measure in, on a real disk; without it ./target if there is one, else here.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run the long rows for ten minutes each, as their figures say.
    #[arg(long)]
    pub soak: bool,
    /// Exit with code 3 if a figure misses its limit.
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// How fast time passes in a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as it happened.
    Times(u32),
    /// As fast as the machine can.
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text {
        "max" => Ok(Speed::Max),
        _ => match text.trim_end_matches(['x', '×']).parse() {
            Ok(times) if times > 0 => Ok(Speed::Times(times)),
            _ => Err("write 1, another whole number, or max".to_owned()),
        },
    }
}

fn day(text: &str) -> Result<Day, String> {
    text.parse().map_err(|_| "write a UTC date as YYYY-MM-DD".to_owned())
}

/// Reads a time with its offset, or a day, which means its first moment in UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = text.parse().map(Day::start);
    day.or_else(|_| text.parse())
        .map_err(|_| "write a UTC day as in 2026-08-01, or a time as in 2026-08-01T12:30:00Z".to_owned())
}

/// Reads a time with its offset, or a day, which means its last moment in UTC.
fn moment_of(text: &str) -> Result<Timestamp, String> {
    let last = |day: Day| Timestamp::from_nanos(day.next().start().nanos() - 1);
    text.parse().map(last).or_else(|_| moment(text))
}

/// Reads `30s`, `5m`, `1h30m`, `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration =
        text.parse().map_err(|_| "write 30s, 5m, 1h30m or 250ms".to_owned())?;
    Duration::try_from(signed).map_err(|_| "a duration cannot be below zero".to_owned())
}
