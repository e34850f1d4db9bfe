//! What can be typed about environments, feeds and symbols.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use ssmd_core::Day;

use super::running::{APPLY, HISTORY};
use super::{Check, EnvApply, EnvHistory, FeedShow, Running, Versions, day};

const ENV: &str = "\
A name means the document that calls itself so, in env.yaml or in
environments/. Which one a command is about: -c NAME|FILE (or --env), else
SSMD_ENV, else what `ssmd env use` chose for this folder.

Examples:
  ssmd env create prod --from env.yaml
  ssmd env diff dev prod
  ssmd env promote dev --to prod
  ssmd env use prod";

const CREATE: &str = "\
Examples:
  ssmd env create dev --from-template minimal
  ssmd env create staging --from prod          a copy, under another name
  ssmd env create staging --extends prod.yaml  only what differs from prod";

const SHOW: &str = "\
Every value with where it stands: file and line, also of a document that this
one extends, or `default`. Secrets are names, never what they hold.

Examples:
  ssmd env show
  ssmd env show prod --json
  ssmd env show --as-of 2026-08-01    the last one that was in force on that day";

const DIFF: &str = "\
Compares what two environments mean: the order of lists, comments, quotes and
defaults that are written out do not count, and neither do the names.

Exit codes: 0 no difference, 1 some, 2 one of them is not there, 78 one of
them is wrong.

Examples:
  ssmd env diff dev prod
  ssmd env diff env.yaml /etc/ssmd/env.yaml --json";

const PROMOTE: &str = "\
What moves is what is recorded: feeds, channels, symbols, depth, category,
enabled. What stays is what makes the other one itself: its name, addresses,
keys, journal, stores and their retention, secrets, clients, and whatever it
records beyond this one (--prune removes that). The plan is shown; --yes
writes it.

Examples:
  ssmd env promote dev --to staging
  ssmd env promote dev --to staging --yes";

const INIT: &str = "\
Examples:
  ssmd init                      env.yaml: two symbols of Kraken
  ssmd init --template full      every venue that needs no account";

const FEED_ADD: &str = "\
Examples:
  ssmd feed add kraken-futures --symbols PF_XBTUSD
  ssmd feed add kraken AVAX/USD              the same as `ssmd symbol add`
  ssmd feed add kraken --channels trade,book:25 --symbols BTC/USD";

const SYMBOL_ADD: &str = "\
The feed need only be named where an environment has several.

Examples:
  ssmd symbol add SOL/USD
  ssmd symbol add PF_XBTUSD PF_ETHUSD --feed kraken-futures
  ssmd symbol add BTC/USD --internal BTCUSD --depth l2";

/// Which environment a command is about.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// The environment; without it the one of this folder (`ssmd env use`).
    #[arg(short = 'c', long, visible_alias = "env", value_name = "NAME|FILE", env = "SSMD_ENV")]
    pub config: Option<PathBuf>,
}

/// How a command edits.
#[derive(Clone, Debug, Args)]
pub struct Editing {
    /// Which one.
    #[command(flatten)]
    pub which: Which,
    /// Show what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd init`.
#[derive(Debug, Args)]
#[command(after_help = INIT)]
pub struct Init {
    /// The environment's name: the first part of every subject.
    #[arg(long, default_value = "dev")]
    pub name: String,
    /// What to begin with.
    #[arg(long, value_name = "TEMPLATE", default_value = "minimal", value_parser = crate::templates::parser())]
    pub template: String,
}

/// `ssmd env`.
#[derive(Debug, Subcommand)]
#[command(after_help = ENV)]
pub enum EnvCommand {
    /// The same as `ssmd check`.
    #[command(after_help = super::CHECK)]
    Validate(Check),
    /// Print the JSON Schema of documents, for editors.
    Schema,
    /// The environments of this folder, and which one is used.
    List {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Use an environment in this folder and below; without a name: say which one is used.
    Use {
        /// A name, or a document.
        #[arg(value_name = "NAME|FILE", conflicts_with = "none")]
        environment: Option<PathBuf>,
        /// Use none any more.
        #[arg(long)]
        none: bool,
    },
    /// Make an environment: environments/NAME.yaml.
    #[command(after_help = CREATE)]
    Create(Create),
    /// Show what an environment declares, and where each value stands.
    #[command(after_help = SHOW)]
    Show(Show),
    /// Compare what two environments mean.
    #[command(after_help = DIFF)]
    Diff(Diff),
    /// Bring what one environment records into another one.
    #[command(after_help = PROMOTE)]
    Promote(Promote),
    /// Make what runs equal to its document, and say what changed; what is destructive only with --yes.
    #[command(after_help = APPLY)]
    Apply(EnvApply),
    /// Compare what is declared with what runs: versions, subscriptions, refusals.
    Status(Running),
    /// List the versions of the environment that were applied, or print the one that held.
    #[command(after_help = HISTORY)]
    History(EnvHistory),
}

/// `ssmd env create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The new environment's name.
    pub name: String,
    /// What to begin with.
    #[arg(long, value_name = "TEMPLATE", value_parser = crate::templates::parser(), conflicts_with_all = ["from", "extends"])]
    pub from_template: Option<String>,
    /// Copy this environment, comments and all.
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "extends")]
    pub from: Option<PathBuf>,
    /// Build on this document: a path relative to environments/, or a name there.
    #[arg(long, value_name = "NAME|FILE")]
    pub extends: Option<String>,
}

