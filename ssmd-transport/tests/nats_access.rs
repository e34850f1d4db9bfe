//! Who may do what at a real nats-server: passwords, tokens, nkeys, certificates, and the permissions in `deploy/nats`.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test file uses its part of it")]
mod server;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod support;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use server::Server;
use ssmd_core::environment::SecretText;
use ssmd_core::{
    Cache, Delivery, EnvironmentName, ErrorKind, Expect, FeedName, Journal, Message, Origin, Result, Start,
    SystemClock, Transport,
};
use ssmd_transport::nats::{
    self, Auth, BrokerOptions, CacheSpec, Connection, JournalSpec, NatsBroker, Options, Storage, StreamSpec,
    Tls,
};
use support::{entry, in_time};
use tokio::sync::mpsc;

const CANARY: &str = "canary-7f3a";
const SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";

fn secret(text: &str) -> SecretText {
    SecretText::from(text.to_owned())
}

async fn connect(options: &Options) -> Result<Connection> {
    nats::connect(options, Arc::new(SystemClock::new())).await
}

/// The right secret is let in; none and a wrong one are denied, and no error holds it.
async fn only(server: &Server, right: Auth, wrong: Auth) {
    let with = |auth| Options { auth, ..Options::new(server.url()) };
    connect(&with(right)).await.unwrap().journal(&journal("dev")).await.unwrap();
    for auth in [Auth::None, wrong] {
        let error = connect(&with(auth)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
        assert!(!error.report().contains("canary"), "{}", error.report());
    }
}

#[tokio::test]
async fn passwords_and_tokens_and_nkeys_are_shown() {
    let password = |password: &str| Auth::Password { user: "me".into(), password: secret(password) };
    let Some(server) = Server::start(&format!("authorization {{ user: me, password: {CANARY:?} }}")) else {
        return;
    };
    only(&server, password(CANARY), password("canary-wrong")).await;
    let server = Server::start(&format!("authorization {{ token: {CANARY:?} }}")).unwrap();
    only(&server, Auth::Token(secret(CANARY)), Auth::Token(secret("canary-wrong"))).await;
    let key = nkeys::KeyPair::from_seed(SEED).unwrap().public_key();
    let server = Server::start(&format!("authorization {{ users: [{{ nkey: {key} }}] }}")).unwrap();
    let other = nkeys::KeyPair::new_user().seed().unwrap();
    only(&server, Auth::of(&secret(SEED)), Auth::of(&secret(&other))).await;
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate of this authority and its key.
fn certify(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    dir: &Path,
    file: &str,
) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let paths = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

#[tokio::test]
async fn both_sides_show_certificates_and_new_ones_are_read_for_the_next_connection() {
    let dir = support::tempdir();
    let (ours, others) = (authority(), authority());
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, ours.pem()).unwrap();
    let (cert, key) = certify(&ours, "localhost", dir.path(), "server");
    let tls = format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}");
    let Some(server) = Server::start(&tls) else { return };
    let url = format!("tls://localhost:{}", server.port());
    let identity = certify(&ours, "connector", dir.path(), "client");
    let with = |authorities: Option<&PathBuf>, identity: Option<&(PathBuf, PathBuf)>| Options {
        tls: Tls { required: true, authorities: authorities.cloned(), identity: identity.cloned() },
        ..Options::new(url.clone())
    };
    connect(&with(Some(&ca), Some(&identity))).await.unwrap();
    for (refused, why) in [
        (with(None, Some(&identity)), "nobody vouches for the server"),
        (with(Some(&ca), None), "no certificate is shown"),
    ] {
        assert!(connect(&refused).await.is_err(), "{why}");
    }
    // The same file, first with a certificate of somebody else, then renewed.
    certify(&others, "connector", dir.path(), "client");
    assert!(
        connect(&with(Some(&ca), Some(&identity))).await.is_err(),
        "an authority that the server does not know"
    );
    certify(&ours, "connector", dir.path(), "client");
    connect(&with(Some(&ca), Some(&identity))).await.unwrap();
    // A server whose certificate is for another name.
    let (cert, key) = certify(&ours, "elsewhere.example", dir.path(), "wrong");
    let wrong = Server::start(&format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}")).unwrap();
    let options = Options { url: format!("tls://localhost:{}", wrong.port()), ..with(Some(&ca), None) };
    assert!(connect(&options).await.is_err(), "a certificate for another name");
    // No TLS at all.
    let plain = Server::start("").unwrap();
    let options = Options { url: plain.url(), ..with(Some(&ca), None) };
    assert!(connect(&options).await.is_err(), "a server without TLS");
}

fn journal(environment: &str) -> JournalSpec {
    let environment = EnvironmentName::new(environment).unwrap();
    let stream = StreamSpec::of(&environment);
    JournalSpec { environment, feed: FeedName::new("kraken").unwrap(), stream }
}

const SERVICES: [&str; 4] = ["connector", "archiver", "listener", "cache"];

