//! How long nothing is recorded when a recorder is killed and started again.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{
    Clock, Entries, EntryKind, Error, ErrorKind, FrameKind, Journal, Result, Start, Tasks, Timestamp,
};
use ssmd_transport::log::LogReader;

use super::figure::{Figure, quantile};
use super::ground::Ground;
use super::recorder::{self, CHANNELS, FEED, SYMBOLS};

/// Frames a second of the simulated market.
const RATE: f64 = 5000.0;
/// How long the first frame may take before the bench gives up.
const FRAME_TIME_MAX: Duration = Duration::from_secs(30);
/// How long it records between two kills.
const BETWEEN: Duration = Duration::from_millis(500);
/// Entries read at once.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// One figure.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let kills = if ground.soak() { 200 } else { 25 };
    let clock = ground.clock();
    let mut tasks = Tasks::new();
    let document = recorder::simulate(SYMBOLS, CHANNELS, Some(RATE), &mut tasks).await?;
    let folder = ground.fresh("restart")?;
    let config = write(&folder, &document)?;
    let data = folder.join("data");
    let mut child = up(&config, &data)?;
    let log = log(ground, &data).await?;
    let mut entries = log.read(Start::Newest).await?;
    let (mut session, _) = first_frame(ground, entries.as_mut(), 0).await?;
    let mut took = Vec::with_capacity(kills);
    for _ in 0..kills {
        clock.sleep(BETWEEN).await;
        let killed = clock.now();
        child.kill()?;
        child = up(&config, &data)?;
        let (again, received) = first_frame(ground, entries.as_mut(), session).await?;
        session = again;
        took.push(received.since(killed).as_secs_f64());
    }
    drop(child);
    tasks.stop(recorder::STOP_TIME_MAX, clock).await?;
    Ok(vec![
        Figure::most("restart_p99", quantile(&mut took, 0.99), 1.0, "s")
            .beside("p50", quantile(&mut took, 0.5))
            .beside("kills", kills as f64),
    ])
}

/// Writes an environment document.
///
/// # Errors
/// The operating system's.
pub(super) fn write(folder: &Path, document: &str) -> Result<PathBuf> {
    let path = folder.join("environment.yaml");
    std::fs::write(&path, document).map_err(|cause| Error::io("write environment", cause))?;
    Ok(path)
}

/// A program of ours that runs beside; killed when it is dropped.
pub(super) struct Program(Child);

impl Program {
    /// Starts it, silent.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let named =
            |cause| Error::io("start program", cause).with("program", command.get_program().display());
        child.map(Self).map_err(named)
    }

    /// The number by which the system knows it.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn kill(&mut self) -> Result<()> {
        let failed = |cause| Error::io("kill program", cause);
        self.0.kill().map_err(failed)?;
        self.0.wait().map(drop).map_err(failed)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

fn up(config: &Path, data: &Path) -> Result<Program> {
    let program = std::env::current_exe().map_err(|cause| Error::io("find this program", cause))?;
    Program::start(Command::new(program).arg("up").arg("-c").arg(config).arg("--data").arg(data))
}

/// The program of that name that lies next to this one, with a document and a data folder.
///
/// # Errors
/// `NotFound` if there is none.
pub(super) fn beside(name: &str, config: &Path, data: &Path) -> Result<Program> {
    let path = std::env::current_exe().map_err(|cause| Error::io("find this program", cause))?;
    let path = path.with_file_name(name);
    if !path.is_file() {
        return Err(Error::new(ErrorKind::NotFound, "find program")
            .with("path", path.display())
            .hint("build all programs first: cargo build --release --workspace"));
    }
    let mut command = Command::new(path);
    command.arg("-c").arg(config).arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    Program::start(&mut command)
}

/// The log that a recorder in this folder writes, as soon as it is there.
///
/// # Errors
/// `Timeout` if it does not come.
pub(super) async fn log(ground: &Ground, data: &Path) -> Result<LogReader> {
    let folder = data.join("log").join(FEED);
    let open = || LogReader::open(&folder, ground.clock());
    ground.until("start recorder", FRAME_TIME_MAX, || open().is_ok()).await?;
    open()
}

/// The first session after `session` that received data, and when.
async fn first_frame(ground: &Ground, entries: &mut dyn Entries, session: u64) -> Result<(u64, Timestamp)> {
    let clock: Arc<dyn Clock> = ground.clock();
    let mut late = clock.sleep(FRAME_TIME_MAX);
    loop {
        let batch = tokio::select! {
            biased;
            batch = entries.next(ENTRIES) => batch?,
            () = &mut late => return Err(Error::new(ErrorKind::Timeout, "wait for first frame")),
        };
        let data = |kind| matches!(kind, EntryKind::Frame(FrameKind::Data));
        let first = batch.iter().find(|entry| entry.session.0 > session && data(entry.kind));
        if let Some(first) = first {
            return Ok((first.session.0, first.at));
        }
    }
}
