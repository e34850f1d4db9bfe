//! The backends that an environment chooses, opened: which, where, and what they want to be shown.

use std::sync::Arc;

use ssmd_core::environment::{CacheSpec, Environment, Secret, SecretText, TransportSpec};
use ssmd_core::{Clock, EnvironmentName, Error, ErrorKind, RecordType, Result, Subject};
use ssmd_transport::login::Login;
use ssmd_transport::mqtt::{MqttOptions, MqttTransport, Quality};
use ssmd_transport::nats;
use ssmd_transport::redis::{RedisCache, RedisOptions};

/// The variable that says where Redis is, if the document does not.
const REDIS_URL: &str = "REDIS_URL";
/// The same for NATS.
const NATS_URL: &str = "NATS_URL";

/// The cache that keeps the latest values; `None` if they are kept nowhere. It connects with its first call.
///
/// # Errors
/// `NotFound` if a secret or an address is missing, `Invalid` if one is of no use.
pub(crate) fn cache(environment: &Environment, clock: &Arc<dyn Clock>) -> Result<Option<Arc<RedisCache>>> {
    match &environment.cache {
        CacheSpec::Memory => Ok(None),
        CacheSpec::Redis { url, credentials } => {
            let options = RedisOptions {
                url: address(url.as_deref(), REDIS_URL)?,
                login: credentials.as_ref().map(login).transpose()?,
                ca: None,
                clock: Arc::clone(clock),
            };
            RedisCache::new(options, &namespace(&environment.name)).map(|cache| Some(Arc::new(cache)))
        }
        CacheSpec::Nats { .. } => {
            Err(Error::new(ErrorKind::Unsupported, "open cache").detail("NATS KV is not built yet"))
        }
    }
}

/// The broker that records are told to beside this process; `None` if there is none. It connects in the background.
///
/// # Errors
/// As for [`cache`].
pub(crate) fn broker(
    environment: &Environment,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<MqttTransport>>> {
    match &environment.transport {
        TransportSpec::Memory => Ok(None),
        TransportSpec::Mqtt { url, qos, credentials } => {
            let quality =
                Quality::of(*qos).ok_or_else(|| Error::new(ErrorKind::Invalid, "open transport"))?;
            let options = MqttOptions {
                login: credentials.as_ref().map(login).transpose()?,
                quality,
                retained: is_latest,
                ..MqttOptions::new(url, Arc::clone(clock))
            };
            MqttTransport::new(options).map(|transport| Some(Arc::new(transport)))
        }
        TransportSpec::Nats { .. } => {
            Err(Error::new(ErrorKind::Unsupported, "open transport").detail("NATS is not built yet"))
        }
    }
}

/// How the NATS server that a section of the document means is reached. Nothing is connected yet.
///
/// # Errors
/// As for [`cache`].
pub(crate) fn nats(url: Option<&str>, credentials: Option<&Secret>) -> Result<nats::Options> {
    let mut options = nats::Options::new(address(url, NATS_URL)?);
    if let Some(secret) = credentials {
        options.auth = nats::Auth::of(&resolved(secret)?);
    }
    Ok(options)
}

/// Whether the last message of a subject says how something is now: a change of a book or a gap does not.
fn is_latest(subject: &Subject) -> bool {
    // `….record.{type}.{symbol}`
    let kind = subject.as_str().rsplit('.').nth(1);
    let passing = [RecordType::BookDelta, RecordType::Gap, RecordType::Audit, RecordType::Switch];
    !passing.iter().any(|passing| kind == Some(passing.word()))
}

/// What all keys of an environment begin with.
fn namespace(environment: &EnvironmentName) -> String {
    format!("ssmd:{environment}")
}

/// What the document says, or the variable.
fn address(declared: Option<&str>, variable: &'static str) -> Result<String> {
    if let Some(url) = declared {
        return Ok(url.to_owned());
    }
    std::env::var(variable).map_err(|cause| {
        let error = Error::new(ErrorKind::NotFound, "look for an address").with("variable", variable);
        error.because(cause).hint(format!("write `url` into the document, or set {variable}"))
    })
}

fn login(secret: &Secret) -> Result<Login> {
    resolved(secret).map(|secret| Login::parse(secret.expose()))
}

/// The secret as it is now.
///
/// # Errors
/// As [`Secret::resolve`].
pub(crate) fn resolved(secret: &Secret) -> Result<SecretText> {
    secret.resolve(|name| std::env::var_os(name), |path| std::fs::read(path))
}
