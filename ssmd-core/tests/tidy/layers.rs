//! Who may import whom, as `docs/architecture.md` says, and how manifests say it.

use serde::Deserialize;

use crate::{Broken, broken};

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    name: String,
    pub(crate) manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    features: Vec<String>,
}

/// What one crate may import.
struct Layer {
    name: &'static str,
    /// Crates of ours.
    may: &'static [&'static str],
    /// Crates of ours for its tests.
    tests_may: &'static [&'static str],
    /// Crates of others that it must never see, as prefixes.
    never: &'static [&'static str],
}

const SOCKETS: &[&str] = &[
    "hyper",
    "reqwest",
    "tungstenite",
    "tokio-tungstenite",
    "rustls",
    "tokio-rustls",
    "native-tls",
    "socket2",
    "mio",
    "rustix",
    "libc",
    "async-nats",
    "redis",
    "rumqtt",
    "sqlx",
    "tokio-postgres",
    "rusqlite",
    "object_store",
    "arrow",
    "parquet",
    "pyo3",
    "cxx",
    "axum",
];
const BROKERS: &[&str] =
    &["async-nats", "redis", "rumqtt", "object_store", "arrow", "parquet", "pyo3", "cxx", "sqlx", "rusqlite"];
const VENUES: &[&str] =
    &["tungstenite", "tokio-tungstenite", "arrow", "parquet", "object_store", "pyo3", "cxx"];
const CLIENTS: &[&str] =
    &["tungstenite", "tokio-tungstenite", "async-nats", "redis", "rumqtt", "pyo3", "cxx"];
const FOREIGN_FACES: &[&str] = &["pyo3", "cxx"];

const SPINE: &[&str] = &["ssmd-core", "ssmd-feeds", "ssmd-transport", "ssmd-storage"];
const EVERYTHING: &[&str] = &[
    "ssmd-core",
    "ssmd-feeds",
    "ssmd-transport",
    "ssmd-storage",
    "ssmd-echidna",
    "ssmd-meta",
    "ssmd-signals",
    "ssmd-app",
];

const LAYERS: &[Layer] = &[
    Layer { name: "ssmd-core", may: &[], tests_may: &[], never: SOCKETS },
    Layer {
        name: "ssmd-feeds",
        may: &["ssmd-core"],
        tests_may: &["ssmd-transport", "ssmd-echidna"],
        never: BROKERS,
    },
    Layer {
        name: "ssmd-transport",
        may: &["ssmd-core"],
        tests_may: &["ssmd-feeds", "ssmd-storage"],
        never: VENUES,
    },
    Layer {
        name: "ssmd-storage",
        may: &["ssmd-core"],
        tests_may: &["ssmd-feeds", "ssmd-transport"],
        never: CLIENTS,
    },
    Layer { name: "ssmd-meta", may: &["ssmd-core"], tests_may: SPINE, never: FOREIGN_FACES },
    Layer { name: "ssmd-signals", may: &["ssmd-core", "ssmd-meta"], tests_may: SPINE, never: FOREIGN_FACES },
    Layer { name: "ssmd-echidna", may: &["ssmd-core", "ssmd-feeds"], tests_may: SPINE, never: &["pyo3"] },
    Layer { name: "ssmd-py", may: EVERYTHING, tests_may: &[], never: &["cxx"] },
    Layer { name: "ssmd-fuzz", may: EVERYTHING, tests_may: &[], never: FOREIGN_FACES },
    Layer { name: "ssmd-examples", may: SPINE, tests_may: &[], never: FOREIGN_FACES },
    Layer {
        name: "ssmd-app",
        may: &[
            "ssmd-core",
            "ssmd-feeds",
            "ssmd-transport",
            "ssmd-storage",
            "ssmd-echidna",
            "ssmd-meta",
            "ssmd-signals",
        ],
        tests_may: &[],
        never: FOREIGN_FACES,
    },
];
/// Everything else under `bins/`: another binary is never imported.
const BINARY: Layer = Layer { name: "", may: EVERYTHING, tests_may: &[], never: FOREIGN_FACES };
/// What tokio would give core beyond tasks, time and channels.
const CORE_TOKIO_NEVER: &[&str] = &["net", "fs", "process", "signal", "io-std", "full"];

/// Holds every crate's dependencies against its layer.
pub(crate) fn check(metadata: &Metadata, root: &str, out: &mut Vec<Broken>) {
    let ours: Vec<_> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        let path = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        let path = path.trim_start_matches('/');
        let layer = LAYERS.iter().find(|layer| layer.name == package.name);
        let Some(layer) = layer.or(path.starts_with("bins/").then_some(&BINARY)) else {
            out.push(broken(
                path,
                1,
                "a crate without a layer: say in tests/tidy/layers.rs who it may import",
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(rule) = verdict(layer, &package.name, dependency, &ours) {
                out.push(broken(path, line_of(&package.manifest_path, &dependency.name), &rule));
            }
        }
    }
}

fn verdict(layer: &Layer, package: &str, dependency: &Dependency, ours: &[&str]) -> Option<String> {
    let name = dependency.name.as_str();
    let in_tests = dependency.kind.as_deref() == Some("dev");
    let allowed =
        layer.may.contains(&name) || in_tests && (layer.tests_may.contains(&name) || name == package);
    if (ours.contains(&name) || name.starts_with("ssmd")) && !allowed {
        return Some(format!("{package} must not import {name}"));
    }
    if in_tests {
        return None;
    }
    let is = |crate_name: &&&str| name == **crate_name || name.starts_with(&format!("{crate_name}-"));
    if layer.never.iter().find(is).is_some() {
        return Some(format!("{package} must never see {name}"));
    }
    let feature = dependency.features.iter().find(|feature| CORE_TOKIO_NEVER.contains(&feature.as_str()))?;
    (package == "ssmd-core" && name == "tokio").then(|| format!("{package} must never see tokio's {feature}"))
}

/// The manifest's line that names the dependency; the first where it cannot be read.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    text.lines().position(|line| line.starts_with(dependency)).map_or(1, |at| at + 1)
}