fn shipped() -> Option<Server> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats/permissions.conf");
    let passwords = SERVICES.map(|name| format!("SSMD_NATS_{}: {name:?}\n", name.to_uppercase())).concat();
    Server::start(&format!("{passwords}{}", std::fs::read_to_string(file).unwrap()))
}

async fn service(server: &Server, name: &str) -> Connection {
    let auth = Auth::Password { user: name.into(), password: secret(name) };
    connect(&Options { name: name.into(), auth, ..Options::new(server.url()) }).await.unwrap()
}

#[tokio::test]
async fn each_service_can_do_its_work_with_the_shipped_permissions() {
    let Some(server) = shipped() else { return };
    let connector = service(&server, "connector").await;
    let bucket = CacheSpec { bucket: "ssmd-prod".into(), replicas: 1, storage: Storage::File };
    let origin = Origin::from_bytes([1; 16]);
    let log = connector.journal(&journal("prod")).await.unwrap();
    let batch: Vec<_> = (1..=3).map(|n| entry(origin, n)).collect();
    in_time(log.append(batch.clone()).await.unwrap()).await.unwrap();
    let cache = connector.cache(&bucket).await.unwrap();
    cache.put("a.b", Bytes::from_static(b"x"), Expect::Absent, None).await.unwrap();

    let archiver = service(&server, "archiver").await.journal(&journal("prod")).await.unwrap();
    let mut entries = archiver.read(Start::Oldest).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 3 {
        read.extend(in_time(entries.next(NonZeroUsize::MAX)).await.unwrap());
    }
    assert_eq!(read, batch);

    let listener = service(&server, "listener").await;
    let heard = listener.transport();
    let mut heard = heard.subscribe(&"prod.*.json.>".parse().unwrap()).await.unwrap();
    let subject = "prod.kraken.json.trade.BTC~2FUSD".parse().unwrap();
    let message = Message { subject, headers: Vec::new(), payload: Bytes::from_static(b"{}") };
    // As programs do it: with the stream that keeps records.
    let auth = Auth::Password { user: "connector".into(), password: secret("connector") };
    let broker = NatsBroker::new(BrokerOptions {
        server: Options { name: "connector".into(), auth, ..Options::new(server.url()) },
        stream: Some(StreamSpec::of_records(&EnvironmentName::new("prod").unwrap(), "ssmd-prod-records")),
        retained: |_| true,
        clock: Arc::new(SystemClock::new()),
    });
    broker.publish(vec![message.clone()]).await.unwrap();
    assert_eq!(in_time(heard.next()).await.unwrap(), Delivery::Message(message));
    broker.flush().await.unwrap();
    let (client, _told) = violations(&server, "listener").await;
    let kept = async_nats::jetstream::new(client).get_stream("ssmd-prod-records").await.unwrap();
    assert_eq!(kept.cached_info().state.messages, 1);
    let late = async_nats::jetstream::consumer::pull::Config::default();
    let late = kept.create_consumer(late).await.unwrap();
    let mut replayed = late.fetch().max_messages(1).messages().await.unwrap();
    assert_eq!(in_time(replayed.next()).await.unwrap().unwrap().payload, Bytes::from_static(b"{}"));
    let found = listener.cache(&bucket).await.unwrap().scan("a").await.unwrap();
    assert_eq!(found.len(), 1);

    // `ssmd-cache`: the logs from their beginning, and the latest values.
    let keeper = service(&server, "cache").await;
    let bucket = keeper.cache(&bucket).await.unwrap();
    bucket.put("kraken.ticker.X", Bytes::from_static(b"x"), Expect::Absent, None).await.unwrap();
    let mut entries = keeper.journal(&journal("prod")).await.unwrap().read(Start::Oldest).await.unwrap();
    assert_eq!(in_time(entries.next(NonZeroUsize::MIN)).await.unwrap(), batch[..1]);
}

/// What the server refuses, in its words.
async fn violations(server: &Server, name: &str) -> (async_nats::Client, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel(1000);
    let options = async_nats::ConnectOptions::with_user_and_password(name.into(), name.into());
    let options = options.custom_inbox_prefix(format!("_INBOX.{name}")).event_callback(move |event| {
        if let async_nats::Event::ServerError(error) = event {
            tell.try_send(error.to_string().to_lowercase()).unwrap();
        }
        std::future::ready(())
    });
    (options.connect(server.url()).await.unwrap(), told)
}

