//! The cache in Redis keeps every promise of its trait, against the real server; and what only Redis can do to it.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../support/certificate.rs"]
mod certificate;
mod project;
#[path = "../support/promises.rs"]
mod promises;
mod rig;
#[path = "../support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::{self, Verdict};
use ssmd_core::{Cache, Error, ErrorKind, Expect, Result, Versioned};
use ssmd_transport::login::Login;
use ssmd_transport::redis::{RedisCache, VALUE_BYTES_MAX};

use rig::{Redis, ask, cache, connect, put, value};

/// Each case has an empty server of its own.
#[derive(Default)]
struct InRedis {
    server: Option<Redis>,
}

/// How many seconds of the server are one of a case. A crowded machine may take seconds between two calls, and a case
/// looks at a value one second before its end.
const SECONDS: u32 = 1000;

/// The cache, with all times to live as much longer.
struct Slow(RedisCache);

#[async_trait]
impl Cache for Slow {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.0.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        self.0.put(key, value, expect, ttl.map(|ttl| ttl * SECONDS)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.0.delete(key).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        self.0.scan(prefix).await
    }
}

/// Moves the end of every time to live nearer.
const PASS: &str = "for _, key in ipairs(redis.call('KEYS', '*')) do \
                        local left = redis.call('PTTL', key) \
                        if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end \
                    end \
                    return 'OK'";

#[async_trait]
impl conformance::cache::Harness for InRedis {
    async fn open(&mut self) -> Result<Arc<dyn Cache>> {
        let Some(server) = Redis::start(&[]) else {
            // Said aloud by the server that is missed, and a failure in CI.
            return Ok(Arc::new(ssmd_transport::memory::MemoryCache::new(rig::clock())));
        };
        let cache = cache(&server);
        self.server = Some(server);
        Ok(Arc::new(Slow(cache)))
    }

    async fn pass(&mut self, time: Duration) -> Result<bool> {
        let Some(server) = &self.server else { return Ok(false) };
        let milliseconds = (time * SECONDS).as_millis().to_string();
        assert_eq!(ask(server, &["EVAL", PASS, "0", &milliseconds]).await, "OK");
        Ok(true)
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Cache>>> {
        Ok(self.server.as_ref().map(|server| Arc::new(cache(server)) as Arc<dyn Cache>))
    }
}

ssmd_core::cache_conformance!(cache, async { InRedis::default() }, |promise: &str, verdict: &Verdict| {
    if !server::is_missing() {
        promises::of("cache", conformance::cache::PROMISES, "Redis")(promise, verdict);
    }
});

#[tokio::test]
async fn versions_do_not_come_twice_after_everything_was_flushed_or_the_server_crashed() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let cache = cache(&server);
    let mut last = 0;
    for round in 0..3 {
        for _ in 0..100 {
            let version = put(&cache, "key", "x", Expect::Any).await.unwrap();
            assert!(version > last, "{version} came after {last} in round {round}");
            last = version;
        }
        match round {
            0 => drop(ask(&server, &["FLUSHALL"]).await),
            _ => server = server.crash(),
        }
        assert_eq!(wait_for(&cache).await, None);
        let stale = put(&cache, "key", "stale", Expect::Version(last)).await;
        assert_eq!(stale.unwrap_err().kind(), ErrorKind::Conflict);
    }
}

