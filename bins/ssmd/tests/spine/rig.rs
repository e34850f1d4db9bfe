//! Starts the program as a user would, in folders and on ports of its own, and never waits for ever.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program with these arguments.
pub(crate) fn ssmd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssmd"));
    command.args(arguments).stdin(Stdio::null()).env("COLUMNS", "80");
    for name in ["SSMD_LOG", "SSMD_DATA", "SSMD_STORE", "SSMD_CONFIG", "SSMD_ENV"] {
        command.env_remove(name);
    }
    // What somebody chose on this machine is no part of a test.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    ended(&mut ssmd(arguments))
}

/// Runs a command to its end.
pub(crate) fn ended(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let pid = child.id();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    match told.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            signal(pid, "KILL");
            panic!("{command:?} did not end within {PATIENCE:?}");
        }
    }
}

/// Runs it, expects this exit code, and gives standard output.
pub(crate) fn output(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let (out, err) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(code), "ssmd {arguments:?}\n{out}\n{err}");
    out
}

/// Runs it, expects success and one JSON value.
pub(crate) fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&output(0, arguments)).unwrap()
}

/// A program that runs while a test goes on; killed if the test gives up.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub(crate) fn stdout(&mut self) -> std::process::ChildStdout {
        self.0.stdout.take().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Its memory that is resident now, in bytes; `None` where the system does not say.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Waits for the end; standard error is in the panic of a caller who expected another one.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut stderr = self.0.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
            text
        });
        let ended = until("the program ends", || self.0.try_wait().unwrap());
        (ended, reader.join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
}

/// Looks again and again until there is something, or the patience ends.
#[expect(clippy::disallowed_methods, reason = "another process is waited for, which no clock of ours moves")]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: not within {PATIENCE:?}");
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An environment that records Kraken from a port of this machine.
pub(crate) fn environment(folder: &Path, port: u16, symbol: &str, depth: u32) -> String {
    let more = format!("channels: [ticker, trade, book]\n      depth: {depth}");
    environment_of(folder, port, "kraken", symbol, &more)
}

/// What has a feed of a document use the sockets under test.
pub(crate) fn dialer() -> String {
    format!("dialer: {}", ssmd_feeds::conformance::dialer().word())
}

/// An environment that records one symbol of any venue from a port of this machine.
pub(crate) fn environment_of(folder: &Path, port: u16, feed: &str, symbol: &str, more: &str) -> String {
    let path = folder.join("environment.yaml");
    let text = format!(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: test }}\nspec:\n  feeds:\n    {feed}:\n      \
         url: ws://127.0.0.1:{port}\n      symbols: [\"{symbol}\"]\n      {more}\n      {}\n",
        dialer()
    );
    std::fs::write(&path, text).unwrap();
    text_of(&path)
}

/// A path as an argument.
pub(crate) fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A store's address.
pub(crate) fn store_of(data: &Path) -> String {
    format!("file:{}/store", data.display())
}

/// The day of the only data in an archive.
pub(crate) fn day_of(store: &str) -> String {
    let days = json(&["ls", "--store", store, "--json"]);
    days[0]["day"].as_str().unwrap().to_owned()
}

/// The folder of real captured frames; `None`, and a note, in a clone that has none. In CI it must be there.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder =
        std::env::var_os("SSMD_SHARED_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let folder = if folder.is_absolute() { folder } else { root.join(folder) };
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no captured data in {}", folder.display());
    println!("no captured data in {}: name the folder with SSMD_SHARED_DATA", folder.display());
    None
}
