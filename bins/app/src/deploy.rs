//! What deploys an environment, as text: Kubernetes manifests, or the values of a Helm chart. The same environment
//! gives the same bytes. Touches no file, and knows secrets by name alone.

mod git;
mod manifests;
mod secrets;

use clap::ValueEnum;
use ssmd_core::environment::{Environment, Value, lines, read_yaml};
use ssmd_core::{EnvironmentName, Error, ErrorKind, Result};
use ssmd_storage::layout::sha256;

pub(crate) use git::Repository;
use secrets::References;

/// The image unless another one is named.
pub(crate) const IMAGE: &str = concat!("ssmd:", env!("CARGO_PKG_VERSION"));
/// What all of this is, in errors.
const OPERATION: &str = "write deployable files";
/// The folder of logs, archive and sockets in a container.
const DATA: &str = "/var/lib/ssmd";
/// The folder of the document in a container.
const DOCUMENT: &str = "/etc/ssmd";
/// The working directory in a container: paths of secrets that are relative begin here.
const WORK: &str = "/run/ssmd";
/// The document in its folder.
const FILE: &str = "environment.yaml";
/// How much room logs and archive get. Overlays say otherwise.
const VOLUME: &str = "100Gi";
/// Where the recorder and the archiver serve health and metrics.
const PORTS: [(&str, u16); 2] = [("connector", 9601), ("archiver", 9602)];
/// The longest name of what we make, in bytes. Kubernetes labels the pods of a StatefulSet with its name and a hash of
/// ten digits behind it, and a label has 63 bytes.
const NAME_BYTES_MAX: usize = 52;

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// The values of a Helm chart: values-NAME.yaml
    Values,
    /// Kubernetes manifests: manifests-NAME.yaml
    Manifests,
}

impl Form {
    /// Its word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Manifests => "manifests",
        }
    }
}

/// An environment to be deployed.
struct Deployment<'e> {
    environment: &'e Environment,
    image: &'e str,
    /// The name of each object.
    name: String,
    references: References,
}

/// The first words of a file that was written for an environment: what does not begin so is somebody else's.
pub(crate) fn heading(form: Form, environment: &EnvironmentName) -> String {
    format!("# Written by `ssmd env apply --out {}` for environment {environment}.", form.word())
}

/// The file's text.
///
/// # Errors
/// `Unsupported` for an environment that cannot run there: an archive outside the volume, the path or the variable of
/// a secret that a container cannot have, more than a ConfigMap holds.
pub(crate) fn text(form: Form, environment: &Environment, image: &str) -> Result<String> {
    let deployment = Deployment {
        environment,
        image,
        name: object_name(&environment.name),
        references: References::of(environment)?,
    };
    manifests::check_store(environment)?;
    let documents = match form {
        Form::Values => vec![deployment.values()],
        Form::Manifests => deployment.objects()?,
    };
    let mut text = deployment.header(form);
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            text.push_str("---\n");
        }
        let written = lines(document);
        // The proof: what was written says what was meant.
        if read_yaml(&written)? != *document {
            return Err(Error::new(ErrorKind::Bug, OPERATION).detail("the text says something else"));
        }
        text.push_str(&written);
    }
    Ok(text)
}

impl Deployment<'_> {
    fn header(&self, form: Form) -> String {
        let mut text = heading(form, &self.environment.name);
        text.push_str("\n# Edit the environment and write this again; what an overlay says stays.\n");
        if !self.references.is_empty() {
            text.push_str(&format!(
                "# It needs a Secret {} in its namespace, with these keys, of which none is in any file:\n",
                self.name
            ));
            for (key, from) in self.references.keys() {
                text.push_str(&format!("#   {key}: {from}\n"));
            }
        }
        text
    }

    fn values(&self) -> Value {
        let References { variables, mounts } = &self.references;
        let variables = variables.iter().map(|name| name.as_str().into()).collect();
        let mounts = mounts.iter().map(|mount| {
            let file = |(key, path): &(String, String)| map([("key", text_of(key)), ("path", text_of(path))]);
            map([
                ("mountPath", text_of(&mount.folder)),
                ("items", Value::List(mount.files.iter().map(file).collect())),
            ])
        });
        let ports = PORTS.map(|(name, port)| (name, number(port)));
        map([
            ("fullnameOverride", text_of(&self.name)),
            ("image", text_of(self.image)),
            (
                "environment",
                map([
                    ("name", self.environment.name.as_str().into()),
                    ("sha256", Value::Text(self.environment.hash())),
                    ("path", Value::Text(format!("{DOCUMENT}/{FILE}"))),
                    ("document", Value::from(&self.environment.document())),
                ]),
            ),
            (
                "secret",
                map([
                    ("name", text_of(&self.name)),
                    ("variables", Value::List(variables)),
                    ("mounts", Value::List(mounts.collect())),
                ]),
            ),
            ("workingDir", WORK.into()),
            ("data", map([("path", DATA.into()), ("size", VOLUME.into())])),
            ("ports", map(ports)),
        ])
    }
}

