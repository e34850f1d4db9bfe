//! What every ssmd binary shares: flags, environment, logs, health, control socket, signals, exit codes.
//!
//! The binaries call [`ssmd`], [`connector`], [`archiver`] and [`cache`] and do nothing else.

use clap::{Command, Parser};
use ssmd_core::Result;

pub mod cli;
pub mod exit;

mod archiver;
mod backends;
mod board;
mod by_feed;
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
    let cli = parse::<cli::Cli>();
    run(commands::run(cli))
}

/// The program `ssmd-connector`.
pub fn connector() -> Exit {
    let cli = parse::<cli::Connector>();
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
    let cli = parse::<cli::Archiver>();
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
    let cli = parse::<cli::Cache>();
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

/// Reads the command line.
fn parse<C: Parser>() -> C {
    let matches = without_empty(C::command()).get_matches();
    C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The same command that takes an empty variable for one that is not set, as shells have it.
fn without_empty(command: Command) -> Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env().is_some_and(is_empty) {
            true => arg.env(None::<&str>),
            false => arg,
        })
        .mut_subcommands(without_empty)
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
