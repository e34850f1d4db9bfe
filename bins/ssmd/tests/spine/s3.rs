//! An archive in a bucket, of a real server: recorded into, killed, gone for a while, and read by every command.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::tempdir;

use crate::rig::{Running, dialer, ended, run, ssmd, text_of, until};

#[path = "../../../../ssmd-storage/tests/servers/mod.rs"]
mod servers;

/// The program with keys, as somebody has them who uses S3.
fn keyed(arguments: &[&str]) -> Command {
    let mut command = ssmd(arguments);
    command.env("AWS_ACCESS_KEY_ID", servers::ACCESS_KEY_ID);
    command.env("AWS_SECRET_ACCESS_KEY", servers::SECRET_ACCESS_KEY);
    command.env("SSMD_LOG", "error");
    command
}

fn output(arguments: &[&str]) -> String {
    let output = ended(&mut keyed(arguments));
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "ssmd {arguments:?}\n{out}\n{err}");
    out
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&output(arguments)).unwrap()
}

/// A document of one symbol of Kraken, which is simulated, with `more` under `spec`.
fn document(folder: &Path, more: &str) -> String {
    let path = folder.join("environment.yaml");
    let text = format!(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: test }}\nspec:\n  feeds:\n    kraken:\n      \
         symbols: [BTC/USD]\n      {}\n  {more}\n",
        dialer()
    );
    std::fs::write(&path, text).unwrap();
    text_of(&path)
}

/// Waits until the recorder's only feed has heard so many frames.
fn until_heard(data: &str, frames: u64) {
    until("frames", || {
        let status = run(&["status", "--data", data, "--json"]);
        let mut values = serde_json::Deserializer::from_slice(&status.stdout).into_iter::<Value>();
        let mut first = values.next()?.ok()?;
        if first.is_array() {
            first = first[0].take();
        }
        first["feeds"][0]["frames"].as_u64().filter(|heard| *heard > frames)
    });
}

#[test]
fn a_recorder_that_is_killed_goes_on_in_its_bucket_and_every_command_reads_it() {
    let Some(server) = servers::moto() else { return };
    let folder = tempdir().unwrap();
    let data = text_of(&folder.path().join("data"));
    let store = server.store(&server.bucket(), server.address);
    let config = document(folder.path(), &format!("store: \"{store}\""));
    let up = Running::start(&mut keyed(&["up", "--sim", "-c", &config, "--data", &data]));
    until_heard(&data, 300);
    // Dropping kills it.
    drop(up);
    let status = json(&["up", "--sim", "--for", "2s", "-c", &config, "--data", &data, "--json"]);
    assert_eq!(status["feeds"][0]["archived"], status["feeds"][0]["durable"], "{status}");
    assert!(!Path::new(&data).join("store").exists(), "nothing is kept beside the bucket");

    let report = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in
        [("books_failed", 0), ("errors", 0), ("holes", 0), ("gaps", 1), ("sessions", 2), ("unknown", 0)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    let day = json(&["ls", "--store", &store, "--json"])[0]["day"].as_str().unwrap().to_owned();
    let gaps = json(&["gaps", "--store", &store, "--feed", "kraken", "--day", &day, "--json"]);
    assert_eq!(gaps[0]["cause"], "crash", "{gaps}");
    let replayed = json(&["replay", "--store", &store, "--format", "none"]);
    assert_eq!(replayed["books_verified"], report["books_verified"], "{replayed}");
    assert!(output(&["cat", "--store", &store, "--day", &day]).lines().count() > 300);

    // Where no venue is wanted, the store alone is asked.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("      symbols:", "      enabled: false\n      symbols:")).unwrap();
    let online = output(&["check", &config, "--online"]);
    assert!(online.contains(&format!("✓ store {store}: an object is made only once; written and read in ")));
}

#[test]
fn a_bucket_that_is_away_keeps_nobody_from_recording_and_loses_nothing() {
    let Some(server) = servers::moto() else { return };
    server.named_bucket("ssmd-test-raw");
    let door = Door::before(server.address);
    let folder = tempdir().unwrap();
    let data = text_of(&folder.path().join("data"));
    let keys = "access_key_id: { env: AWS_ACCESS_KEY_ID }, secret_access_key: { env: AWS_SECRET_ACCESS_KEY }";
    let config = document(
        folder.path(),
        &format!(
            "storage: {{ raw: {{ bucket: ssmd-test-raw, endpoint: \"http://{}\", keys: {{ {keys} }} }} }}",
            door.address
        ),
    );
    let start = || Running::start(&mut keyed(&["up", "--sim", "-c", &config, "--data", &data]));

    // It is away at the start, and comes back.
    door.shut();
    let up = start();
    until_heard(&data, 300);
    door.open();
    up.signal("TERM");
    let (stopped, said) = up.end();
    assert!(stopped.success(), "{said}");

    // It is away at the end: what could not be archived is told, and the log has it.
    let up = start();
    until_heard(&data, 300);
    door.shut();
    up.signal("TERM");
    let (stopped, said) = up.end();
    assert!(!stopped.success(), "{said}");
    assert!(!said.contains(servers::SECRET_ACCESS_KEY), "{said}");
    door.open();
    let status = json(&["up", "--sim", "--for", "1s", "-c", &config, "--data", &data, "--json"]);
    assert_eq!(status["feeds"][0]["archived"], status["feeds"][0]["durable"], "{status}");

    let store = server.store("ssmd-test-raw", server.address);
    let report = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in [("books_failed", 0), ("errors", 0), ("holes", 0), ("gaps", 2), ("sessions", 3)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
}

/// What stands before a server, and can be shut: then connections are ended, and no new one gets an answer.
struct Door {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    shut: bool,
    passing: Vec<TcpStream>,
}

impl Door {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = seen.lock().unwrap();
                if state.shut {
                    continue;
                }
                let Ok(behind) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&stream, &behind), (&behind, &stream)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                state.passing.extend([stream, behind]);
            }
        });
        Self { address, state }
    }

    fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.shut = true;
        for stream in state.passing.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) {
        self.state.lock().unwrap().shut = false;
    }
}
