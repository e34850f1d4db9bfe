//! Real object stores on free ports of this machine, which end when the test does, however it ends.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where scripts/install-test-tools puts what no package manager of the machine has.
fn tools() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|cache| cache.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    cache.unwrap_or_else(home).join("ssmd-test-tools")
}

/// A program of the tools; where it is missing that is said, and in CI it is a failure.
fn tool(path: &str) -> Option<PathBuf> {
    let path = tools().join(path);
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{} is missing: run scripts/install-test-tools", path.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
    eprintln!("not run: {missing}");
    None
}

/// A server that speaks S3. It ends when its standard input does: with this value, and with this process.
pub struct Server {
    pub address: SocketAddr,
    pub region: &'static str,
    /// The program that makes buckets and its configuration, where no request without a signature does.
    command: Option<(PathBuf, PathBuf)>,
    stdin: Option<ChildStdin>,
    child: Child,
    _folder: Option<tempfile::TempDir>,
}

/// Serves on a free port, says which, and ends with its standard input. One request at a time: of creates at once in its
/// threads several can win where the machine is busy, which the probe finds.
const MOTO: &str = "
import os, sys, threading
from werkzeug.serving import make_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
app = DomainDispatcherApplication(create_backend_app)
one = threading.Lock()
def serve(environ, start):
    with one:
        return list(app(environ, start))
server = make_server('127.0.0.1', 0, serve, True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.socket.getsockname()[1], flush=True)
sys.stdin.read()
os._exit(0)
";

/// The server of this process that honours conditions, made when it is first asked for.
pub fn moto() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let start = || {
        // The server itself is started by a line of Python, to end with us.
        let python = tool("moto/bin/moto_server")?.with_file_name("python");
        let mut command = Command::new(python);
        // What it would log of each request nobody reads.
        command.args(["-c", MOTO]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("moto said {line:?}"));
        let (address, stdin) = (SocketAddr::from(([127, 0, 0, 1], port)), child.stdin.take().unwrap());
        Some(Server { address, region: "us-east-1", command: None, stdin: Some(stdin), child, _folder: None })
    };
    SERVER.get_or_init(start).as_ref()
}

/// The keys that every server here takes.
pub const ACCESS_KEY_ID: &str = "GK0123456789abcdef01234567";
pub const SECRET_ACCESS_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The server of this process that ignores conditions, made when it is first asked for.
pub fn garage() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(own_garage).as_ref()
}

/// Such a server of a test's own, which may be stopped.
pub fn own_garage() -> Option<Server> {
    tool("bin/garage").map(|program| start_garage(&program))
}

/// Runs until its standard input ends.
fn spawn_garage(program: &Path, config: &Path) -> (Child, ChildStdin) {
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" -c \"$1\" server & server=$!; cat >/dev/null; kill $server; wait"]);
    command.arg(program).arg(config).env("RUST_LOG", "error");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

fn start_garage(program: &Path) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("garage.toml");
    let here = folder.path().display();
    // Ports that were free a moment ago: Garage wants to know its own before it starts.
    let ports: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let [s3, rpc] = [&ports[0], &ports[1]].map(|listener| listener.local_addr().unwrap());
    drop(ports);
    let secret = "0".repeat(64);
    let text = format!(
        "metadata_dir = \"{here}/meta\"\ndata_dir = \"{here}/data\"\ndb_engine = \"sqlite\"\n\
         replication_factor = 1\nrpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\
         rpc_secret = \"{secret}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{s3}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let (child, stdin) = spawn_garage(program, &config);
    let garage = |arguments: &[&str]| {
        let ran = Command::new(program).arg("-c").arg(&config).args(arguments).output().unwrap();
        ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let node = until("Garage answers", || garage(&["node", "id", "-q"]));
    let node = node.trim().split('@').next().unwrap_or_default().to_owned();
    for arguments in [
        &["layout", "assign", "-z", "dc1", "-c", "1G", &node][..],
        &["layout", "apply", "--version", "1"],
        &["key", "import", "--yes", "-n", "test", ACCESS_KEY_ID, SECRET_ACCESS_KEY],
    ] {
        until("Garage is set up", || garage(arguments));
    }
    let command = Some((program.to_owned(), config));
    Server { address: s3, region: "garage", command, stdin: Some(stdin), child, _folder: Some(folder) }
}

/// Buckets made by this process.
static BUCKETS: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// A new bucket, as documents name it.
    pub fn bucket(&self) -> String {
        let name = format!("ssmd-test-{}-{}", std::process::id(), BUCKETS.fetch_add(1, Ordering::Relaxed));
        self.named_bucket(&name);
        name
    }

    /// A new bucket of this name.
    pub fn named_bucket(&self, name: &str) {
        if let Some((program, config)) = &self.command {
            let garage = |arguments: &[&str]| {
                let ran = Command::new(program).arg("-c").arg(config).args(arguments).output().unwrap();
                ran.status.success().then_some(())
            };
            until("a bucket is made", || garage(&["bucket", "create", name]));
            let allow = ["bucket", "allow", "--read", "--write", "--owner", name, "--key", ACCESS_KEY_ID];
            until("a bucket is let to be used", || garage(&allow));
            return;
        }
        let mut stream = TcpStream::connect(self.address).unwrap();
        let host = self.address;
        write!(
            stream,
            "PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Ends Garage. What it has stays on its disk.
    pub fn stop(&mut self) {
        self.stdin = None;
        self.child.wait().unwrap();
    }

    /// Starts Garage again where it was, after [`Server::stop`].
    pub fn restart(&mut self) {
        let (program, config) = self.command.as_ref().unwrap();
        let (child, stdin) = spawn_garage(program, config);
        (self.child, self.stdin) = (child, Some(stdin));
    }

    /// How documents and commands name a place in a bucket, at this address or that of what stands before it.
    pub fn store(&self, bucket: &str, at: SocketAddr) -> String {
        format!("s3://{bucket}?endpoint=http://{at}&region={}", self.region)
    }
}

/// Looks again and again until there is something.
#[expect(clippy::disallowed_methods, reason = "another process is waited for, which no clock of ours moves")]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    while start.elapsed().as_secs() < 120 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{what}: not within two minutes");
}
