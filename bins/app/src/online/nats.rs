//! Whether the NATS servers that a document names answer, what they are, and what they promise.

use std::sync::Arc;

use ssmd_core::environment::{
    CacheSpec, Code, Environment, Finding, JournalSpec, Place, Secret, TlsSpec, TransportSpec,
};
use ssmd_core::{Clock, Result};
use ssmd_transport::nats::{self, ON_DISK};

use super::{Probe, in_a_line};
use crate::backends;

/// What a document uses a server for, and where it says so.
struct Use<'e> {
    what: &'static str,
    url: Option<&'e String>,
    tls: &'e TlsSpec,
    credentials: Option<&'e Secret>,
    places: Vec<Place>,
    /// Whether it keeps anything.
    keeps: bool,
}

/// A probe for each use of NATS.
pub(super) fn probes<'e>(environment: &'e Environment, clock: &Arc<dyn Clock>) -> Vec<Probe<'e>> {
    let probe = |used: Use<'e>| {
        let late = silent(&used, "no answer in time");
        let clock = Arc::clone(clock);
        let ask = async move {
            match asked(&used, clock).await {
                Ok(line) => (vec![line], Vec::new()),
                Err(error) => (Vec::new(), vec![silent(&used, &in_a_line(&error))]),
            }
        };
        Probe { ask: Box::pin(ask), late }
    };
    uses(environment).into_iter().map(probe).collect()
}

fn uses(environment: &Environment) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    if let JournalSpec::JetStream(spec) = &environment.journal {
        let places = vec![Place::of(&["spec", "journal", "nats"]), Place::of(&["spec", "jetstream"])];
        let (url, tls, credentials) = (spec.url.as_ref(), &spec.tls, spec.credentials.as_ref());
        uses.push(Use { what: "journal", url, tls, credentials, places, keeps: true });
    }
    if let TransportSpec::Nats { url, stream, tls, credentials, .. } = &environment.transport {
        let places = vec![Place::of(&["spec", "transport", "nats"]), Place::of(&["spec", "transport"])];
        let (url, credentials) = (url.as_ref(), credentials.as_ref());
        uses.push(Use { what: "transport", url, tls, credentials, places, keeps: stream.is_some() });
    }
    if let CacheSpec::Nats { url, tls, credentials, .. } = &environment.cache {
        let places = vec![Place::of(&["spec", "cache", "nats"])];
        let (url, credentials) = (url.as_ref(), credentials.as_ref());
        uses.push(Use { what: "cache", url, tls, credentials, places, keeps: true });
    }
    uses
}

async fn asked(used: &Use<'_>, clock: Arc<dyn Clock>) -> Result<String> {
    let options = backends::nats(used.url.map(String::as_str), used.tls, used.credentials)?;
    let connection = nats::connect(&options, clock).await?;
    if used.keeps {
        connection.check_jetstream().await?;
    }
    let micros = connection.round_trip().await?.as_micros();
    let promise = if used.keeps { ON_DISK } else { "it keeps nothing: who listens hears it, at most once" };
    let (what, version) = (used.what, connection.version());
    Ok(format!("{what}: nats-server {version} answers in {micros} us; {promise}"))
}

fn silent(used: &Use<'_>, why: &str) -> Finding {
    Finding {
        code: Code::Unreachable,
        message: format!("NATS of the {} does not answer as it must: {why}", used.what),
        places: used.places.iter().flat_map(|place| [place.clone().key("url"), place.clone()]).collect(),
        expected: Some("a nats-server that lets us in".to_owned()),
        nearest: None,
    }
}