/// Who may publish where, of the connector, the archiver, the listener and the cache.
const PUBLISH: [(&str, [bool; 4]); 40] = [
    ("prod.kraken.log.a", [true, false, false, false]),
    ("prod.kraken.json.trade.X", [true, false, false, false]),
    ("prod.kalshi.economics.capnp.trade.X", [true, false, false, false]),
    ("dev.kraken.log.a", [false, false, false, false]),
    ("dev.kraken.json.trade.X", [false, false, false, false]),
    ("$KV.ssmd-prod.a", [true, false, false, false]),
    ("$KV.ssmd-prod.kraken.ticker.X", [true, false, false, true]),
    ("$JS.API.STREAM.CREATE.KV_ssmd-prod", [true, false, false, true]),
    ("$KV.other.a", [false, false, false, false]),
    ("$JS.API.INFO", [true, false, false, false]),
    ("$JS.API.STREAM.INFO.ssmd-prod", [true, true, false, true]),
    ("$KV.ssmd-prod.prod.kraken.covered.o", [true, true, false, false]),
    ("$KV.ssmd-prod.prod.kraken.other.o", [true, false, false, false]),
    ("$JS.API.STREAM.INFO.KV_ssmd-prod", [true, true, true, true]),
    ("$JS.API.STREAM.CREATE.ssmd-prod", [true, false, false, false]),
    ("$JS.API.STREAM.CREATE.other", [false, false, false, false]),
    ("$JS.API.STREAM.CREATE.ssmd-prod-records", [true, false, false, false]),
    ("$JS.API.STREAM.UPDATE.ssmd-prod-records", [true, false, false, false]),
    ("$JS.API.STREAM.INFO.ssmd-prod-records", [true, false, true, false]),
    ("$JS.API.STREAM.DELETE.ssmd-prod-records", [false, false, false, false]),
    ("$JS.API.CONSUMER.CREATE.ssmd-prod-records", [false, false, true, false]),
    ("$JS.API.CONSUMER.MSG.NEXT.ssmd-prod-records.c", [false, false, true, false]),
    ("$JS.API.STREAM.UPDATE.ssmd-prod", [true, false, false, false]),
    ("$JS.API.STREAM.DELETE.ssmd-prod", [false, false, false, false]),
    ("$JS.API.STREAM.PURGE.ssmd-prod", [false, false, false, false]),
    ("$JS.API.STREAM.MSG.DELETE.ssmd-prod", [false, false, false, false]),
    ("$JS.API.STREAM.MSG.GET.ssmd-prod", [true, true, false, true]),
    ("$JS.API.STREAM.NAMES", [false, false, false, false]),
    ("$JS.API.STREAM.LIST", [false, false, false, false]),
    ("$JS.API.STREAM.SNAPSHOT.ssmd-prod", [false, false, false, false]),
    ("$JS.API.STREAM.RESTORE.ssmd-prod", [false, false, false, false]),
    ("$JS.API.CONSUMER.CREATE.ssmd-prod", [true, true, false, true]),
    ("$JS.API.CONSUMER.DURABLE.CREATE.ssmd-prod.c", [false, false, false, false]),
    ("$JS.API.CONSUMER.DELETE.ssmd-prod.c", [false, false, false, false]),
    ("$JS.API.CONSUMER.MSG.NEXT.ssmd-prod.c", [true, true, false, true]),
    ("$JS.API.ACCOUNT.PURGE.A", [false, false, false, false]),
    ("$JS.API.META.LEADER.STEPDOWN", [false, false, false, false]),
    ("$SYS.REQ.SERVER.PING", [false, false, false, false]),
    ("_INBOX.connector.x", [true, false, false, false]),
    ("_INBOX.archiver.x", [false, true, false, false]),
];
/// Who may listen where.
const SUBSCRIBE: [(&str, [bool; 4]); 8] = [
    (">", [false, false, false, false]),
    ("prod.>", [false, false, false, false]),
    ("prod.kraken.log.*", [false, false, false, false]),
    ("prod.*.json.>", [false, false, true, true]),
    ("dev.*.json.>", [false, false, false, false]),
    ("_INBOX.>", [false, false, false, false]),
    ("$JS.API.>", [false, false, false, false]),
    ("$KV.ssmd-prod.>", [false, false, false, false]),
];

#[tokio::test]
async fn nothing_but_what_is_listed_is_allowed() {
    let Some(server) = shipped() else { return };
    let mut wrong = Vec::new();
    for (at, name) in SERVICES.into_iter().enumerate() {
        let (client, mut told) = violations(&server, name).await;
        let mut check = async |verb: &str, subject: &str, must: bool| {
            // What is surely refused comes behind it: what the server says up to there is about the subject.
            client.publish("the.end", "".into()).await.unwrap();
            let mut allowed = true;
            loop {
                let said = in_time(told.recv()).await.unwrap();
                if said.contains("the.end") {
                    break;
                }
                allowed = false;
            }
            if allowed != must {
                wrong.push(format!("{name} {verb} {subject}: {allowed}"));
            }
        };
        for (subject, must) in PUBLISH {
            client.publish(subject, "".into()).await.unwrap();
            check("publish", subject, must[at]).await;
        }
        for (subject, must) in SUBSCRIBE {
            let mut heard = client.subscribe(subject).await.unwrap();
            check("subscribe", subject, must[at]).await;
            heard.unsubscribe().await.unwrap();
            while heard.next().await.is_some() {}
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
