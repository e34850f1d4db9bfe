//! Whole programs and real servers that show one another certificates, and certificates that do not hold.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::{TempDir, tempdir};

use crate::metrics::{ok, until_ok};
use crate::rig::{Running, environment_of, free_port, run, ssmd, store_of, text_of};
use crate::{nats_server, server};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority that nobody else trusts.
fn authority() -> Authority {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // What it signs has another name: else servers take that for signed by itself.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// A folder with `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key`.
struct Files(TempDir);

/// What is wrong with the server's certificate.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Nothing,
    Expired,
    OtherHost,
    SelfSigned,
}

impl Files {
    fn new() -> Self {
        let files = Self(tempdir().unwrap());
        files.write(&authority(), Fault::Nothing);
        files
    }

    /// Writes all of them anew.
    fn write(&self, authority: &Authority, fault: Fault) {
        std::fs::write(self.path("ca.pem"), authority.pem()).unwrap();
        for (file, is_server) in [("server", true), ("client", false)] {
            let key = KeyPair::generate().unwrap();
            let fault = if is_server { fault } else { Fault::Nothing };
            let name = if matches!(fault, Fault::OtherHost) { "elsewhere.example" } else { "localhost" };
            let mut certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
            if matches!(fault, Fault::Expired) {
                certificate.not_before = date_time_ymd(2019, 1, 1);
                certificate.not_after = date_time_ymd(2020, 1, 1);
            }
            let certificate = match fault {
                Fault::SelfSigned => certificate.self_signed(&key),
                _ => certificate.signed_by(&key, authority),
            };
            std::fs::write(self.path(&format!("{file}.pem")), certificate.unwrap().pem()).unwrap();
            std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The keys of a section of the document.
    fn keys(&self) -> String {
        let text = |name| text_of(&self.path(name));
        format!("ca: {}, cert: {}, key: {}", text("ca.pem"), text("client.pem"), text("client.key"))
    }
}

/// A server of each kind that lets in who shows a certificate of its authority.
fn nats(files: &Files) -> Option<nats_server::Server> {
    let [ca, cert, key] = ["ca.pem", "server.pem", "server.key"].map(|name| files.path(name));
    let tls = format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}");
    nats_server::Server::start(&tls)
}

fn mosquitto(files: &Files) -> Option<server::Server> {
    let path = files.path("mosquitto.conf");
    let [ca, cert, key] = ["ca.pem", "server.pem", "server.key"].map(|name| text_of(&files.path(name)));
    server::Server::start("mosquitto", "running", |port| {
        let lines = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n\
             cafile {ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true\n"
        );
        std::fs::write(&path, lines).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-v").arg("-c").arg(&path);
        command
    })
}

fn redis(files: &Files) -> Option<server::Server> {
    let [ca, cert, key] = ["ca.pem", "server.pem", "server.key"].map(|name| text_of(&files.path(name)));
    server::Server::start("redis-server", "Ready to accept connections", |port| {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", "0", "--tls-port", &port.to_string()]);
        command.args(["--tls-ca-cert-file", &ca, "--tls-cert-file", &cert, "--tls-key-file", &key]);
        command.args(["--tls-auth-clients", "yes"]);
        command
    })
}

fn document(folder: &Path, more: &str) -> String {
    // Nobody outside of this machine is asked.
    let nowhere = "channels: [ticker, trade, book]\n      depth: 10\n      rest: http://127.0.0.1:1";
    let config = environment_of(folder, free_port(), "kraken", "BTC/USD", nowhere);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + more).unwrap();
    config
}

