//! A real Redis without a disk, and what `redis-cli` says of it.

use std::process::Command;

use serde_json::Value;

use crate::rig::until;
use crate::server::Server;

const PROGRAM: &str = "redis-server";
const READY: &str = "Ready to accept connections";

fn command(port: u16) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
    command
}

/// A server; `None` where there is none.
pub(crate) fn redis() -> Option<Server> {
    Server::start(PROGRAM, READY, command)
}

/// A server on the port of one that was killed, empty.
pub(crate) fn redis_again(port: u16) -> Server {
    Server::start_again(PROGRAM, READY, port, command)
}

pub(crate) fn ask(server: &Server, words: &[&str]) -> String {
    let output =
        Command::new("redis-cli").args(["-p", &server.port.to_string()]).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The record under a key, once there is one.
pub(crate) fn latest(server: &Server, key: &str) -> Value {
    until(key, || serde_json::from_str(&ask(server, &["HGET", key, "value"])).ok())
}
