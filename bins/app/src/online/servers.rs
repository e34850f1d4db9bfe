//! Whether the transport and the cache that a document chooses do what they are for: one real round trip with each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::environment::{CacheSpec, Code, Environment, Finding, Place, TransportSpec};
use ssmd_core::{
    Cache, Clock, Delivery, Error, ErrorKind, Expect, Filter, Message, Result, Subject, Transport,
};

use super::{Answer, Probe, in_a_line};
use crate::backends;

/// How long what a probe leaves behind stays, if it is ended on its way.
const LEFT_FOR: Duration = Duration::from_secs(60);

/// The questions to the servers of an environment.
pub(super) fn probes<'e>(environment: &'e Environment, clock: &Arc<dyn Clock>) -> Vec<Probe<'e>> {
    let mut probes = Vec::new();
    if let CacheSpec::Redis { url, .. } = &environment.cache {
        let (shown, place) = (url.as_deref().unwrap_or("$REDIS_URL"), Place::of(&["spec", "cache", "redis"]));
        let clock = Arc::clone(clock);
        let ask = async move { answer("cache", shown, &place, redis(environment, clock).await) };
        let late = unserved("cache", shown, &Place::of(&["spec", "cache", "redis"]), "no answer in time");
        probes.push(Probe { ask: Box::pin(ask), late });
    }
    if let TransportSpec::Mqtt { url, .. } = &environment.transport {
        let place = Place::of(&["spec", "transport", "mqtt"]);
        let clock = Arc::clone(clock);
        let ask = async move { answer("transport", url, &place, mqtt(environment, clock).await) };
        let late =
            unserved("transport", url, &Place::of(&["spec", "transport", "mqtt"]), "no answer in time");
        probes.push(Probe { ask: Box::pin(ask), late });
    }
    probes
}

fn answer(what: &str, shown: &str, place: &Place, asked: Result<String>) -> Answer {
    match asked {
        Ok(line) => (vec![format!("{what} {shown}: {line}")], Vec::new()),
        Err(error) => (Vec::new(), vec![unserved(what, shown, place, &in_a_line(&error))]),
    }
}

/// Writes a value, is refused a second one, reads it and removes it.
async fn redis(environment: &Environment, clock: Arc<dyn Clock>) -> Result<String> {
    let Some(cache) = backends::redis(environment, &clock)? else { return Ok(String::new()) };
    let server = cache.server().await?;
    let key = format!("probe.{}", unique(clock.as_ref()));
    let body = Bytes::from_static(b"whether this cache can be written");
    cache.put(&key, body.clone(), Expect::Absent, Some(LEFT_FOR)).await?;
    let twice = cache.put(&key, body.clone(), Expect::Absent, Some(LEFT_FOR)).await;
    let read = cache.get(&key).await?;
    cache.delete(&key).await?;
    match twice {
        Err(error) if error.kind() == ErrorKind::Conflict => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(broken("probe cache", "a value could be created twice")),
    }
    if read.is_none_or(|read| read.value != body) {
        return Err(broken("probe cache", "what was read is not what was written"));
    }
    let full = match server.eviction.as_deref() {
        Some("noeviction") => "refuses more when it is full".to_owned(),
        Some(policy) => format!("forgets keys when it is full ({policy})"),
        None => "does not say what it does when it is full".to_owned(),
    };
    Ok(format!(
        "Redis {} answers in {:.1} ms, a value is compared and set, read and removed; it {full}, and what it loses is written anew",
        server.version,
        milliseconds(server.latency),
    ))
}

/// Hears what it publishes.
async fn mqtt(environment: &Environment, clock: Arc<dyn Clock>) -> Result<String> {
    let Some(transport) = backends::mqtt(environment, &clock)? else { return Ok(String::new()) };
    let broker = transport.ready().await?;
    // A type that is never retained.
    let (name, unique) = (environment.name.as_str(), unique(clock.as_ref()));
    let subject = Subject::new([name, "ssmd-probe", "json", "gap", unique.as_str()])?;
    let filter: Filter = subject.as_str().parse()?;
    let mut heard = transport.subscribe(&filter).await?;
    let message = Message { subject, headers: Vec::new(), payload: Bytes::from_static(b"ssmd") };
    let began = clock.elapsed();
    transport.publish(vec![message.clone()]).await?;
    if heard.next().await? != Delivery::Message(message) {
        return Err(broken("probe transport", "what was heard is not what was published"));
    }
    let took = milliseconds(clock.elapsed().saturating_sub(began));
    let retains = if broker.retains { "it retains" } else { "it does not retain" };
    Ok(format!(
        "an MQTT 5 broker answers in {:.1} ms, a message comes back in {took:.1} ms; {retains} the last of each topic, and \
         what is under way when a connection breaks is lost",
        milliseconds(broker.latency),
    ))
}

fn broken(operation: &'static str, detail: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation).detail(detail)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A name that no other probe has.
fn unique(clock: &dyn Clock) -> String {
    format!("{}-{}", std::process::id(), clock.now().nanos())
}

fn unserved(what: &str, shown: &str, place: &Place, why: &str) -> Finding {
    Finding {
        code: Code::Unreachable,
        message: format!("{what} `{shown}` does not serve: {why}"),
        places: vec![place.clone().key("url"), place.clone()],
        expected: Some("a server that is there and lets us in".to_owned()),
        nearest: None,
    }
}
