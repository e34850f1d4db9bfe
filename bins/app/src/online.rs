//! What only the world can say about a document: whether symbols exist, stores can be written, secrets are there,
//! keys are taken and servers answer.
//!
//! A list of probes, all of which run at once, each with a deadline. A backend adds its own to [`servers`].

mod nats;
mod servers;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use ssmd_core::environment::{
    Code, Environment, FeedSpec, Finding, Place, Secret, SecretSpec, ShardsSpec, StoreSpec, SymbolFilters,
    nearest,
};
use ssmd_core::{
    BoxFuture, Clock, Error, ErrorKind, Metrics, ObjectPath, PutMode, Result, SessionId, Store, SystemClock,
    Wanted,
};
use ssmd_feeds::{Dialer, OpenContext, Subscriptions};
use ssmd_storage::{Exclusion, Head};
use tokio::sync::watch;

use crate::backends::resolved;
use crate::shared::Shared;

/// How long one probe may take: a listing of tens of thousands of markets comes in pages.
const PROBE_WITHIN: Duration = Duration::from_secs(60);

/// What a probe found: lines about what is well, and what is not.
pub(crate) type Answer = (Vec<String>, Vec<Finding>);

/// One question to the world.
pub(crate) struct Probe<'e> {
    ask: BoxFuture<'e, Answer>,
    /// What is found if there is no answer in time.
    late: Finding,
}

/// Asks everything that can be asked about an environment.
///
/// # Errors
/// What keeps this process from asking at all.
pub(crate) async fn ask(environment: &Environment) -> Result<Answer> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let answers = probes(environment, &clock)?.into_iter().map(|probe| {
        let late = clock.sleep(PROBE_WITHIN);
        async move {
            tokio::select! {
                answer = probe.ask => answer,
                () = late => (Vec::new(), vec![probe.late]),
            }
        }
    });
    let (lines, findings): (Vec<_>, Vec<_>) = join_all(answers).await.into_iter().unzip();
    Ok((lines.concat(), findings.concat()))
}

/// Every question about an environment.
fn probes<'e>(environment: &'e Environment, clock: &Arc<dyn Clock>) -> Result<Vec<Probe<'e>>> {
    let mut probes = Vec::new();
    for spec in environment.enabled() {
        probes.push(Probe {
            ask: Box::pin(venue(spec, Arc::clone(clock))),
            late: silent(spec, "no answer in time"),
        });
        // What cannot be read is told as such.
        if !spec.keys.is_empty() && spec.keys.values().all(is_there) {
            let late = refused(spec, "no answer in time");
            probes.push(Probe { ask: Box::pin(keys(spec, Arc::clone(clock))), late });
        }
    }
    let archive = environment.archive();
    let late = unwritable(&archive, "no answer in time");
    probes.push(Probe { ask: Box::pin(store(archive.clone(), Arc::clone(clock))), late });
    let late = unexcluded("no answer in time");
    probes.push(Probe { ask: Box::pin(exclusion(environment, archive, Arc::clone(clock))), late });
    probes.extend(servers::probes(environment, clock));
    probes.extend(nats::probes(environment, clock));
    for (secret, place, shown) in secrets(environment) {
        let late = unreadable(&place, &shown, secret, "no answer in time");
        let ask = async move { readable(secret, &place, &shown) };
        probes.push(Probe { ask: Box::pin(ask), late });
    }
    Ok(probes)
}

/// Whether the venue lists what the document names.
async fn venue(spec: &FeedSpec, clock: Arc<dyn Clock>) -> Answer {
    match listed(spec, clock).await {
        Ok(answer) => answer,
        Err(error) => (Vec::new(), vec![silent(spec, &in_a_line(&error))]),
    }
}

fn context(spec: &FeedSpec, clock: &Arc<dyn Clock>) -> Result<OpenContext> {
    let tls = ssmd_feeds::tls::client_config(None)?;
    Ok(OpenContext {
        dial: Arc::new(Dialer::new(Arc::clone(&tls), spec.allow_plaintext)),
        tls,
        clock: Arc::clone(clock),
        subscriptions: Subscriptions::default(),
    })
}

