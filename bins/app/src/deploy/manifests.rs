//! An environment as objects of Kubernetes: a ConfigMap with the document, a Service for health and metrics, and a
//! StatefulSet whose pod has the connector and, beside it, the archiver on the same volume.

use std::path::{Component, Path};

use ssmd_core::Result;
use ssmd_core::environment::{Environment, StoreSpec, Value, lines};

use super::{DATA, DOCUMENT, Deployment, FILE, PORTS, VOLUME, WORK, map, number, text_of, unsupported};
use crate::folder::Folder;

/// The most that a ConfigMap holds, in bytes.
const CONFIG_MAP_BYTES_MAX: usize = 1 << 20;
/// Bytes of a ConfigMap beside the document.
const CONFIG_MAP_SPARE: usize = 4096;
/// Who runs in the container, and to whom the volume belongs: nobody in particular.
const USER: u16 = 65_532;
/// How long a pod may take to stop in order, in seconds: sockets close, what was heard is archived.
const STOPS_WITHIN: u16 = 90;

impl Deployment<'_> {
    /// Every object, in the order in which they are made.
    ///
    /// # Errors
    /// `Unsupported` for a document that a ConfigMap cannot hold.
    pub(super) fn objects(&self) -> Result<Vec<Value>> {
        let document = lines(&Value::from(&self.environment.document()));
        if document.len() > CONFIG_MAP_BYTES_MAX - CONFIG_MAP_SPARE {
            return Err(unsupported("the document is more than a ConfigMap holds")
                .with("bytes", document.len())
                .hint("patterns say what many names say: symbols: [\"*\"]"));
        }
        let config = map([
            ("apiVersion", "v1".into()),
            ("kind", "ConfigMap".into()),
            ("metadata", self.metadata()),
            ("data", map([(FILE, Value::Text(document))])),
        ]);
        Ok(vec![config, self.service(), self.stateful_set()])
    }

    fn metadata(&self) -> Value {
        map([
            ("name", text_of(&self.name)),
            ("labels", self.labels()),
            ("annotations", map([("ssmd/environment", self.environment.name.as_str().into())])),
        ])
    }

    fn labels(&self) -> Value {
        map([("app.kubernetes.io/name", "ssmd".into()), ("app.kubernetes.io/instance", text_of(&self.name))])
    }

    fn service(&self) -> Value {
        let port = |(name, port): (&str, u16)| map([("name", name.into()), ("port", number(port))]);
        map([
            ("apiVersion", "v1".into()),
            ("kind", "Service".into()),
            ("metadata", self.metadata()),
            (
                "spec",
                map([
                    ("clusterIP", "None".into()),
                    // Whoever is not ready is just who must be looked at.
                    ("publishNotReadyAddresses", true.into()),
                    ("selector", self.labels()),
                    ("ports", Value::List(PORTS.map(port).into())),
                ]),
            ),
        ])
    }

    fn stateful_set(&self) -> Value {
        let claim = map([
            ("metadata", map([("name", "data".into())])),
            (
                "spec",
                map([
                    ("accessModes", Value::List(vec!["ReadWriteOnce".into()])),
                    ("resources", map([("requests", map([("storage", VOLUME.into())]))])),
                ]),
            ),
        ]);
        map([
            ("apiVersion", "apps/v1".into()),
            ("kind", "StatefulSet".into()),
            ("metadata", self.metadata()),
            (
                "spec",
                map([
                    // One writer: a second recorder is a second environment.
                    ("replicas", number(1_u8)),
                    ("serviceName", text_of(&self.name)),
                    ("selector", map([("matchLabels", self.labels())])),
                    ("template", map([("metadata", map([("labels", self.labels())])), ("spec", self.pod())])),
                    ("volumeClaimTemplates", Value::List(vec![claim])),
                ]),
            ),
        ])
    }

    fn pod(&self) -> Value {
        let user = [
            ("runAsNonRoot", true.into()),
            ("runAsUser", number(USER)),
            ("runAsGroup", number(USER)),
            ("fsGroup", number(USER)),
        ];
        let mut volumes =
            vec![map([("name", "document".into()), ("configMap", map([("name", text_of(&self.name))]))])];
        for (at, mount) in self.references.mounts.iter().enumerate() {
            let item = |(key, path): &(String, String)| map([("key", text_of(key)), ("path", text_of(path))]);
            volumes.push(map([
                ("name", Value::Text(format!("secrets-{at}"))),
                (
                    "secret",
                    map([
                        ("secretName", text_of(&self.name)),
                        ("items", Value::List(mount.files.iter().map(item).collect())),
                    ]),
                ),
            ]));
        }
        map([
            ("automountServiceAccountToken", false.into()),
            ("terminationGracePeriodSeconds", number(STOPS_WITHIN)),
            ("securityContext", map(user)),
            ("containers", Value::List(PORTS.map(|(role, port)| self.container(role, port)).into())),
            ("volumes", Value::List(volumes)),
        ])
    }

    /// The connector, which alone knows secrets, or the archiver.
    fn container(&self, role: &str, port: u16) -> Value {
        let arguments = [
            "--log-json".to_owned(),
            format!("--config={DOCUMENT}/{FILE}"),
            format!("--data={DATA}"),
            format!("--listen=0.0.0.0:{port}"),
        ];
        let mounted = |name: &str, path: &str, written: bool| {
            let mut mount = vec![("name".to_owned(), text_of(name)), ("mountPath".to_owned(), text_of(path))];
            if !written {
                mount.push(("readOnly".to_owned(), true.into()));
            }
            Value::Map(mount)
        };
        let mut mounts = vec![mounted("data", DATA, true), mounted("document", DOCUMENT, false)];
        let mut variables = Vec::new();
        if role == PORTS[0].0 {
            for (at, mount) in self.references.mounts.iter().enumerate() {
                mounts.push(mounted(&format!("secrets-{at}"), &mount.folder, false));
            }
            variables.extend(self.references.variables.iter().map(|name| {
                let key = map([("name", text_of(&self.name)), ("key", text_of(name))]);
                map([("name", text_of(name)), ("valueFrom", map([("secretKeyRef", key)]))])
            }));
        }
        let asked = |path: &str| map([("httpGet", map([("path", path.into()), ("port", role.into())]))]);
        let mut container = map([
            ("name", role.into()),
            ("image", text_of(self.image)),
            ("command", Value::List(vec![Value::Text(format!("ssmd-{role}"))])),
            ("args", Value::List(arguments.map(Value::Text).into())),
            ("workingDir", WORK.into()),
            ("ports", Value::List(vec![map([("name", role.into()), ("containerPort", number(port))])])),
            ("livenessProbe", asked("/health")),
            ("readinessProbe", asked("/health/ready")),
            (
                "securityContext",
                map([
                    ("allowPrivilegeEscalation", false.into()),
                    ("readOnlyRootFilesystem", true.into()),
                    ("capabilities", map([("drop", Value::List(vec!["ALL".into()]))])),
                ]),
            ),
            ("volumeMounts", Value::List(mounts)),
        ]);
        if let (Value::Map(entries), false) = (&mut container, variables.is_empty()) {
            entries.push(("env".to_owned(), Value::List(variables)));
        }
        container
    }
}

/// Holds the archive's place against the volume: what lies elsewhere would be gone with the pod.
///
/// # Errors
/// `Unsupported` if it is elsewhere.
pub(super) fn check_store(environment: &Environment) -> Result<()> {
    let StoreSpec::File(path) = Folder::at(Path::new(DATA)).store(&environment.archive()) else {
        return Err(unsupported("an archive in a bucket is not deployed yet: the archiver knows no secrets")
            .with("store", environment.archive()));
    };
    let path = Path::new(&path);
    if path.starts_with(DATA) && path.components().all(|part| part != Component::ParentDir) {
        return Ok(());
    }
    Err(unsupported("the archive is outside the volume")
        .with("store", &environment.store)
        .hint(format!("`store: file:./ssmd-data/store`, or a path in {DATA}")))
}
