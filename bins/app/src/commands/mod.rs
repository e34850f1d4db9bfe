//! The commands of `ssmd`, one file each.

mod archive;
mod bench;
mod books;
mod cat;
mod check;
mod declared;
mod explain;
mod feed;
mod gaps;
mod grep;
mod import;
mod ls;
mod replay;
mod sim;
mod status;
mod tail;
pub(crate) mod up;
mod verify;

use clap::CommandFactory;

use crate::cli::{Cli, Command, EnvCommand, FeedCommand};
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
        Command::Check(args) | Command::Env(EnvCommand::Validate(args)) => check::run(&args).await,
        Command::Env(EnvCommand::Apply(args)) => declared::apply(&args).await,
        Command::Env(EnvCommand::Status(args)) => declared::status(&args).await,
        Command::Env(EnvCommand::History(args)) => declared::history(&args).await,
        Command::Env(EnvCommand::Schema) => explain::schema(),
        Command::Explain(args) => explain::run(&args),
        Command::Feed(FeedCommand::List { json }) => feed::list(json),
        Command::Feed(FeedCommand::Show(args)) => feed::show(&args).await,
        Command::Sim(args) => sim::run(args).await,
        Command::Tail(args) => tail::run(&args).await,
        Command::Status(args) => status::run(&args).await,
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
