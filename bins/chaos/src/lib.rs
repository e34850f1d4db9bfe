#![doc = include_str!("../README.md")]

mod disk;
mod process;
mod record;
mod rig;
mod rows;
mod tail;
mod tape;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use ssmd_core::{Clock, Error, ErrorKind, Result, SystemClock};

use rig::{Outcome, Rig};
use rows::{ROWS, Row};

/// Breaks the real programs, their disks, their files and their clocks, and prints what was lost: a line for each
/// row, `id value target ok|FAIL`.
#[derive(Debug, Parser)]
#[command(name = "ssmd-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run rows; all of them if none is named.
    Run {
        /// Rows, as `list` names them.
        rows: Vec<String>,
        /// Everything random follows from it, but for what the operating system decides.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How often each row breaks something, instead of the row's own short number.
        #[arg(long)]
        rounds: Option<u32>,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// What rows there are.
    List,
}

/// The program `ssmd-chaos`: exit code 0 if every row held, 1 if one did not, 2 for a row that does not exist.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List => {
            for row in ROWS {
                println!("{}  {} (rounds: {}; target: {})", row.id, row.what, row.rounds, row.target);
            }
            ExitCode::SUCCESS
        }
        Command::Run { rows, seed, rounds, json } => {
            let unknown = rows.iter().find(|id| !ROWS.iter().any(|row| row.id.eq_ignore_ascii_case(id)));
            if let Some(id) = unknown {
                eprintln!("there is no row {id}; `ssmd-chaos list` names them");
                return ExitCode::from(2);
            }
            let wanted =
                |row: &&Row| rows.is_empty() || rows.iter().any(|id| row.id.eq_ignore_ascii_case(id));
            let mut held = true;
            for row in ROWS.iter().filter(wanted) {
                held &= run(row, seed, rounds.unwrap_or(row.rounds), json);
            }
            if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

/// Runs a row, prints its line, and says whether it held. A row that cannot run here holds, and says why it did not.
fn run(row: &Row, seed: u64, rounds: u32, json: bool) -> bool {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let started = clock.elapsed();
    let outcome = runtime().and_then(|runtime| {
        let mut rig = Rig::new(Arc::clone(&clock), seed, rounds)?;
        let outcome = runtime.block_on((row.run)(&mut rig));
        if matches!(outcome, Ok(Outcome::Ran { ok: true, .. } | Outcome::NotRun(_))) {
            return outcome;
        }
        eprintln!("what {} left is in {}", row.id, rig.keep().display());
        outcome
    });
    let (value, verdict) = match outcome {
        Ok(Outcome::Ran { value, ok }) => (value, if ok { "ok" } else { "FAIL" }),
        Ok(Outcome::NotRun(why)) => (format!("not run: {why}"), "not run"),
        Err(error) => (error.report(), "FAIL"),
    };
    let seconds = (clock.elapsed() - started).as_secs_f64();
    if json {
        let line = serde_json::json!({
            "id": row.id, "value": value, "target": row.target, "verdict": verdict, "seed": seed,
            "rounds": rounds, "seconds": seconds,
        });
        println!("{line}");
    } else {
        println!("{}  {value}  [target: {}]  {verdict}  (seed {seed}, {seconds:.1} s)", row.id, row.target);
    }
    verdict != "FAIL"
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|cause| Error::io("start runtime", cause))
}

/// Something of the rig itself did not work.
fn broken(operation: &'static str, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Io, operation).detail(why.into())
}
