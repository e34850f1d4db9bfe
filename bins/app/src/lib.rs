//! What every ssmd binary shares: flags, environment, logs, health, control socket, signals, exit codes.
//!
//! The binaries call [`ssmd`], [`connector`], [`archiver`] and [`cache`] and do nothing else.

use clap::Parser;
use ssmd_core::Result;

pub mod cli;
pub mod exit;

mod archiver;
mod backends;
mod board;
mod change;
mod commands;
mod connector;
mod control;
mod daemon;
pub mod deploy;
mod document;
mod environment;
mod folder;
mod http;
mod logs;
mod online;
mod output;
mod progress;
mod projecting;
mod reload;
mod shared;
mod simulated;
pub mod status;
mod telling;
mod templates;
mod view;

pub use change::{Action, Change};
pub use control::Request;
use daemon::{Plan, Role};
pub use exit::Exit;
use output::Outcome;
pub use reload::{Answer, VersionStatus};

/// The program `ssmd`.
pub fn ssmd() -> Exit {
    let cli = cli::Cli::parse();
    run(commands::run(cli))
}

/// The program `ssmd-connector`.
pub fn connector() -> Exit {
    let cli = cli::Connector::parse();
    logs::start(cli.log_json, false);
    run(async move {
        let environment = environment::load(cli.daemon.config.as_deref())?;
        let plan = Plan {
            role: Role::Connector,
            environment,
            flags: cli.daemon,
            until_idle: cli.until.until_idle,
            once: false,
            simulate: None,
        };
        commands::up::record(plan).await
    })
}

/// The program `ssmd-archiver`.
pub fn archiver() -> Exit {
    let cli = cli::Archiver::parse();
    logs::start(cli.log_json, false);
    run(async move {
        let environment = environment::load(cli.daemon.config.as_deref())?;
        let plan = Plan {
            role: Role::Archiver,
            environment,
            flags: cli.daemon,
            until_idle: None,
            once: cli.once,
            simulate: None,
        };
        commands::up::record(plan).await
    })
}

/// The program `ssmd-cache`.
pub fn cache() -> Exit {
    let cli = cli::Cache::parse();
    logs::start(cli.log_json, false);
    run(async move {
        let environment = environment::load(cli.daemon.config.as_deref())?;
        let plan = Plan {
            role: Role::Cache,
            environment,
            flags: cli.daemon,
            until_idle: None,
            once: false,
            simulate: None,
        };
        commands::up::record(plan).await
    })
}

/// Runs a command to its end, prints what went wrong, and gives the exit code.
fn run(command: impl Future<Output = Outcome>) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return output::Stopped::from(error).exit(),
    };
    let done = runtime.block_on(command);
    // Whoever was told twice to stop does not wait for a disk that hangs.
    runtime.shutdown_background();
    match done {
        Ok(exit) => exit,
        Err(stopped) => stopped.exit(),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| ssmd_core::Error::io("start runtime", cause))
}