#[test]
fn a_recorder_shows_its_certificate_to_every_server_and_reads_a_renewed_one_while_it_runs() {
    let (folder, port) = (tempdir().unwrap(), free_port());
    let (renewed, kept) = (Files::new(), Files::new());
    let (Some(mut nats), Some(mosquitto), Some(redis)) = (nats(&renewed), mosquitto(&kept), redis(&kept))
    else {
        return;
    };
    let more = format!(
        "  journal: {{ nats: {{ url: \"tls://localhost:{}\", {} }} }}\n  \
         transport: {{ mqtt: {{ url: \"mqtts://localhost:{}\", {} }} }}\n  \
         cache: {{ redis: {{ url: \"rediss://localhost:{}\", {} }} }}\n",
        nats.port(),
        renewed.keys(),
        mosquitto.port,
        kept.keys(),
        redis.port,
        kept.keys()
    );
    let (config, data) = (document(folder.path(), &more), text_of(folder.path()));
    let listen = format!("127.0.0.1:{port}");
    let up = Running::start(
        ssmd(&["up", "--sim", "-c", &config, "--data", &data, "--listen", &listen]).env("SSMD_LOG", "error"),
    );
    let calls = [("journal", "append"), ("transport", "publish"), ("cache", "put")];
    let before = until_ok(port, &calls.map(|(backend, operation)| (backend, operation, 0.0)));
    // Another authority for both sides: neither the old list nor the old certificate would do.
    nats.kill();
    renewed.write(&authority(), Fault::Nothing);
    nats.restart();
    let appended = ok(&before, "journal", "append");
    until_ok(port, &[("journal", "append", appended + 20.0)]);
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
}

/// What `check --online` says of a server, in one line without the breaks of the terminal.
fn said_of(section: &str) -> String {
    let folder = tempdir().unwrap();
    let store = format!("  store: {}\n", store_of(folder.path()));
    let config = document(folder.path(), &format!("{section}{store}"));
    let checked = run(&["check", &config, "--online"]);
    assert!(!checked.status.success(), "{section}");
    let said = [checked.stdout, checked.stderr].concat();
    String::from_utf8(said).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The document's section that means a server with these files, if the server can run here. It runs as long as the
/// second value lives.
type Section = fn(&Files, &str) -> Option<(String, Box<dyn std::any::Any>)>;

const SECTIONS: [(&str, Section); 3] = [
    ("NATS", |files, keys| {
        let server = nats(files)?;
        let url = format!("tls://localhost:{}", server.port());
        Some((format!("  journal: {{ nats: {{ url: \"{url}\", {keys} }} }}\n"), Box::new(server)))
    }),
    ("MQTT", |files, keys| {
        let server = mosquitto(files)?;
        let url = format!("mqtts://localhost:{}", server.port);
        Some((format!("  transport: {{ mqtt: {{ url: \"{url}\", {keys} }} }}\n"), Box::new(server)))
    }),
    ("Redis", |files, keys| {
        let server = redis(files)?;
        let url = format!("rediss://localhost:{}", server.port);
        Some((format!("  cache: {{ redis: {{ url: \"{url}\", {keys} }} }}\n"), Box::new(server)))
    }),
];

#[test]
fn certificates_that_do_not_hold_are_refused_and_it_is_said_why() {
    let other = Files::new();
    let with = |fault| {
        let files = Files::new();
        files.write(&authority(), fault);
        files
    };
    let mut wrong = Vec::new();
    for (name, section) in SECTIONS {
        for (fault, word) in [
            (Fault::Nothing, "answers in"),
            (Fault::Expired, "expired"),
            (Fault::OtherHost, "not valid for name"),
            (Fault::SelfSigned, "UnknownIssuer"),
        ] {
            let files = with(fault);
            let Some((text, _server)) = section(&files, &files.keys()) else { return };
            let said = said_of(&text);
            if !said.contains(word) {
                wrong.push(format!("{name}, {fault:?}: {said}"));
            }
        }
        // Somebody else's authority, and no certificate of ours.
        let files = with(Fault::Nothing);
        let ca = |files: &Files| format!("ca: {}", text_of(&files.path("ca.pem")));
        for (keys, word) in [(ca(&other), "invalid peer certificate"), (ca(&files), "ertificate")] {
            let Some((text, _server)) = section(&files, &keys) else { return };
            let said = said_of(&text);
            if !said.contains(word) {
                wrong.push(format!("{name}, {keys}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
