//! A real Redis, and caches in it.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use ssmd_core::{Cache, Clock, Expect, Result, SystemClock};
use ssmd_transport::login::Login;
use ssmd_transport::redis::{RedisCache, RedisOptions};

use crate::server::Server;

const PROGRAM: &str = "redis-server";
const READY: &str = "Ready to accept connections";

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// A server and what it was started with. It keeps nothing on disk.
pub(crate) struct Redis {
    server: Server,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

/// A server that does not run now.
pub(crate) struct Away(u16, tempfile::TempDir, Vec<String>);

impl Redis {
    /// `None` where there is no Redis.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let server = Server::start(PROGRAM, READY, |port| command(port, &folder, &arguments))?;
        Some(Self { server, folder, arguments })
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    /// Ends it at once and starts it again, empty.
    pub(crate) fn crash(self) -> Self {
        self.stop().start()
    }

    pub(crate) fn stop(self) -> Away {
        let port = self.port();
        self.server.kill();
        Away(port, self.folder, self.arguments)
    }
}

impl Away {
    pub(crate) fn start(self) -> Redis {
        let Self(port, folder, arguments) = self;
        let make = |port| command(port, &folder, &arguments);
        let server = Server::start_again(PROGRAM, READY, port, make);
        Redis { server, folder, arguments }
    }
}

fn command(port: u16, folder: &tempfile::TempDir, more: &[String]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--port", &port.to_string()]).arg("--dir").arg(folder.path());
    command.args(more.iter().map(|text| text.replace("{port}", &port.to_string())));
    command
}

pub(crate) fn cache(server: &Redis) -> RedisCache {
    connect(server, None, None, "ssmd:test")
}

pub(crate) fn connect(
    server: &Redis,
    login: Option<Login>,
    ca: Option<Vec<u8>>,
    namespace: &str,
) -> RedisCache {
    let scheme = if ca.is_some() { "rediss" } else { "redis" };
    let url = format!("{scheme}://localhost:{}", server.port());
    RedisCache::new(RedisOptions { url, login, ca, identity: None, clock: clock() }, namespace).unwrap()
}

pub(crate) async fn put(cache: &RedisCache, key: &str, value: &str, expect: Expect) -> Result<u64> {
    cache.put(key, Bytes::copy_from_slice(value.as_bytes()), expect, None).await
}

pub(crate) async fn value(cache: &RedisCache, key: &str) -> Result<Option<String>> {
    let found = cache.get(key).await?;
    Ok(found.map(|found| String::from_utf8(found.value.to_vec()).unwrap()))
}

/// What the server answers to somebody who is not us.
pub(crate) async fn ask(server: &Redis, words: &[&str]) -> String {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap()
}
