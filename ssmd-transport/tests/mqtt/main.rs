//! The transport through an MQTT broker keeps every promise of its trait, against the real mosquitto; and what only a
//! broker can do to it.

#![cfg(feature = "mqtt")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../support/certificate.rs"]
mod certificate;
#[path = "../support/promises.rs"]
mod promises;
mod rig;
#[path = "../support/server.rs"]
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use ssmd_core::conformance::{self, Verdict};
use ssmd_core::{Delivery, ErrorKind, Message, Result, Subscription, Transport};
use ssmd_transport::login::Login;
use ssmd_transport::mqtt::{MqttOptions, MqttTransport, Quality, SUBSCRIPTIONS_MAX};

use rig::{Broker, heard, listen, message, open, options};

/// Few enough to be overflowed at once.
const QUEUE_MESSAGES: usize = 1000;

struct InMqtt {
    quality: Quality,
    broker: Option<Broker>,
    transport: Option<Arc<MqttTransport>>,
}

impl InMqtt {
    fn new(quality: Quality) -> Self {
        Self { quality, broker: None, transport: None }
    }

    async fn connect(&self) -> Result<Option<Arc<MqttTransport>>> {
        let Some(broker) = &self.broker else { return Ok(None) };
        let options =
            MqttOptions { quality: self.quality, queue_messages_max: QUEUE_MESSAGES, ..options(broker) };
        let transport = Arc::new(MqttTransport::new(options)?);
        transport.ready().await?;
        Ok(Some(transport))
    }
}