/// Whether the venue lets in who signs with the feed's keys.
async fn keys(spec: &FeedSpec, clock: Arc<dyn Clock>) -> Answer {
    match let_in(spec, clock).await {
        Ok(()) => (vec![format!("feed {}: the venue takes the keys", spec.name)], Vec::new()),
        Err(error) => (Vec::new(), vec![refused(spec, &in_a_line(&error))]),
    }
}

async fn let_in(spec: &FeedSpec, clock: Arc<dyn Clock>) -> Result<()> {
    let feed = ssmd_feeds::declare(spec, &context(spec, &clock)?)?.feed;
    let (_wants, nothing) = watch::channel(Arc::new(Wanted::default()));
    feed.session().open(SessionId(1), nothing, clock).await.map(drop)
}

async fn listed(spec: &FeedSpec, clock: Arc<dyn Clock>) -> Result<Answer> {
    let (mut listed, mut found, mut findings) = (0, 0, Vec::new());
    for (at, share) in spec.shares().iter().enumerate() {
        let (names, meant, missing) = listed_of_share(&share.alone(spec), at, spec, &clock).await?;
        listed = names.max(listed);
        found += meant;
        findings.extend(missing);
    }
    let line = format!("feed {}: the venue lists {listed} symbols, {found} of them are wanted", spec.name);
    Ok((if findings.is_empty() { vec![line] } else { Vec::new() }, findings))
}

/// How many symbols the venue lists of those that it was asked for, how many of them one share of `whole` wants, and
/// what it wants that is not among them.
async fn listed_of_share(
    spec: &FeedSpec,
    share: usize,
    whole: &FeedSpec,
    clock: &Arc<dyn Clock>,
) -> Result<(usize, usize, Vec<Finding>)> {
    let context = context(spec, clock)?;
    let listing = (ssmd_feeds::venue(&spec.name)?.listing)(spec, &context)?().await?;
    let names: BTreeSet<_> = listing.listed.iter().map(|listed| listed.symbol.as_str()).collect();
    let (mut found, mut findings) = (0, Vec::new());
    for (at, text) in spec.symbols.iter().enumerate() {
        let pattern = text.contains('*');
        let meant = match pattern {
            true => listing.select(std::slice::from_ref(text), &spec.filters, clock.now())?.len(),
            false if names.contains(text.as_str()) => 1,
            false => usize::from(stands_for_another(spec, text, &context).await?),
        };
        found += meant;
        if meant == 0 {
            findings.push(Finding {
                code: Code::NotListed,
                message: match pattern {
                    true => format!("feed `{}` lists nothing that fits `{text}` and the filters", spec.name),
                    false => format!("symbol `{text}` is not available on feed `{}`", spec.name),
                },
                places: symbol_places(whole, share, at),
                expected: Some(format!("one of the {} symbols that the venue lists", names.len())),
                nearest: nearest(text, names.iter().copied()).map(str::to_owned),
            });
        }
    }
    Ok((names.len(), found, findings))
}

