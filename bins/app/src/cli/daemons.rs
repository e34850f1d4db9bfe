//! The command lines of the daemons that run one part of the path each.

use clap::Parser;

use super::{Daemon, Until};

/// `ssmd-connector`: records feeds into local logs. `ssmd-archiver` makes an archive of them.
#[derive(Debug, Parser)]
#[command(name = "ssmd-connector", version)]
pub struct Connector {
    /// What every daemon takes.
    #[command(flatten)]
    pub daemon: Daemon,
    /// When to stop by itself.
    #[command(flatten)]
    pub until: Until,
    /// Write logs as JSON lines.
    #[arg(long)]
    pub log_json: bool,
}

/// `ssmd-archiver`: makes an archive of the local logs that `ssmd-connector` writes, and tells them what they may
/// forget.
#[derive(Debug, Parser)]
#[command(name = "ssmd-archiver", version)]
pub struct Archiver {
    /// What every daemon takes.
    #[command(flatten)]
    pub daemon: Daemon,
    /// Archive what is durable now, and end.
    #[arg(long, conflicts_with = "run_for")]
    pub once: bool,
    /// Write logs as JSON lines.
    #[arg(long)]
    pub log_json: bool,
}

const CACHE: &str = "\
It decodes the log in its data folder; without one the shared journal
(journal: { nats: … }), from the oldest entry on; without that the records
that a recorder tells (transport: { nats: … } or { mqtt: … }).

A recorder whose document names a cache keeps it itself. Both together harm
nothing: an older value never replaces a newer one.

Examples:
  ssmd-cache -c prod --data /var/lib/ssmd-cache
  ssmd-cache -c prod --listen 127.0.0.1:9603 --log-json

Exit codes: 0 fine, 1 failed, 2 usage, 69 unavailable, 75 busy,
78 bad document.";

/// `ssmd-cache`: keeps the latest ticker, quote, trade and book of each symbol in the cache that the document names:
/// Redis or NATS KV. What the cache loses is written anew within seconds.
#[derive(Debug, Parser)]
#[command(name = "ssmd-cache", version, after_help = CACHE)]
pub struct Cache {
    /// What every daemon takes.
    #[command(flatten)]
    pub daemon: Daemon,
    /// Write logs as JSON lines.
    #[arg(long)]
    pub log_json: bool,
}
