//! What our backends take of what their clients can do, through real servers that each row starts: the bare client's
//! loop, and ours, in turns.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions as Bare};
use ssmd_core::{Cache, Error, ErrorKind, Expect, Message, Result, Subject, Transport};
use ssmd_transport::mqtt::{MqttOptions, MqttTransport, Quality};
use ssmd_transport::redis::{RedisCache, RedisOptions};

use super::figure::{Figure, median};
use super::ground::Ground;
use super::restart::Program;

/// How long a server may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// What a record is, about.
pub(super) const PAYLOAD_BYTES: usize = 300;
/// How often each loop runs.
pub(super) const ROUNDS: usize = 5;

/// Keys of a round, as many as a busy venue's.
const KEYS: usize = 50_000;
/// Keys that wait for an answer at once.
const KEYS_AT_ONCE: usize = 512;
/// Keys a second that are written with the version check.
const KEYS_PER_SECOND: f64 = 100_000.0;

/// Messages of a round.
const MESSAGES: usize = 50_000;
/// Messages of one publish, as the publisher gathers them.
const MESSAGES_AT_ONCE: usize = 256;
/// What ours must reach of the bare client, in percent.
pub(super) const SHARE: f64 = 80.0;

/// Keys written to Redis, each if it has the version that is expected; beside it what the bare client writes in
/// pipelines of the same length, unchecked.
pub(super) async fn redis(ground: &Ground) -> Result<Vec<Figure>> {
    let Some((_server, port)) = server(ground, "redis-server", |port| {
        ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()].map(String::from).to_vec()
    })
    .await?
    else {
        return Ok(Vec::new());
    };
    let url = format!("redis://127.0.0.1:{port}");
    let options =
        RedisOptions { url: url.clone(), login: None, ca: None, identity: None, clock: ground.clock() };
    let cache = RedisCache::new(options, "ssmd:bench")?;
    let value = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let names: Vec<_> = (0..KEYS).map(|at| format!("kraken.ticker.S{at:05}")).collect();
    let mut versions = vec![None; KEYS];
    write(&cache, &names, &value, &mut versions).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(rate(ground, KEYS, write_bare(&url, &names, &value)).await?);
        ours.push(rate(ground, KEYS, write(&cache, &names, &value, &mut versions)).await?);
    }
    let figure = Figure::least("redis_checked_puts", median(&mut ours), KEYS_PER_SECOND, "keys/s");
    Ok(vec![figure.beside("bare_unchecked", median(&mut bare))])
}

async fn write(
    cache: &RedisCache,
    names: &[String],
    value: &Bytes,
    versions: &mut [Option<u64>],
) -> Result<()> {
    for (names, versions) in names.chunks(KEYS_AT_ONCE).zip(versions.chunks_mut(KEYS_AT_ONCE)) {
        let puts = names.iter().zip(&*versions).map(|(name, version)| {
            cache.put(name, value.clone(), version.map_or(Expect::Absent, Expect::Version), None)
        });
        let written = try_join_all(puts).await?;
        versions.iter_mut().zip(written).for_each(|(version, new)| *version = Some(new));
    }
    Ok(())
}