/// The workspace forbids `unsafe`; this crate alone may have it, and says so where it does.
const OWN_LINTS: &str = "ssmd-echidna/Cargo.toml";

/// What a member's manifest must say: the workspace's lints, and versions from the workspace.
pub(crate) fn check_manifest(path: &str, text: &str, out: &mut Vec<Broken>) {
    let (mut section, mut lints) = (String::new(), false);
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            if section.contains("dependencies.") {
                out.push(broken(path, at + 1, "a dependency is one line: `name.workspace = true`"));
            }
            continue;
        }
        lints |= section == "lints" && is_inherited(line);
        let entry = line.starts_with(|c: char| c.is_alphanumeric()) && line.contains('=');
        let in_tests = section == "dev-dependencies" && line.replace(' ', "").contains(CIRCLE);
        if section.ends_with("dependencies") && entry && !is_inherited(line) && !in_tests {
            out.push(broken(path, at + 1, "versions come from the workspace: `name.workspace = true`"));
        }
    }
    if !lints && path != OWN_LINTS {
        out.push(broken(
            path,
            1,
            "the workspace's lints hold for every crate: `[lints]` with `workspace = true`",
        ));
    }
}

/// A crate's tests may use a crate of ours that stands on it; with a version neither could be published first.
const CIRCLE: &str = "path=\"../ssmd-";

/// A crate's tests may turn on its own features; with a version it could not be packaged before it is published.
fn is_inherited(line: &str) -> bool {
    let line = line.replace(' ', "");
    line.contains("workspace=true") || line.contains("path=\".\"")
}

#[cfg(test)]
fn found(packages: &str) -> Vec<String> {
    let metadata: Metadata = serde_json::from_str(&format!("{{\"packages\":[{packages}]}}")).unwrap();
    let mut out = Vec::new();
    check(&metadata, "", &mut out);
    out.into_iter().map(|broken| broken.rule).collect()
}

#[cfg(test)]
fn package(name: &str, path: &str, dependency: &str, kind: &str, feature: &str) -> String {
    let dependency = format!(r#"{{"name":"{dependency}","kind":{kind},"features":["{feature}"]}}"#);
    format!(r#"{{"name":"{name}","manifest_path":"/{path}/Cargo.toml","dependencies":[{dependency}]}}"#)
}

#[test]
fn every_layer_catches_what_it_must_not_see() {
    for (name, dependency, kind, bad) in [
        ("ssmd-core", "ssmd-feeds", "null", true),
        ("ssmd-core", "reqwest", "null", true),
        ("ssmd-core", "hyper-util", "null", true),
        ("ssmd-core", "serde", "null", false),
        ("ssmd-feeds", "ssmd-core", "null", false),
        ("ssmd-feeds", "ssmd-transport", "null", true),
        ("ssmd-feeds", "ssmd-transport", "\"dev\"", false),
        ("ssmd-feeds", "ssmd-storage", "\"dev\"", true),
        ("ssmd-feeds", "arrow-array", "null", true),
        ("ssmd-transport", "ssmd-feeds", "null", true),
        ("ssmd-transport", "ssmd-storage", "null", true),
        ("ssmd-transport", "async-nats", "null", false),
        ("ssmd-storage", "ssmd-transport", "null", true),
        ("ssmd-storage", "ssmd-transport", "\"dev\"", false),
        ("ssmd-storage", "ssmd-feeds", "null", true),
        ("ssmd-app", "ssmd-storage", "null", false),
        ("ssmd-app", "ssmd", "null", true),
        ("ssmd-unheard-of", "serde", "null", true),
    ] {
        let broken = found(&package(name, "x", dependency, kind, ""));
        assert_eq!(!broken.is_empty(), bad, "{name} {dependency} {kind}: {broken:?}");
    }
    assert!(found(&package("gateway", "bins/gateway", "ssmd-app", "null", "")).is_empty());
    assert_eq!(found(&package("gateway", "bins/gateway", "ssmd-connector", "null", "")).len(), 1);
    assert!(found(&package("ssmd-core", "x", "tokio", "null", "sync")).is_empty());
    assert_eq!(found(&package("ssmd-core", "x", "tokio", "null", "net")).len(), 1);
}

#[test]
fn manifests_that_go_their_own_way_are_caught() {
    let good = "[package]\nversion.workspace = true\n[lints]\nworkspace = true\n[dependencies]\na.workspace = true\n\
                b = { workspace = true, features = [\n \"x\",\n] }\n";
    let lines = |text: &str| {
        let mut out = Vec::new();
        check_manifest("a/Cargo.toml", text, &mut out);
        out.iter().map(|broken| broken.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(good), [0_usize; 0]);
    assert_eq!(lines(&good.replace("[lints]\nworkspace = true\n", "")), [1]);
    assert_eq!(lines(&format!("{good}c = \"1\"\n")), [10]);
    let circle = "c = { path = \"../ssmd-c\" }\n";
    assert_eq!(lines(&format!("{good}{circle}")), [10]);
    assert_eq!(lines(&format!("{good}[dev-dependencies]\n{circle}")), [0_usize; 0]);
    assert_eq!(
        lines(&format!("{good}[target.'cfg(unix)'.dev-dependencies]\nc = {{ path = \"c\" }}\n")),
        [11]
    );
    assert_eq!(lines(&format!("{good}[dependencies.c]\nworkspace = true\n")), [10]);
}