#[async_trait]
impl conformance::transport::Harness for InMqtt {
    async fn open(&mut self) -> Result<Arc<dyn Transport>> {
        self.broker = Broker::start(&[]);
        self.transport = self.connect().await?;
        Ok(match &self.transport {
            Some(transport) => Arc::clone(transport) as Arc<dyn Transport>,
            // Said aloud by the broker that is missed, and a failure in CI.
            None => Arc::new(ssmd_transport::memory::MemoryTransport::new()),
        })
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Transport>>> {
        Ok(self.connect().await?.map(|transport| transport as Arc<dyn Transport>))
    }

    fn listeners(&self) -> Option<usize> {
        self.transport.as_ref().map(|transport| transport.listeners())
    }

    fn overflow_messages(&self) -> Option<u64> {
        // With QoS 2 the broker itself holds a listener to what it can answer.
        let can = self.transport.is_some() && self.quality != Quality::ExactlyOnce;
        can.then_some(10 * QUEUE_MESSAGES as u64)
    }
}

fn told(backend: &'static str) -> impl Fn(&str, &Verdict) {
    let told = promises::of("transport", conformance::transport::PROMISES, backend);
    move |promise, verdict| {
        if !server::is_missing() {
            told(promise, verdict);
        }
    }
}

ssmd_core::transport_conformance!(qos_0, async { InMqtt::new(Quality::AtMostOnce) }, told("MQTT, QoS 0"));
ssmd_core::transport_conformance!(qos_1, async { InMqtt::new(Quality::AtLeastOnce) }, told("MQTT, QoS 1"));
ssmd_core::transport_conformance!(qos_2, async { InMqtt::new(Quality::ExactlyOnce) }, told("MQTT, QoS 2"));

#[tokio::test]
async fn the_broker_keeps_the_last_of_each_topic_that_is_to_be_retained() {
    let Some(broker) = Broker::start(&[]) else { return };
    let retained = |subject: &ssmd_core::Subject| subject.as_str().contains(".trade.");
    let transport = open(MqttOptions { retained, ..options(&broker) }).await;
    for (subject, text) in
        [("dev.trade.A", "1"), ("dev.trade.A", "2"), ("dev.trade.B", "3"), ("dev.delta.A", "4")]
    {
        transport.publish(vec![message(subject, text)]).await.unwrap();
    }
    transport.flush().await.unwrap();
    // Whoever comes late hears the last of both, and then what is new.
    let mut late = listen(&transport, "dev.>").await;
    let mut first = [heard(&mut *late).await, heard(&mut *late).await];
    first.sort();
    assert_eq!(first, ["2", "3"]);
    transport.publish(vec![message("dev.delta.A", "5")]).await.unwrap();
    assert_eq!(heard(&mut *late).await, "5");
}

#[tokio::test]
async fn a_broker_that_is_away_refuses_at_once_and_is_found_again_with_its_listeners() {
    let Some(broker) = Broker::start(&[]) else { return };
    let transport = open(options(&broker)).await;
    let mut listener = listen(&transport, "dev.a").await;
    transport.publish(vec![message("dev.a", "before")]).await.unwrap();
    assert_eq!(heard(&mut *listener).await, "before");
    let away = broker.stop();
    loop {
        match transport.publish(vec![message("dev.a", "lost")]).await {
            // The end of the connection has not been noticed yet.
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                break;
            }
        }
    }
    assert_eq!(transport.flush().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let _broker = away.start();
    // Both find it again by themselves; what is published until the listener is back is lost, as documented.
    let publishing = async {
        loop {
            let _ = transport.publish(vec![message("dev.a", "after")]).await;
            rig::clock().sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        text = heard(&mut *listener) => assert_eq!(text, "after"),
        () = publishing => {}
    }
}

#[tokio::test]
async fn who_has_no_right_is_refused() {
    let passwords = tempfile::NamedTempFile::new().unwrap();
    let path = passwords.path().to_str().unwrap();
    let made =
        std::process::Command::new("mosquitto_passwd").args(["-b", path, "market", "s3:cret"]).status();
    if made.is_err() && std::env::var_os("CI").is_none() {
        println!("NOT RUN: mosquitto_passwd is not here: scripts/install-test-tools");
        return;
    }
    assert!(made.unwrap().success());
    let Some(broker) = Broker::start(&["allow_anonymous false", &format!("password_file {path}")]) else {
        return;
    };
    let with = |secret: Option<&str>| MqttOptions { login: secret.map(Login::parse), ..options(&broker) };
    open(with(Some("market:s3:cret"))).await;
    for secret in [None, Some("market:wr0ng"), Some("nobody:s3:cret")] {
        let transport = MqttTransport::new(with(secret)).unwrap();
        let error = transport.ready().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(!error.report().contains("cret"), "{}", error.report());
        let error = transport.subscribe(&">".parse().unwrap()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    }
}

#[tokio::test]
async fn what_others_publish_is_passed_over_unless_it_is_a_subject() {
    let Some(broker) = Broker::start(&[]) else { return };
    let transport = open(options(&broker)).await;
    let mut listener = listen(&transport, ">").await;
    for topic in ["a b", "a.b", "dev/../x", "dev//x", "dev/é", "dev/a"] {
        rig::publish_as_another(&broker, topic, topic).await;
    }
    assert_eq!(heard(&mut *listener).await, "dev/a");
}

#[tokio::test]
async fn there_are_only_so_many_subscriptions() {
    let Some(broker) = Broker::start(&[]) else { return };
    let transport = open(options(&broker)).await;
    let mut open: Vec<Box<dyn Subscription>> = Vec::new();
    for _ in 0..SUBSCRIPTIONS_MAX {
        open.push(listen(&transport, "dev.a").await);
    }
    let refused = transport.subscribe(&"dev.a".parse().unwrap()).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Full);
    open.pop();
    open.push(listen(&transport, "dev.a").await);
}

#[tokio::test]
async fn what_is_too_large_for_the_broker_is_refused_and_the_connection_stays() {
    let Some(broker) = Broker::start(&["max_packet_size 10000"]) else { return };
    let transport = open(options(&broker)).await;
    let mut listener = listen(&transport, "dev.a").await;
    let large = Message { payload: vec![b'x'; 10_000].into(), ..message("dev.a", "") };
    assert_eq!(transport.publish(vec![large]).await.unwrap_err().kind(), ErrorKind::Invalid);
    transport.publish(vec![message("dev.a", "small")]).await.unwrap();
    assert!(matches!(listener.next().await.unwrap(), Delivery::Message(_)));
}

#[tokio::test]
async fn tls_reaches_the_broker_whose_certificate_is_trusted_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let ca = certificate::write(folder.path());
    let line = |key: &str, name: &str| format!("{key} {}", folder.path().join(name).display());
    let (cert, key) = (line("certfile", "server.pem"), line("keyfile", "server.key"));
    let Some(broker) = Broker::start(&[&cert, &key]) else { return };
    let with = |ca| MqttOptions {
        url: options(&broker).url.replace("mqtt:", "mqtts:"),
        ca: Some(ca),
        ..options(&broker)
    };
    let ours = open(with(ca)).await;
    let mut listener = listen(&ours, "dev.a").await;
    ours.publish(vec![message("dev.a", "x")]).await.unwrap();
    assert_eq!(heard(&mut *listener).await, "x");
    let other = certificate::write(tempfile::tempdir().unwrap().path());
    for options in [with(other), options(&broker)] {
        let refused = MqttTransport::new(options).unwrap().ready().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
    }
}