async fn write_bare(url: &str, names: &[String], value: &Bytes) -> Result<()> {
    let failed = |cause| Error::new(ErrorKind::Unavailable, "bench redis").because(cause);
    let client = redis::Client::open(url).map_err(failed)?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(failed)?;
    for names in names.chunks(KEYS_AT_ONCE) {
        let mut pipe = redis::pipe();
        for name in names {
            pipe.cmd("HSET").arg(name).arg("version").arg(1).arg("value").arg(&value[..]).ignore();
        }
        pipe.query_async::<()>(&mut connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Messages published with QoS 1 until the broker has acknowledged the last one.
pub(super) async fn mqtt(ground: &Ground) -> Result<Vec<Figure>> {
    let folder = ground.fresh("mqtt")?;
    let config = folder.join("mosquitto.conf");
    let Some((_server, port)) = server(ground, "mosquitto", |port| {
        // It cannot be written where nothing can be measured either.
        let _ =
            std::fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"));
        vec!["-c".to_owned(), config.display().to_string()]
    })
    .await?
    else {
        return Ok(Vec::new());
    };
    let url = format!("mqtt://127.0.0.1:{port}");
    let options = MqttOptions { quality: Quality::AtLeastOnce, ..MqttOptions::new(&url, ground.clock()) };
    let transport = MqttTransport::new(options)?;
    transport.ready().await?;
    let subject: Subject = "bench.kraken.json.ticker.BTC~2FUSD".parse()?;
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let message = Message { subject, headers: Vec::new(), payload };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(rate(ground, MESSAGES, publish_bare(port, &message)).await?);
        ours.push(rate(ground, MESSAGES, publish(&transport, &message)).await?);
    }
    let (ours, bare) = (median(&mut ours), median(&mut bare));
    let figure = Figure::least("mqtt_qos_1_publish", 100.0 * ours / bare.max(1.0), SHARE, "% of bare");
    Ok(vec![figure.beside("messages_per_second", ours).beside("bare_messages_per_second", bare)])
}

async fn publish(transport: &MqttTransport, message: &Message) -> Result<()> {
    for _ in 0..MESSAGES / MESSAGES_AT_ONCE {
        transport.publish(vec![message.clone(); MESSAGES_AT_ONCE]).await?;
    }
    transport.publish(vec![message.clone(); MESSAGES % MESSAGES_AT_ONCE]).await?;
    transport.flush().await
}

async fn publish_bare(port: u16, message: &Message) -> Result<()> {
    let failed = || Error::new(ErrorKind::Unavailable, "bench mqtt");
    let (client, mut events) = AsyncClient::new(Bare::new("bare", "127.0.0.1", port), 1024);
    let topic = message.subject.as_str().replace('.', "/");
    let sending = async {
        for _ in 0..MESSAGES {
            let sent =
                client.publish_bytes(topic.as_str(), QoS::AtLeastOnce, false, message.payload.clone()).await;
            sent.map_err(|cause| failed().because(cause))?;
        }
        Ok(())
    };
    let acknowledged = async {
        let mut count = 0;
        while count < MESSAGES {
            let event = events.poll().await.map_err(|cause| failed().because(cause))?;
            count += usize::from(matches!(event, Event::Incoming(Packet::PubAck(_))));
        }
        Ok(())
    };
    futures_util::future::try_join(sending, acknowledged).await.map(drop)
}

/// How many a second.
pub(super) async fn rate(
    ground: &Ground,
    count: usize,
    load: impl Future<Output = Result<()>>,
) -> Result<f64> {
    let began = ground.clock().elapsed();
    load.await?;
    Ok(count as f64 / (ground.clock().elapsed() - began).as_secs_f64())
}

/// A program that `scripts/install-test-tools` puts there, else what the search path has of that name.
pub(super) fn tool(path: &str) -> String {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("ssmd-test-tools").join(path)).filter(|path| path.is_file());
    installed
        .map_or_else(|| path.rsplit('/').next().unwrap_or(path).to_owned(), |path| path.display().to_string())
}

/// A server on a free port, once it listens. Without the program nothing is measured, and that is said.
pub(super) async fn server(
    ground: &Ground,
    program: &str,
    arguments: impl FnOnce(u16) -> Vec<String>,
) -> Result<Option<(Program, u16)>> {
    let failed = |cause| Error::io("find a free port", cause);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    drop(listener);
    match again(ground, program, port, arguments(port)).await {
        Ok(server) => Ok(Some((server, port))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            tracing::warn!(program, "not measured: the server is not here (scripts/install-test-tools)");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A server on this port, once it listens.
///
/// # Errors
/// `NotFound` if there is no such program, `Timeout` if it does not listen.
pub(super) async fn again(
    ground: &Ground,
    program: &str,
    port: u16,
    arguments: Vec<String>,
) -> Result<Program> {
    let server = Program::start(Command::new(program).args(arguments).current_dir(ground.folder()))?;
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    ground.until("start server", READY_WITHIN, listens).await?;
    Ok(server)
}
