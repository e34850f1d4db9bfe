//! What every row works with: a folder of its own, the programs, randomness from a seed, and patience with an end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use ssmd_core::{Clock, Error, Result, Timestamp};
use tempfile::TempDir;

use crate::broken;
use crate::process::{Process, run_within};

/// Longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often something outside is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a row found.
pub(crate) enum Outcome {
    /// Its figures, and whether they are within the target.
    Ran { value: String, ok: bool },
    /// Why it could not run here.
    NotRun(String),
}

/// What a row works with.
pub(crate) struct Rig {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: StdRng,
    pub(crate) rounds: u32,
    folder: TempDir,
    programs: PathBuf,
}

impl Rig {
    /// A folder for a row, and the programs beside this one.
    ///
    /// # Errors
    /// If the folder cannot be made or the programs are not there.
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: u64, rounds: u32) -> Result<Self> {
        let failed = |cause| Error::io("start rig", cause);
        let folder = tempfile::Builder::new().prefix("ssmd-chaos-").tempdir().map_err(failed)?;
        let own = std::env::current_exe().map_err(failed)?;
        let programs = own.parent().unwrap_or(Path::new(".")).to_owned();
        if !programs.join("ssmd").is_file() {
            return Err(broken("start rig", "the programs are not beside this one")
                .with("folder", programs.display())
                .hint("cargo build --workspace"));
        }
        Ok(Self { clock, random: StdRng::seed_from_u64(seed), rounds, folder, programs })
    }

    /// A path in the row's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Leaves the folder where it is, for people to look at.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// A program of ours with these arguments.
    pub(crate) fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.args(arguments).env_remove("SSMD_DATA").env_remove("SSMD_CONFIG").env("SSMD_LOG", "warn");
        command
    }

    /// Starts a program; what it says goes to a file in the row's folder.
    pub(crate) fn start(&self, name: &str, arguments: &[&str]) -> Result<Process> {
        Process::start(&mut self.program(name, arguments), &self.path("said.txt"))
    }

    /// Starts the archiver on a data folder.
    pub(crate) fn archiver(&self, config: &str, data: &Path, more: &[&str]) -> Result<Process> {
        let data = data.to_string_lossy();
        let common = ["-c", config, "--data", &data, "--listen", "127.0.0.1:0"];
        self.start("ssmd-archiver", &[&common[..], more].concat())
    }

    /// Archives everything that is durable.
    pub(crate) async fn archive_rest(&self, config: &str, data: &Path) -> Result<()> {
        let mut archiver = self.archiver(config, data, &["--once"])?;
        archiver.ends_well(self).await
    }

    /// Starts the connector on a data folder.
    pub(crate) fn connector(&self, config: &str, data: &Path) -> Result<Process> {
        let data = data.to_string_lossy();
        self.start("ssmd-connector", &["-c", config, "--data", &data, "--listen", "127.0.0.1:0"])
    }

    /// Runs `ssmd` to its end: exit code and standard output.
    pub(crate) async fn ssmd(&self, arguments: &[&str]) -> Result<(Option<i32>, Vec<u8>)> {
        run_within(self, self.program("ssmd", arguments)).await
    }

    /// What `ssmd verify` says of a store.
    pub(crate) async fn verify(&self, store: &Path) -> Result<Value> {
        let store = format!("file:{}", store.display());
        let (code, out) = self.ssmd(&["verify", "--store", &store, "--json"]).await?;
        serde_json::from_slice(&out)
            .map_err(|cause| broken("verify", format!("no report, exit code {code:?}")).because(cause))
    }

    /// Writes an environment that records the simulator behind this port, and gives its path.
    pub(crate) fn environment(&self, name: &str, port: u16, store: &Path) -> Result<String> {
        let path = self.path(name);
        let text = format!(
            "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: chaos }}\nspec:\n  feeds:\n    kraken:\n      \
             url: ws://127.0.0.1:{port}/v2\n      channels: [ticker, trade, book]\n      \
             symbols: [\"BTC/USD\", \"ETH/USD\"]\n      depth: 10\n  store: file:{}\n",
            store.display()
        );
        std::fs::write(&path, text).map_err(|cause| Error::io("write environment", cause))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// A random duration between these numbers of milliseconds.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.random.random_range(least * 1000..=most * 1000))
    }

    /// Lets that much time pass.
    pub(crate) async fn pause(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks again and again until there is something.
    ///
    /// # Errors
    /// When the patience has ended; what looking says.
    pub(crate) async fn until<T>(
        &self,
        what: &'static str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = self.clock.elapsed() + PATIENCE;
        while self.clock.elapsed() < deadline {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.pause(LOOK_EVERY).await;
        }
        Err(broken("wait", format!("{what}: not within {PATIENCE:?}")))
    }
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> Result<u16> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(bound.map_err(|cause| Error::io("find port", cause))?.port())
}

/// A number of a report.
pub(crate) fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or(u64::MAX)
}

/// The p99 and the highest of some durations, in milliseconds.
pub(crate) fn p99_and_max(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |rank: usize| times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let last = times.len().saturating_sub(1);
    (at((times.len() * 99).div_ceil(100).saturating_sub(1).min(last)), at(last))
}