/// A name that Kubernetes takes for every object (DNS-1123), never the same for two environments: those that are too
/// long or end in a hyphen are replaced by a digit, with which no environment's name begins, and a hash.
fn object_name(environment: &EnvironmentName) -> String {
    let plain = format!("ssmd-{environment}");
    if plain.len() <= NAME_BYTES_MAX && !plain.ends_with('-') {
        return plain;
    }
    format!("ssmd-0{:.32}", sha256(environment.as_str().as_bytes()))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn text_of(text: &str) -> Value {
    text.into()
}

fn number(number: impl Into<u64>) -> Value {
    Value::Word(number.into().to_string())
}

fn unsupported(detail: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, OPERATION).detail(detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub(super) fn environment(name: &str, spec: &str) -> Environment {
        let document = format!(
            "{{ apiVersion: ssmd/v1, kind: Environment, metadata: {{ name: \"{name}\" }}, spec: {spec} }}"
        );
        Environment::parse(document.as_bytes(), "test.yaml", &ssmd_feeds::vocabulary())
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn names_are_what_kubernetes_takes_and_never_the_same_for_two_environments() {
        let dashes = (1..48).map(|n| format!("a{}", "-".repeat(n)));
        let long = (1..=48).flat_map(|n| ["b".repeat(n), format!("{}c", "b".repeat(n - 1))]);
        let mixed = ["a-b", "a--b", "ab", "a0", "a-0", "ssmd", "ssmd-dev", "dev", "dev-0123456789ab"];
        let names: BTreeSet<_> = dashes.chain(long).chain(mixed.map(str::to_owned)).collect();
        let mut made = BTreeSet::new();
        for name in &names {
            let object = object_name(&EnvironmentName::new(name).unwrap());
            let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(object.len() <= NAME_BYTES_MAX && object.chars().all(label), "{object}");
            assert!(!object.ends_with('-') && object.starts_with("ssmd-"), "{object}");
            assert!(made.insert(object), "two environments under one name: {name}");
        }
        assert_eq!(made.len(), names.len());
        assert_eq!(object_name(&EnvironmentName::new("prod-eu").unwrap()), "ssmd-prod-eu");
        // A hash's name cannot be that of an environment.
        assert!(EnvironmentName::new("0123").is_err());
    }

    #[test]
    fn the_document_in_it_is_the_one_that_was_applied_whatever_its_texts_are() {
        let wanted = environment(
            "dev",
            r##"{ feeds: {
              kraken: { depth: 10, symbols: [BTC/USD, "- a: b", "# c", "{{ .Values.x }}", "$(HOME)", "ü\u200b\u2028x",
                "no", "1e3", "'\"\\", "a: |", "--- x", "%YAML", { name: SOL/USD, internal: SOLUSD }] },
              kraken-futures: { enabled: false,
                symbols: { filters: [{ volume: 1000.50 }, { close_within: 7d }] } } } }"##,
        );
        let manifests = text(Form::Manifests, &wanted, IMAGE).unwrap();
        let first = manifests.split("\n---\n").next().unwrap();
        let Some(Value::Text(document)) =
            read_yaml(first).unwrap().get("data").and_then(|data| data.get(FILE)).cloned()
        else {
            panic!("no document in {first}");
        };
        let values = text(Form::Values, &wanted, IMAGE).unwrap();
        let values = read_yaml(&values).unwrap();
        let in_values = values.get("environment").and_then(|map| map.get("document")).unwrap();
        for document in [document, lines(in_values)] {
            let found =
                Environment::parse(document.as_bytes(), "found.yaml", &ssmd_feeds::vocabulary()).unwrap();
            assert_eq!(found, wanted);
            assert_eq!(found.hash(), wanted.hash());
        }
    }

    #[test]
    fn what_cannot_run_there_is_refused_with_its_reason() {
        let with = |keys: &str, store: &str| {
            let key = if keys.is_empty() { String::new() } else { format!("keys: {{ {keys} }}, ") };
            environment("dev", &format!("{{ feeds: {{ kalshi: {{ {key}symbols: [X] }} }}{store} }}"))
        };
        let id = "key_id: { env: KALSHI_API_KEY }, private_key: ";
        for (environment, why) in [
            (with("", ", store: \"file:/srv/elsewhere\""), "outside the volume"),
            (with("", ", store: \"file:./ssmd-data/../x\""), "outside the volume"),
            (with(&format!("{id}{{ env: \"MY KEY\" }}"), ""), "a variable that Kubernetes does not have"),
            (with(&format!("{id}{{ file: ../kalshi.pem }}"), ""), "`..` in the path of a secret"),
            (with(&format!("{id}{{ file: /kalshi.pem }}"), ""), "cannot be mounted in this folder"),
            (
                with(&format!("{id}{{ file: /etc/ssmd/x/kalshi.pem }}"), ""),
                "cannot be mounted in this folder",
            ),
            (with(&format!("{id}{{ file: /var/kalshi.pem }}"), ""), "cannot be mounted in this folder"),
            (with(&format!("{id}{{ file: \"/a:b/kalshi.pem\" }}"), ""), "cannot be mounted in this folder"),
        ] {
            for form in [Form::Manifests, Form::Values] {
                let error = text(form, &environment, IMAGE).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.report().contains(why), "{why}: {}", error.report());
            }
        }
        let many: Vec<_> = (0..60_000).map(|n| format!("SYMBOL-{n:012}")).collect();
        let spec = format!("{{ feeds: {{ kalshi: {{ symbols: [{}] }} }} }}", many.join(", "));
        let error = text(Form::Manifests, &environment("dev", &spec), IMAGE).unwrap_err();
        assert!(error.report().contains("more than a ConfigMap holds"), "{}", error.report());
    }
}
