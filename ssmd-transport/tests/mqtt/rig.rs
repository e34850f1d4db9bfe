//! A real mosquitto, and transports through it.

use std::process::Command;
use std::sync::Arc;

use rumqttc::v5::mqttbytes::QoS;
use ssmd_core::{Clock, Delivery, Message, Subscription, SystemClock, Transport};
use ssmd_transport::mqtt::{MqttOptions, MqttTransport};

use crate::server::Server;

const PROGRAM: &str = "mosquitto";
const READY: &str = "running";

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// A broker that keeps nothing on disk and drops nothing that it can hold.
pub(crate) struct Broker {
    server: Server,
    folder: tempfile::TempDir,
    lines: Vec<String>,
}

/// A broker that does not run now.
pub(crate) struct Away(u16, tempfile::TempDir, Vec<String>);

impl Broker {
    /// With these lines of configuration more; `None` where there is no mosquitto.
    pub(crate) fn start(lines: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let server = Server::start(PROGRAM, READY, |port| command(port, &folder, &lines))?;
        Some(Self { server, folder, lines })
    }

    pub(crate) fn stop(self) -> Away {
        let port = self.server.port;
        self.server.kill();
        Away(port, self.folder, self.lines)
    }
}

impl Away {
    pub(crate) fn start(self) -> Broker {
        let Self(port, folder, lines) = self;
        let server = Server::start_again(PROGRAM, READY, port, |port| command(port, &folder, &lines));
        Broker { server, folder, lines }
    }
}

fn command(port: u16, folder: &tempfile::TempDir, more: &[String]) -> Command {
    let mut lines = vec![format!("listener {port} 127.0.0.1")];
    lines.extend(["max_queued_messages 0", "max_inflight_messages 0", "user root"].map(String::from));
    if !more.iter().any(|line| line.starts_with("allow_anonymous")) {
        lines.push("allow_anonymous true".to_owned());
    }
    lines.extend(more.iter().cloned());
    let path = folder.path().join("mosquitto.conf");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("-v").arg("-c").arg(path);
    command
}

pub(crate) fn options(broker: &Broker) -> MqttOptions {
    MqttOptions::new(&format!("mqtt://localhost:{}", broker.server.port), clock())
}

pub(crate) async fn open(options: MqttOptions) -> MqttTransport {
    let transport = MqttTransport::new(options).unwrap();
    transport.ready().await.unwrap();
    transport
}

pub(crate) fn message(subject: &str, text: &str) -> Message {
    Message { subject: subject.parse().unwrap(), headers: Vec::new(), payload: text.to_owned().into() }
}

pub(crate) async fn listen(transport: &MqttTransport, filter: &str) -> Box<dyn Subscription> {
    transport.subscribe(&filter.parse().unwrap()).await.unwrap()
}

/// The text of the next message.
pub(crate) async fn heard(subscription: &mut dyn Subscription) -> String {
    match subscription.next().await.unwrap() {
        Delivery::Message(message) => String::from_utf8(message.payload.to_vec()).unwrap(),
        Delivery::Lost(count) => panic!("lost {count}"),
    }
}

/// Publishes as somebody who is not us, and waits until the broker has it.
pub(crate) async fn publish_as_another(broker: &Broker, topic: &str, text: &str) {
    let options = rumqttc::v5::MqttOptions::new("another", "127.0.0.1", broker.server.port);
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 4);
    client.publish(topic, QoS::AtLeastOnce, false, text.to_owned()).await.unwrap();
    loop {
        let event = events.poll().await.unwrap();
        if let Some(rumqttc::v5::mqttbytes::v5::Packet::PubAck(_)) = incoming(event) {
            return;
        }
    }
}

fn incoming(event: rumqttc::v5::Event) -> Option<rumqttc::v5::mqttbytes::v5::Packet> {
    match event {
        rumqttc::v5::Event::Incoming(packet) => Some(packet),
        rumqttc::v5::Event::Outgoing(_) => None,
    }
}
