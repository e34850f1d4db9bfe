//! `ssmd up`, and what every recording command does around a run.

use std::io::IsTerminal;

use crate::cli::Up;
use crate::daemon::{self, Plan, Role};
use crate::exit::Exit;
use crate::folder::Folder;
use crate::output::{Out, Outcome};
use crate::simulated::Simulate;
use crate::{environment, logs};

/// Records everything that the environment declares.
pub(crate) async fn run(args: Up, log_json: bool) -> Outcome {
    let environment = environment::load(args.daemon.config.as_deref())?;
    if std::io::stdout().is_terminal() && !args.daemon.json {
        let folder = Folder::create(&args.daemon.data)?;
        logs::start_in_file(log_json, &folder.path().join("up.log"))?;
    } else {
        logs::start(log_json, false);
    }
    record(Plan {
        role: Role::Up,
        environment,
        flags: args.daemon,
        until_idle: args.until.until_idle,
        once: false,
        simulate: args.sim.then_some(Simulate {
            rate: args.sim_rate,
            seed: args.sim_seed,
            wrong: args.wrong,
        }),
    })
    .await
}

/// Runs a daemon and prints what it did.
pub(crate) async fn record(plan: Plan) -> Outcome {
    let (json, archives) = (plan.flags.json, matches!(plan.role, Role::Up | Role::Archiver));
    let status = daemon::run(plan).await?;
    let mut out = Out::new();
    if json {
        out.json(&status)?;
    } else {
        out.line(format_args!("{:.1} s", status.seconds))?;
        for feed in &status.feeds {
            for line in feed.lines(&status.role) {
                out.line(format_args!("{}: {line}", feed.feed))?;
            }
        }
        if archives {
            out.line(format_args!("prove it: ssmd verify --store {}", status.store))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
