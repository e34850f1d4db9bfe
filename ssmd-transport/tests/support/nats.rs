//! A real nats-server of a test's own: on a free port of loopback, in a temporary folder, gone at the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server that runs. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    port: u16,
    program: PathBuf,
    dir: tempfile::TempDir,
}

/// Where `scripts/install-test-tools` puts the server, else what the search path has.
fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("ssmd-test-tools/nats-server/nats-server"));
    let found = installed.filter(|path| path.is_file());
    let runs = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok();
    found.or_else(|| Some(PathBuf::from("nats-server")).filter(runs))
}

impl Server {
    /// Starts one with JetStream and these further lines of configuration; `None`, said aloud, where there is no
    /// nats-server, which in CI is a failure.
    pub(crate) fn start(configuration: &str) -> Option<Self> {
        let Some(program) = program() else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "run scripts/install-test-tools");
            println!("skipped: there is no nats-server; scripts/install-test-tools gets one");
            return None;
        };
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = dir.path().join("store");
        let text = format!("jetstream {{ store_dir: {store:?} }}\n{configuration}\n");
        std::fs::write(dir.path().join("nats.conf"), text).unwrap();
        let (child, port) = spawn(&program, dir.path(), -1);
        Some(Self { child, port, program, dir })
    }

    /// The folder with its configuration and its store.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it in order: it writes down what it believes to have.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    /// Starts it again where it was, after [`Server::kill`] or [`Server::stop`].
    pub(crate) fn restart(&mut self) {
        (self.child, self.port) = spawn(&self.program, self.dir.path(), i32::from(self.port));
    }

    /// Sends it a signal: `STOP`, `CONT`, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the server and waits until it says that it is ready; gives its port. -1 is a free one.
fn spawn(program: &Path, dir: &Path, port: i32) -> (Child, u16) {
    let mut command = Command::new(program);
    command.arg("-c").arg(dir.join("nats.conf")).args(["-a", "127.0.0.1", "-p", &port.to_string()]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut found, mut said) = (None, String::new());
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some((_, address)) = line.split_once("Listening for client connections on ") {
            found = address.rsplit_once(':').and_then(|(_, port)| port.trim().parse().ok());
        }
        if line.contains("Server is ready") {
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    let port = found.unwrap_or_else(|| panic!("nats-server did not start:\n{said}"));
    // A full pipe would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (child, port)
}
