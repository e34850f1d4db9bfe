//! `ssmd bench`: every figure that this program promises, beside its limit and in the same run.
//!
//! The loads are in modules of their own, one a row of the table. They run the real pieces: simulator, dialer,
//! feeds, capture, log, decoder, archiver, replay, and the programs themselves.

mod archive;
mod blast;
mod decode;
mod dialers;
mod durable;
mod environment;
mod figure;
mod ground;
mod market;
mod memory;
mod nats;
mod outage;
mod receive;
mod recorder;
mod restart;
mod s3;
mod servers;
mod typed;
mod universe;

use ssmd_core::{BoxFuture, Error, ErrorKind, Result};

use crate::cli;
use crate::exit::Exit;
use crate::output::{Out, Outcome};
use figure::{Figure, Report};
use ground::Ground;

/// A load, and the figures that it gives.
type Run = for<'a> fn(&'a Ground) -> BoxFuture<'a, Result<Vec<Figure>>>;

/// Every row, in the order in which they run.
const ROWS: [(&str, Run); 14] = [
    ("decode", |ground| Box::pin(decode::run(ground))),
    ("environment", |ground| Box::pin(environment::run(ground))),
    ("receive", |ground| Box::pin(receive::run(ground))),
    ("dialers", |ground| Box::pin(dialers::run(ground))),
    ("durable", |ground| Box::pin(durable::run(ground))),
    ("archive", |ground| Box::pin(archive::run(ground))),
    ("restart", |ground| Box::pin(restart::run(ground))),
    ("memory", |ground| Box::pin(memory::run(ground))),
    ("universe", |ground| Box::pin(universe::run(ground))),
    ("nats", |ground| Box::pin(nats::run(ground))),
    ("mqtt", |ground| Box::pin(servers::mqtt(ground))),
    ("redis", |ground| Box::pin(servers::redis(ground))),
    ("s3", |ground| Box::pin(s3::run(ground))),
    ("outage", |ground| Box::pin(outage::run(ground))),
];

/// The rows of backends that are servers, as `--help` names them.
const BACKENDS: [&str; 5] = ["nats", "mqtt", "redis", "s3", "outage"];

/// Runs the rows that were asked for, and prints each as soon as it is done.
pub(super) async fn run(args: &cli::Bench) -> Outcome {
    if cfg!(debug_assertions) {
        let error = Error::new(ErrorKind::Unsupported, "bench").detail("this is a debug build");
        return Err(error.hint("cargo run --release -- bench").into());
    }
    let rows = match args {
        cli::Bench { dialers: true, .. } => selected(&["dialers".to_owned()])?,
        cli::Bench { backends: true, .. } => selected(&BACKENDS.map(String::from))?,
        _ => selected(&args.only)?,
    };
    let ground = Ground::take(args.data.as_deref(), args.soak)?;
    let mut report = Report::new(&ground);
    let mut out = Out::new();
    if !args.json {
        out.line(report.head())?;
        out.flush()?;
    }
    for (name, run) in rows {
        tracing::info!(row = name, "measuring");
        let figures = run(&ground).await?;
        if !args.json {
            figures.iter().try_for_each(|figure| out.line(figure))?;
            out.flush()?;
        }
        report.figures.extend(figures);
    }
    if args.json {
        out.json(&report)?;
        out.flush()?;
    }
    let missed = report.figures.iter().any(|figure| !figure.ok);
    Ok(if args.strict && missed { Exit::Found } else { Exit::Ok })
}

fn selected(only: &[String]) -> Result<Vec<(&'static str, Run)>> {
    let known = || ROWS.iter().map(|(name, _)| *name);
    if let Some(unknown) = only.iter().find(|name| !known().any(|known| known == name.as_str())) {
        let names: Vec<_> = known().collect();
        return Err(Error::new(ErrorKind::Invalid, "bench")
            .with("only", unknown)
            .hint(format!("the rows are: {}", names.join(", "))));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    Ok(ROWS.into_iter().filter(|(name, _)| wanted(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args as _;

    #[test]
    fn the_help_names_every_row_and_the_groups() {
        let help = cli::Bench::augment_args(clap::Command::new("bench")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let rows: Vec<_> = ROWS.iter().map(|(name, _)| *name).collect();
        assert!(help.contains(&format!("Only these rows: {} ", rows.join(", "))), "{help}");
        assert!(help.contains(&format!("the same as `--only {}`", BACKENDS.join(","))), "{help}");
        assert_eq!(selected(&BACKENDS.map(String::from)).unwrap().len(), BACKENDS.len());
    }
}
