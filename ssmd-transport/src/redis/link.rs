//! The one connection to Redis that all calls share, made when it is needed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, FromRedisValue, IntoConnectionInfo, RedisError, Script,
    ServerErrorKind, TlsCertificates,
};
use ssmd_core::{Clock, Error, ErrorKind, Result};
use tokio::sync::Mutex;

use super::errors::{failed, unknown};
use crate::login::Login;

/// How long connecting, TLS and the login may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The server has never seen the script, or has forgotten it; nothing was run.
const NO_SCRIPT: redis::ErrorKind = redis::ErrorKind::Server(ServerErrorKind::NoScript);

/// Where a Redis is, and who we are to it.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://host[:port][/database]`, or `rediss://` for TLS.
    pub url: String,
    /// The ACL's user and password, or the password of the default user.
    pub login: Option<Login>,
    /// Whom to trust instead of the system's certificates, in PEM form.
    pub ca: Option<Vec<u8>>,
    /// What is shown to the server: a certificate and its key, both in PEM form.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The time that latencies are measured by.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServer {
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// What it does at its bound of memory: `noeviction`, or how it chooses what it forgets. `None` if it does not
    /// tell.
    pub eviction: Option<String>,
    /// How long one answer took, on a connection that stood.
    pub latency: Duration,
}

#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<Open>>,
}

/// The connection, and how many there were before it.
#[derive(Default)]
struct Open {
    generation: u64,
    connection: Option<MultiplexedConnection>,
}

impl Link {
    pub(super) fn new(options: RedisOptions) -> Result<Self> {
        let operation = "open redis cache";
        let url = options.url.as_str();
        let invalid = |cause: RedisError| Error::new(ErrorKind::Invalid, operation).because(cause);
        let info = url.into_connection_info().map_err(invalid)?;
        let mut settings = info.redis_settings().clone();
        if settings.password().is_some() || settings.username().is_some() {
            let error = Error::new(ErrorKind::Invalid, operation).detail("the address holds credentials");
            return Err(error.hint("name a secret under `credentials`"));
        }
        if let Some(login) = &options.login {
            settings = settings.set_password(login.password());
            if let Some(user) = login.user() {
                settings = settings.set_username(user);
            }
        }
        let info = info.set_redis_settings(settings);
        let client = match options.url.starts_with("rediss:") {
            true => {
                let shown = |(client_cert, client_key)| ClientTlsConfig { client_cert, client_key };
                let trust =
                    TlsCertificates { client_tls: options.identity.map(shown), root_cert: options.ca };
                Client::build_with_tls(info, trust)
            }
            false => Client::open(info),
        };
        let client = client.map_err(invalid)?;
        Ok(Self { client, clock: options.clock, open: Arc::default() })
    }

    /// The connection and its generation. While one caller connects, the others wait for it.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), RedisError> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &open.connection {
            return Ok((open.generation, connection.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        open.generation += 1;
        open.connection = Some(connection.clone());
        Ok((open.generation, connection))
    }

    /// Forgets a connection that broke, unless another one was made since.
    async fn look<T>(&self, generation: u64, result: &Result<T, RedisError>) {
        if let Err(error) = result
            && error.is_unrecoverable_error()
        {
            let mut open = self.open.lock().await;
            if open.generation == generation {
                open.connection = None;
            }
        }
    }

    /// One command that may be made again.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &redis::Cmd,
    ) -> Result<T> {
        let connected = self.connection().await;
        let (generation, mut connection) = connected.map_err(|cause| failed(operation, cause))?;
        let result = command.query_async(&mut connection).await;
        self.look(generation, &result).await;
        result.map_err(|cause| failed(operation, cause))
    }

    /// Many commands in one round trip.
    pub(super) async fn query_all<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipe: &redis::Pipeline,
    ) -> Result<T> {
        let connected = self.connection().await;
        let (generation, mut connection) = connected.map_err(|cause| failed(operation, cause))?;
        let result = pipe.query_async(&mut connection).await;
        self.look(generation, &result).await;
        result.map_err(|cause| failed(operation, cause))
    }

    /// A call of a script, which must not run twice; a server that does not know the script is given it first.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Script,
        call: &redis::Cmd,
    ) -> Result<T> {
        let connected = self.connection().await;
        // Nothing was sent yet.
        let (generation, mut connection) = connected.map_err(|cause| failed(operation, cause))?;
        let mut result = call.query_async(&mut connection).await;
        if result.as_ref().is_err_and(|error: &RedisError| error.kind() == NO_SCRIPT) {
            result = match script.load_async(&mut connection).await {
                Ok(_) => call.query_async(&mut connection).await,
                Err(error) => Err(error),
            };
        }
        self.look(generation, &result).await;
        result.map_err(|cause| unknown(operation, cause))
    }

    pub(super) async fn server(&self) -> Result<RedisServer> {
        let operation = "ask redis";
        let info: String = self.query(operation, redis::cmd("INFO").arg("server").arg("memory")).await?;
        let field = |name: &str| {
            let of =
                |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(|text| text.trim().to_owned());
            info.lines().find_map(of)
        };
        let began = self.clock.elapsed();
        let _: String = self.query(operation, &redis::cmd("PING")).await?;
        Ok(RedisServer {
            version: field("redis_version").unwrap_or_else(|| "unknown".to_owned()),
            eviction: field("maxmemory_policy"),
            latency: self.clock.elapsed().saturating_sub(began),
        })
    }
}
