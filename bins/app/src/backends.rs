//! The backends that an environment chooses, opened: which, where, and what they want to be shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::{
    CacheSpec, Environment, RecordStreamSpec, Secret, SecretText, TlsSpec, TransportSpec,
};
use ssmd_core::{Cache, Clock, EnvironmentName, Error, ErrorKind, Metrics, RecordType, Result, Subject};
use ssmd_transport::login::Login;
use ssmd_transport::mqtt::{MqttOptions, MqttTransport, Quality};
use ssmd_transport::nats;
use ssmd_transport::publish::Broker;
use ssmd_transport::redis::{RedisCache, RedisOptions};
use ssmd_transport::reopened::Reopened;
use ssmd_transport::wrap::Observed;

/// The variable that says where Redis is, if the document does not.
const REDIS_URL: &str = "REDIS_URL";
/// The same for NATS.
const NATS_URL: &str = "NATS_URL";

/// The cache that keeps the latest values, for a service of this name; `None` if they are kept nowhere. It connects
/// with its first call, and each call is counted. NATS servers know services by name (`deploy/nats/permissions.conf`).
///
/// # Errors
/// `NotFound` if a secret, a file or an address is missing, `Invalid` if one is of no use.
pub(crate) fn cache(
    environment: &Environment,
    service: &str,
    (clock, metrics): (&Arc<dyn Clock>, &Metrics),
) -> Result<Option<Arc<dyn Cache>>> {
    let cache: Option<Arc<dyn Cache>> = match &environment.cache {
        CacheSpec::Memory => None,
        CacheSpec::Redis { .. } => redis(environment, clock)?.map(|cache| cache as Arc<dyn Cache>),
        CacheSpec::Nats { url, bucket, tls, credentials } => {
            let mut server = nats(url.as_deref(), tls, credentials.as_ref())?;
            service.clone_into(&mut server.name);
            let bucket = bucket.clone().unwrap_or_else(|| format!("ssmd-{}", environment.name));
            let spec = nats::CacheSpec { bucket, replicas: 1, storage: nats::Storage::File };
            let clock = Arc::clone(clock);
            Some(Arc::new(Reopened::<dyn Cache>::new(Arc::new(move || {
                let (server, spec, clock) = (server.clone(), spec.clone(), Arc::clone(&clock));
                Box::pin(async move {
                    let cache = nats::connect(&server, clock).await?.cache(&spec).await?;
                    Ok(Arc::new(cache) as Arc<dyn Cache>)
                })
            }))))
        }
    };
    let observed = |cache| Observed::cache(cache, Arc::clone(clock), metrics.clone());
    Ok(cache.map(|cache| Arc::new(observed(cache)) as Arc<dyn Cache>))
}

/// The Redis that keeps the latest values, if one does.
///
/// # Errors
/// As for [`cache`].
pub(crate) fn redis(environment: &Environment, clock: &Arc<dyn Clock>) -> Result<Option<Arc<RedisCache>>> {
    let CacheSpec::Redis { url, tls, credentials } = &environment.cache else { return Ok(None) };
    let options = RedisOptions {
        url: address(url.as_deref(), REDIS_URL)?,
        login: credentials.as_ref().map(login).transpose()?,
        ca: authorities(tls)?,
        identity: identity(tls)?,
        clock: Arc::clone(clock),
    };
    RedisCache::new(options, &namespace(&environment.name)).map(|cache| Some(Arc::new(cache)))
}

/// The broker that records are told to beside this process, for a service of this name; `None` if there is none. It connects
/// in the background, or with its first call, and each call is counted.
///
/// # Errors
/// As for [`cache`].
pub(crate) fn broker(
    environment: &Environment,
    service: &str,
    (clock, metrics): (&Arc<dyn Clock>, &Metrics),
) -> Result<Option<Arc<dyn Broker>>> {
    let broker: Option<Arc<dyn Broker>> = match &environment.transport {
        TransportSpec::Memory => None,
        TransportSpec::Mqtt { .. } => mqtt(environment, clock)?.map(|broker| broker as Arc<dyn Broker>),
        TransportSpec::Nats { url, stream, tls, credentials, .. } => {
            let mut server = nats(url.as_deref(), tls, credentials.as_ref())?;
            service.clone_into(&mut server.name);
            let stream = stream.as_ref().map(|stream| records(stream, &environment.name));
            let options =
                nats::BrokerOptions { server, stream, retained: is_latest, clock: Arc::clone(clock) };
            Some(Arc::new(nats::NatsBroker::new(options)))
        }
    };
    let observed = |broker| Observed::broker(broker, Arc::clone(clock), metrics.clone());
    Ok(broker.map(|broker| Arc::new(observed(broker)) as Arc<dyn Broker>))
}

/// The MQTT broker that records are told to, if one is.
///
/// # Errors
/// As for [`cache`].
pub(crate) fn mqtt(environment: &Environment, clock: &Arc<dyn Clock>) -> Result<Option<Arc<MqttTransport>>> {
    let TransportSpec::Mqtt { url, qos, tls, credentials, .. } = &environment.transport else {
        return Ok(None);
    };
    let quality = Quality::of(*qos).ok_or_else(|| Error::new(ErrorKind::Invalid, "open transport"))?;
    let options = MqttOptions {
        login: credentials.as_ref().map(login).transpose()?,
        ca: authorities(tls)?,
        identity: identity(tls)?,
        quality,
        retained: is_latest,
        ..MqttOptions::new(url, Arc::clone(clock))
    };
    MqttTransport::new(options).map(|transport| Some(Arc::new(transport)))
}

/// The stream that keeps an environment's records.
fn records(spec: &RecordStreamSpec, environment: &EnvironmentName) -> nats::StreamSpec {
    nats::StreamSpec {
        max_age: Duration::from_secs(u64::from(spec.retention_hours) * 3600),
        max_bytes: spec.max_bytes,
        replicas: spec.replicas,
        ..nats::StreamSpec::of_records(environment, &spec.name)
    }
}

/// How the NATS server that a section of the document means is reached. Nothing is connected yet.
///
/// # Errors
/// As for [`cache`].
pub(crate) fn nats(url: Option<&str>, tls: &TlsSpec, credentials: Option<&Secret>) -> Result<nats::Options> {
    let mut options = nats::Options::new(address(url, NATS_URL)?);
    if let Some(secret) = credentials {
        options.auth = nats::Auth::of(&resolved(secret)?);
    }
    options.tls.authorities = tls.ca.as_ref().map(PathBuf::from);
    options.tls.identity = tls.identity.as_ref().map(|(cert, key)| (cert.into(), key.into()));
    Ok(options)
}

/// The text of the file that says who may vouch for a server, if one is named.
fn authorities(tls: &TlsSpec) -> Result<Option<Vec<u8>>> {
    tls.ca.as_deref().map(|path| file("read `ca`", path)).transpose()
}

/// The texts of the files with our certificate and its key, if they are named.
fn identity(tls: &TlsSpec) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some((cert, key)) = &tls.identity else { return Ok(None) };
    Ok(Some((file("read `cert`", cert)?, file("read `key`", key)?)))
}

fn file(operation: &'static str, path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| Error::io(operation, cause).with("path", path))
}

/// Whether the last message of a subject says how something is now: a change of a book or a gap does not.
fn is_latest(subject: &Subject) -> bool {
    // `….json.{type}.{symbol}`
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
