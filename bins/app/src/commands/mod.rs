//! The commands of `ssmd`, one file each.

mod archive;
mod bench;
mod books;
mod cat;
mod check;
mod declared;
pub(crate) mod env;
mod explain;
mod feed;
mod gaps;
mod grep;
mod import;
mod init;
mod journal;
mod ls;
mod replay;
mod sim;
mod status;
mod symbol;
mod tail;
pub(crate) mod up;
mod venue;
mod verify;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::logs;
use crate::output::{Out, Outcome};

/// Runs what was typed.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let json = cli.log_json;
    if !matches!(cli.command, Command::Up(_)) {
        logs::start(json, !matches!(cli.command, Command::Sim(_)));
    }
    match cli.command {
        Command::Up(args) => up::run(args, json).await,
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args).await,
        Command::Explain(args) => explain::run(&args),
        Command::Env(command) => env::run(&command).await,
        Command::Feed(command) => feed::run(&command).await,
        Command::Symbol(command) => symbol::run(&command),
        Command::Sim(args) => sim::run(args).await,
        Command::Tail(args) => tail::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Journal(command) => journal::run(&command).await,
        Command::Ls(args) => ls::run(&args).await,
        Command::Cat(args) => cat::run(&args).await,
        Command::Grep(args) => grep::run(&args).await,
        Command::Gaps(args) => gaps::run(&args).await,
        Command::Books(args) => books::run(&args).await,
        Command::Verify(args) => verify::run(&args).await,
        Command::Replay(args) => replay::run(&args).await,
        Command::Import(args) => import::run(&args).await,
        Command::Bench(args) => bench::run(&args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ssmd", &mut script);
            let mut out = Out::new();
            out.bytes(&script)?;
            out.flush()?;
            Ok(Exit::Ok)
        }
    }
}
