//! A real server for a test: started on a free port of loopback, ready when it says so, ended with the test.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long a server may take to be ready, on a crowded machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often another port is tried, if somebody took the one that was free.
const TRIES: usize = 20;

/// Whether a program was looked for and is not here.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Whether a program was looked for and is not here: what then ran instead says nothing about it.
#[allow(dead_code, reason = "each test uses its part of it")]
pub(crate) fn is_missing() -> bool {
    MISSING.load(Ordering::SeqCst)
}

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
}

impl Server {
    /// Starts what `command` makes for a port, and waits for the line that holds `ready`. `None` if the program is
    /// not here; in CI that is a failure.
    pub(crate) fn start(program: &str, ready: &str, command: impl Fn(u16) -> Command) -> Option<Self> {
        for _ in 0..TRIES {
            let port = free_port();
            match Self::start_on(program, ready, port, &command) {
                Started::Ready(server) => return Some(server),
                Started::Missing => return None,
                Started::Ended => {}
            }
        }
        panic!("{program} did not start in {TRIES} tries");
    }

    /// Starts it again on the port that it had.
    pub(crate) fn start_again(
        program: &str,
        ready: &str,
        port: u16,
        command: impl Fn(u16) -> Command,
    ) -> Self {
        match Self::start_on(program, ready, port, &command) {
            Started::Ready(server) => server,
            _ => panic!("{program} did not start again on port {port}"),
        }
    }

    fn start_on(program: &str, ready: &str, port: u16, command: &impl Fn(u16) -> Command) -> Started {
        let mut command = command(port);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "{program} is not here: scripts/install-test-tools"
                );
                MISSING.store(true, Ordering::SeqCst);
                println!("NOT RUN: {program} is not here: scripts/install-test-tools");
                return Started::Missing;
            }
            Err(error) => panic!("{program}: {error}"),
        };
        let (tell, told) = channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let (tell, ready) = (tell.clone(), ready.to_owned());
            // Reads to the end, so that the server never waits for somebody to read what it says.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if line.contains(&ready) {
                        let _ = tell.send(());
                    }
                }
            });
        }
        drop(tell);
        let server = Self { child, port };
        match told.recv_timeout(READY_WITHIN) {
            Ok(()) => Started::Ready(server),
            Err(RecvTimeoutError::Disconnected) => Started::Ended,
            Err(RecvTimeoutError::Timeout) => panic!("{program} is not ready after {READY_WITHIN:?}"),
        }
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

enum Started {
    Ready(Server),
    Missing,
    Ended,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