/// `ssmd env show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A name, or a document.
    #[arg(value_name = "NAME|FILE", conflicts_with = "config")]
    pub environment: Option<PathBuf>,
    /// The same, as other commands spell it.
    #[command(flatten)]
    pub which: Which,
    /// The one that was in force on a UTC day, of those that were applied; with --json all that were.
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub as_of: Option<Day>,
    /// With --as-of: where the versions are.
    #[command(flatten)]
    pub versions: Versions,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd env diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// A name, or a document.
    #[arg(value_name = "A")]
    pub first: PathBuf,
    /// The other one.
    #[arg(value_name = "B")]
    pub second: PathBuf,
    /// Print one JSON array.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd env promote`.
#[derive(Debug, Args)]
pub struct Promote {
    /// What is promoted: a name, or a document.
    #[arg(value_name = "A")]
    pub from: PathBuf,
    /// What it is brought into.
    #[arg(long, value_name = "B")]
    pub to: PathBuf,
    /// Also remove what the other one records and this one does not.
    #[arg(long)]
    pub prune: bool,
    /// Write it.
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd feed`.
#[derive(Debug, Subcommand)]
pub enum FeedCommand {
    /// The venues, their channels and their limits; with an environment: what it records of them.
    List {
        /// Which one: without it, every venue that there is.
        #[command(flatten)]
        which: Which,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show a venue, what it lists, or what an environment records of it.
    Show(FeedShow),
    /// Record a feed, or more symbols of it.
    #[command(after_help = FEED_ADD)]
    Add(FeedAdd),
    /// Record a feed no more, or some of its symbols.
    Remove {
        /// The feed.
        feed: String,
        /// Only these symbols.
        symbols: Vec<String>,
        /// How.
        #[command(flatten)]
        editing: Editing,
    },
    /// Record a feed that was disabled.
    Enable {
        /// The feed.
        feed: String,
        /// How.
        #[command(flatten)]
        editing: Editing,
    },
    /// Keep a feed in the document, and record it no more.
    Disable {
        /// The feed.
        feed: String,
        /// How.
        #[command(flatten)]
        editing: Editing,
    },
}

/// `ssmd feed add`.
#[derive(Debug, Args)]
pub struct FeedAdd {
    /// The feed: a name of `ssmd feed list`.
    pub feed: String,
    /// Symbols, as the venue writes them; without any, those that the venue's table offers as a start.
    pub symbols: Vec<String>,
    /// The same, separated by commas.
    #[arg(long = "symbols", value_name = "SYMBOL", value_delimiter = ',')]
    pub more_symbols: Vec<String>,
    /// Channels; without any, those that the venue's table offers as a start.
    #[arg(long, value_name = "CHANNEL", value_delimiter = ',')]
    pub channels: Vec<String>,
    /// How deep the books of these symbols are: l1, l2, or levels a side.
    #[arg(long, value_name = "l1|l2|N")]
    pub depth: Option<String>,
    /// How.
    #[command(flatten)]
    pub editing: Editing,
}

/// `ssmd symbol`.
#[derive(Debug, Subcommand)]
pub enum SymbolCommand {
    /// The symbols of an environment.
    List {
        /// Only those of this feed.
        #[arg(long)]
        feed: Option<String>,
        /// Which environment.
        #[command(flatten)]
        which: Which,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Give a symbol a name of your own, the same over all venues.
    Map {
        /// The symbol, as the venue writes it.
        symbol: String,
        /// Your own name for it.
        internal: String,
        /// Its feed.
        #[arg(long)]
        feed: Option<String>,
        /// How.
        #[command(flatten)]
        editing: Editing,
    },
    /// Record more symbols.
    #[command(after_help = SYMBOL_ADD)]
    Add(SymbolAdd),
    /// Record symbols no more.
    Remove {
        /// The symbols, as the document writes them.
        #[arg(required = true)]
        symbols: Vec<String>,
        /// Their feed.
        #[arg(long)]
        feed: Option<String>,
        /// How.
        #[command(flatten)]
        editing: Editing,
    },
    /// Check the symbols: each one once, and no two under one name.
    Validate {
        /// Which environment.
        #[command(flatten)]
        which: Which,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// `ssmd symbol add`.
#[derive(Debug, Args)]
pub struct SymbolAdd {
    /// Symbols or patterns, as the venue writes them.
    #[arg(required = true)]
    pub symbols: Vec<String>,
    /// Their feed.
    #[arg(long)]
    pub feed: Option<String>,
    /// Your own name for it, the same over all venues; for one symbol.
    #[arg(long, value_name = "NAME")]
    pub internal: Option<String>,
    /// How deep its book is: l1, l2, or levels a side.
    #[arg(long, value_name = "l1|l2|N")]
    pub depth: Option<String>,
    /// How.
    #[command(flatten)]
    pub editing: Editing,
}