/// Whether a name that is no listed symbol is the venue's name for some, as a market's is for its tokens: then the
/// feed wants those instead. What the venue does not know is wanted as it is written, or is an error.
async fn stands_for_another(spec: &FeedSpec, text: &str, context: &OpenContext) -> Result<bool> {
    let alone =
        FeedSpec { symbols: vec![text.to_owned()], filters: SymbolFilters::default(), ..spec.clone() };
    match ssmd_feeds::open(&alone, context)?.universe().await {
        Ok(wanted) => {
            let symbols = wanted.0.iter().filter_map(|topic| topic.symbol.as_ref());
            Ok(symbols.into_iter().any(|symbol| symbol.as_str() != text))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where an item of a feed's symbols may stand, in the forms that documents have.
fn symbol_places(spec: &FeedSpec, share: usize, at: usize) -> Vec<Place> {
    let feed = Place::of(&["spec", "feeds", spec.name.as_str()]);
    let feed = match &spec.shards {
        Some(ShardsSpec::Listed(listed)) if share < listed.len() => {
            feed.key("shards").item(share).key("symbols")
        }
        _ => feed.key("symbols"),
    };
    let alone = Place::of(&["spec", "symbols"]);
    [feed, alone]
        .into_iter()
        .flat_map(|list| {
            let items = [list.clone().item(at), list.key("names").item(at)];
            items.into_iter().flat_map(|item| [item.clone().key("name"), item])
        })
        .collect()
}

fn silent(spec: &FeedSpec, why: &str) -> Finding {
    let feed = ["spec", "feeds", spec.name.as_str()];
    Finding {
        code: Code::Unreachable,
        message: format!("feed `{}` cannot be asked what it lists: {why}", spec.name),
        places: vec![Place::of(&feed).key("rest"), Place::of(&feed), Place::of(&["spec", "feed"])],
        expected: Some("a REST address that answers".to_owned()),
        nearest: None,
    }
}

fn refused(spec: &FeedSpec, why: &str) -> Finding {
    let feed = Place::of(&["spec", "feeds", spec.name.as_str()]);
    Finding {
        code: Code::Refused,
        message: format!("feed `{}` is not let in with its keys: {why}", spec.name),
        places: vec![feed.clone().key("keys"), feed],
        expected: Some("keys that the venue takes".to_owned()),
        nearest: None,
    }
}

/// Whether an object can be made, read and removed, and is made only once.
async fn store(spec: StoreSpec, clock: Arc<dyn Clock>) -> Answer {
    let probed = in_store(&spec, |store| async move {
        let name = format!("ssmd-probe-{}-{}", std::process::id(), clock.now().nanos()).parse()?;
        let probed = round_trip(&*store, &name, &*clock).await;
        // Also after a failure: nothing of the probe stays.
        store.delete(&name).await.and(probed)
    });
    match probed.await {
        Ok(told) => (vec![format!("store {spec}: {told}")], Vec::new()),
        Err(error) => (Vec::new(), vec![unwritable(&spec, &in_a_line(&error))]),
    }
}

/// What keeps two archivers from committing under one number. That the store cannot be asked is told by its own probe.
async fn exclusion(environment: &Environment, spec: StoreSpec, clock: Arc<dyn Clock>) -> Answer {
    let creates = match &spec {
        // A folder makes an object once, wherever it is; it is not made for asking that.
        StoreSpec::File(_) => Ok(true),
        StoreSpec::S3(_) => {
            in_store(&spec, |store| async move { ssmd_storage::creates(&*store).await }).await
        }
    };
    let found = match creates {
        Ok(true) => Exclusion::Create,
        Ok(false) => match head(environment, &clock).await {
            Ok(Some(head)) => Exclusion::Head(head),
            Ok(None) => Exclusion::Lock,
            Err(error) => return (Vec::new(), vec![unexcluded(&in_a_line(&error))]),
        },
        Err(_) => return Answer::default(),
    };
    (vec![format!("archivers are kept apart by {found}")], Vec::new())
}

/// The head that archivers of the environment agree through, tried; `None` if nobody but this host has the log.
async fn head(environment: &Environment, clock: &Arc<dyn Clock>) -> Result<Option<Head>> {
    let Some(shared) = Shared::of(environment, "archiver", (clock, &Metrics::new()))? else {
        return Ok(None);
    };
    let Some(feed) = environment.feeds.first() else { return Ok(None) };
    let head = shared.head(&feed.name);
    head.check().await.map(|()| Some(head))
}

/// Does something with a store. The folder of one that was not there is removed again.
async fn in_store<T, F>(spec: &StoreSpec, work: impl FnOnce(Arc<dyn Store>) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let fresh: Vec<_> = match spec {
        StoreSpec::File(path) => Path::new(path)
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect(),
        StoreSpec::S3(_) => Vec::new(),
    };
    let done = async { work(ssmd_storage::open(spec, Path::new("."))?).await }.await;
    for folder in fresh {
        // A folder that somebody has used meanwhile is not empty, and stays.
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
    done
}

fn unexcluded(why: &str) -> Finding {
    Finding {
        code: Code::Unreachable,
        message: format!("nothing keeps archivers of several hosts apart: {why}"),
        places: vec![Place::of(&["spec", "journal", "nats"]), Place::of(&["spec", "jetstream"]), Place::of(&["spec"])],
        expected: Some(
            "a bucket of NATS KV that archivers may write, beside the journal, or a store that creates an object once"
                .to_owned(),
        ),
        nearest: None,
    }
}

/// Makes an object and reads it, and says how long that took and what the store promises.
async fn round_trip(store: &dyn Store, name: &ObjectPath, clock: &dyn Clock) -> Result<String> {
    let body = Bytes::from_static(b"whether this store can be written");
    let failed = |detail| Error::new(ErrorKind::Unsupported, "probe store").detail(detail);
    // A store finds out only at the first create whether it can; what that takes is no round trip.
    let create =
        async || store.put(name, body.clone(), PutMode::Create).await.map_err(|error| (error.kind(), error));
    let promise = match create().await {
        Ok(()) => match create().await {
            Err((ErrorKind::AlreadyExists, _)) => "is made only once",
            Err((_, error)) => return Err(error),
            Ok(()) => {
                return Err(failed(
                    "an object could be created twice: two archivers would overwrite one another",
                ));
            }
        },
        Err((ErrorKind::Unsupported, _)) => "is overwritten where it should only be made",
        Err((_, error)) => return Err(error),
    };
    let before = clock.elapsed();
    store.put(name, body.clone(), PutMode::Overwrite).await?;
    let read = store.get(name, None).await?;
    if read != body {
        return Err(failed("what was read is not what was written"));
    }
    let took = clock.elapsed().saturating_sub(before).as_secs_f64() * 1000.0;
    Ok(format!("an object {promise}; written and read in {took:.1} ms"))
}

fn unwritable(spec: &StoreSpec, why: &str) -> Finding {
    Finding {
        code: Code::NotWritable,
        message: format!("store `{spec}` cannot be written: {why}"),
        places: vec![
            Place::of(&["spec", "store"]),
            Place::of(&["spec", "storage", "raw"]),
            Place::of(&["spec"]),
        ],
        expected: Some(match spec {
            StoreSpec::File(_) => "a folder that this user may write".to_owned(),
            StoreSpec::S3(_) => {
                "a bucket that is there, and keys that may write, read, list and delete".to_owned()
            }
        }),
        nearest: None,
    }
}

/// Every secret that is here to be read, its place, and how it is called.
fn secrets(environment: &Environment) -> Vec<(&Secret, Place, String)> {
    let named = environment.secrets.iter().filter_map(|(name, spec)| match spec {
        SecretSpec::Here(secret) => {
            Some((secret, Place::of(&["spec", "secrets", name]), format!("spec.secrets.{name}")))
        }
        SecretSpec::Mounted { .. } => None,
    });
    let keys = environment.enabled().flat_map(|spec| {
        spec.keys.iter().filter(|(_, secret)| !matches!(secret, Secret::Mounted { .. })).map(
            |(key, secret)| {
                let place = Place::of(&["spec", "feeds", spec.name.as_str(), "keys", key]);
                (secret, place, format!("spec.feeds.{}.keys.{key}", spec.name))
            },
        )
    });
    let buckets = environment.storage.iter().flat_map(|storage| {
        [("raw", &storage.raw), ("normalized", &storage.normalized)]
            .into_iter()
            .filter_map(|(kind, bucket)| Some((kind, bucket.as_ref()?)))
            .flat_map(|(kind, bucket)| bucket.keys.iter().map(move |(key, secret)| (kind, key, secret)))
            .filter(|(_, _, secret)| !matches!(secret, Secret::Mounted { .. }))
            .map(|(kind, key, secret)| {
                let place = Place::of(&["spec", "storage", kind, "keys", key]);
                (secret, place, format!("spec.storage.{kind}.keys.{key}"))
            })
    });
    named.chain(keys).chain(buckets).collect()
}

fn is_there(secret: &Secret) -> bool {
    resolved(secret).is_ok()
}

fn readable(secret: &Secret, place: &Place, shown: &str) -> Answer {
    match resolved(secret) {
        Ok(_) => (vec![format!("secret {shown} is there: {secret}")], Vec::new()),
        Err(error) => (Vec::new(), vec![unreadable(place, shown, secret, &in_a_line(&error))]),
    }
}

/// An error with its causes and what to do.
fn in_a_line(error: &Error) -> String {
    error.report().lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn unreadable(place: &Place, shown: &str, secret: &Secret, why: &str) -> Finding {
    let part = match secret {
        Secret::Env(_) => "env",
        Secret::File(_) => "file",
        Secret::Mounted { .. } => "secret",
    };
    Finding {
        code: Code::Unreadable,
        message: format!("secret `{shown}` cannot be read: {why}"),
        places: vec![place.clone().key(part), place.clone()],
        expected: Some("a secret that is there".to_owned()),
        nearest: None,
    }
}