/// The value, as soon as the server can be reached.
async fn wait_for(cache: &RedisCache) -> Option<String> {
    loop {
        match value(cache, "key").await {
            Ok(value) => return value,
            Err(error) => assert!(error.kind().is_transient(), "{error:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_found_again_when_it_is_back() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = cache(&server);
    put(&cache, "key", "x", Expect::Any).await.unwrap();
    let away = server.stop();
    // The first call finds the connection broken, the second finds nobody to connect to.
    for kinds in [&[ErrorKind::Unavailable, ErrorKind::Timeout][..], &[ErrorKind::Unavailable]] {
        let refused = put(&cache, "key", "y", Expect::Any).await.unwrap_err();
        assert!(kinds.contains(&refused.kind()), "{refused:?}");
    }
    assert_eq!(cache.get("key").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(cache.scan("").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let _server = away.start();
    put(&cache, "key", "z", Expect::Absent).await.unwrap();
    assert_eq!(value(&cache, "key").await.unwrap().as_deref(), Some("z"));
}

#[tokio::test]
async fn a_full_server_refuses_puts_as_full_and_keeps_what_it_has() {
    let Some(server) = Redis::start(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let cache = cache(&server);
    let large = Bytes::from(vec![b'x'; 256 * 1024]);
    let mut kept = 0;
    let full = loop {
        match cache.put(&format!("key.{kept}"), large.clone(), Expect::Any, None).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "4 MB hold {kept} values of 256 KiB");
    };
    assert_eq!(full.kind(), ErrorKind::Full, "{full:?}");
    assert_eq!(cache.scan("key.").await.unwrap().len(), kept);
    cache.delete("key.0").await.unwrap();
    cache.delete("key.1").await.unwrap();
    put(&cache, "key.0", "small", Expect::Absent).await.unwrap();
}

#[tokio::test]
async fn many_puts_at_once_are_each_checked_and_answered() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = Arc::new(cache(&server));
    put(&cache, "key.7", "there", Expect::Any).await.unwrap();
    let mut puts = tokio::task::JoinSet::new();
    for at in 0..5000 {
        let cache = Arc::clone(&cache);
        puts.spawn(async move { (at, put(&cache, &format!("key.{at}"), "new", Expect::Absent).await) });
    }
    let mut refused = Vec::new();
    while let Some(joined) = puts.join_next().await {
        if let (at, Err(error)) = joined.unwrap() {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!(error.context("key"), Some("key.7"));
            refused.push(at);
        }
    }
    assert_eq!(refused, [7]);
    let found = cache.scan("key.").await.unwrap();
    let versions: std::collections::BTreeSet<_> = found.iter().map(|(_, found)| found.version).collect();
    assert_eq!((found.len(), versions.len()), (5000, 5000));
}

#[tokio::test]
async fn puts_of_one_key_are_written_in_the_order_in_which_they_were_made() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = cache(&server);
    for round in 0..5 {
        // More than one script, and a server that knows none.
        ask(&server, &["SCRIPT", "FLUSH"]).await;
        let puts = (0..1000).map(|n| {
            let (cache, value) = (&cache, Bytes::from(format!("{round}-{n}")));
            async move { cache.put(&format!("key.{}", n % 200), value, Expect::Any, None).await.unwrap() }
        });
        // Unconstrained, they begin in their order; else the runtime makes some of them begin anew, the last one first.
        let versions = tokio::task::unconstrained(futures_util::future::join_all(puts)).await;
        for (before, after) in versions.iter().zip(&versions[200..]) {
            assert!(before < after, "{before} {after}");
        }
        for key in 0..200 {
            let last = value(&cache, &format!("key.{key}")).await.unwrap();
            assert_eq!(last, Some(format!("{round}-{}", 800 + key)));
        }
    }
}

#[tokio::test]
async fn times_to_live_are_those_of_their_own_keys() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = cache(&server);
    for round in 0..2 {
        let puts = (0..300).map(|n| {
            let (cache, ttl) = (&cache, (n % 3 == round).then(|| Duration::from_secs(1000 + n)));
            async move { cache.put(&format!("{n}"), Bytes::new(), Expect::Any, ttl).await.unwrap() }
        });
        futures_util::future::join_all(puts).await;
        for n in 0..300 {
            let left: i64 = ask(&server, &["TTL", &format!("ssmd:test:{n}")]).await.parse().unwrap();
            let fits = if n % 3 == round { left > 900 && left <= 1000 + n as i64 } else { left == -1 };
            assert!(fits, "{n}: {left}");
        }
    }
}

#[tokio::test]
async fn a_cluster_of_shards_is_refused_and_nothing_is_written() {
    let bus = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()];
    let Some(server) = Redis::start(&cluster) else { return };
    ask(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let refused = put(&cache(&server), "key", "x", Expect::Any).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused:?}");
    assert_eq!(ask(&server, &["DBSIZE"]).await, "0");
}

#[tokio::test]
async fn what_others_keep_in_the_server_is_left_alone() {
    let Some(server) = Redis::start(&[]) else { return };
    let (ours, other) = (cache(&server), connect(&server, None, None, "other"));
    put(&other, "key", "theirs", Expect::Any).await.unwrap();
    ask(&server, &["SET", "ssmd:test:text", "no hash"]).await;
    put(&ours, "key", "ours", Expect::Absent).await.unwrap();
    assert_eq!(value(&other, "key").await.unwrap().as_deref(), Some("theirs"));
    let wrong = put(&ours, "text", "x", Expect::Absent).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Corrupt, "{wrong:?}");
    assert_eq!(ours.get("text").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(ask(&server, &["GET", "ssmd:test:text"]).await, "no hash");
    assert_eq!(ask(&server, &["HGET", "ssmd:test:key", "value"]).await, "ours");
}

#[tokio::test]
async fn a_user_of_the_acl_gets_what_the_acl_says() {
    // No more than what docs/formats/cache.md names.
    let commands = "+evalsha +script|load +get +set +time +hget +hset +hmget +pexpire +persist +unlink +scan +ping +info";
    let user = format!("user market on >s3:cret ~ssmd:test:* ~ssmd:test~version -@all {commands}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{user}\nuser default off\n")).unwrap();
    let Some(server) = Redis::start(&["--aclfile", file.path().to_str().unwrap()]) else { return };
    let with = |secret: Option<&str>| connect(&server, secret.map(Login::parse), None, "ssmd:test");
    let ours = with(Some("market:s3:cret"));
    let version = put(&ours, "key", "x", Expect::Absent).await.unwrap();
    let ttl = Some(Duration::from_secs(60));
    ours.put("key", Bytes::from_static(b"y"), Expect::Version(version), ttl).await.unwrap();
    assert_eq!(ours.scan("").await.unwrap().len(), 1);
    ours.delete("key").await.unwrap();
    put(&ours, "key", "x", Expect::Absent).await.unwrap();
    assert_eq!(ours.server().await.unwrap().version.split('.').count(), 3);
    let denied = |result: Result<Option<String>>| {
        let error: Error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(!error.report().contains("cret"), "{}", error.report());
    };
    for secret in [Some("market:wr0ng"), Some("nobody:s3:cret"), None] {
        denied(value(&with(secret), "key").await);
    }
    let elsewhere = connect(&server, Some(Login::parse("market:s3:cret")), None, "other");
    denied(value(&elsewhere, "key").await);
    denied(put(&elsewhere, "key", "x", Expect::Any).await.map(|_| None));
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = cache(&server);
    let large = Bytes::from(vec![0; VALUE_BYTES_MAX]);
    cache.put("key", large.clone(), Expect::Any, None).await.unwrap();
    assert_eq!(cache.get("key").await.unwrap().unwrap().value, large);
    let larger = Bytes::from(vec![0; VALUE_BYTES_MAX + 1]);
    let refused = cache.put("key", larger, Expect::Any, None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let name = "k".repeat(2000);
    assert_eq!(cache.get(&name).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn tls_reaches_the_server_whose_certificate_is_trusted_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ca = certificate::write(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca_file, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let tls = ["--tls-ca-cert-file", &ca_file, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let on = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    let Some(server) = Redis::start(&[tls, on].concat()) else { return };
    let ours = connect(&server, None, Some(ca), "ssmd:test");
    // On a crowded machine a handshake may come too late.
    while let Err(error) = put(&ours, "key", "x", Expect::Any).await {
        assert!(error.kind().is_transient(), "{error:?}");
    }
    assert_eq!(value(&ours, "key").await.unwrap().as_deref(), Some("x"));
    let other = certificate::write(tempfile::tempdir().unwrap().path());
    let distrusting = connect(&server, None, Some(other), "ssmd:test");
    assert!(value(&distrusting, "key").await.is_err());
    // And nobody gets in without TLS.
    assert!(value(&cache(&server), "key").await.is_err());
}
