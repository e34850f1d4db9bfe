//! The house rules: layering, sizes, module docs, bans. Every broken one is printed with its file and line, at once.
//!
//! Outside the workspace (in a packaged crate) there is nothing to hold, and the test says so. Each rule is also held
//! against a bad sample of its own: a rule that cannot fail is no rule.

#![allow(clippy::unwrap_used)]

mod layers;
mod rules;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files besides Rust's that people read and programs run from.
const TEXT_EXTENSIONS: [&str; 6] = ["md", "toml", "yaml", "yml", "sh", "capnp"];

/// A rule that something breaks.
#[derive(Debug)]
pub(crate) struct Broken {
    path: String,
    line: usize,
    rule: String,
}

pub(crate) fn broken(path: &str, line: usize, rule: &str) -> Broken {
    Broken { path: path.to_owned(), line, rule: rule.to_owned() }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

#[test]
fn the_house_rules_hold() {
    let Some(root) = workspace_root() else {
        println!("nothing to hold: this crate stands outside its workspace");
        return;
    };
    let mut out = Vec::new();
    for source in source::read_all(&root) {
        rules::check(&source, &mut out);
    }
    texts(&root, &mut out);
    let metadata = metadata(&root);
    let prefix = root.to_str().expect("a path that is UTF-8");
    layers::check(&metadata, prefix, &mut out);
    for package in &metadata.packages {
        let text = std::fs::read_to_string(&package.manifest_path).unwrap();
        let path = package.manifest_path.strip_prefix(prefix).unwrap_or(&package.manifest_path);
        layers::check_manifest(path.trim_start_matches('/'), &text, &mut out);
    }
    let list: Vec<_> = out.iter().map(Broken::to_string).collect();
    assert!(list.is_empty(), "{} broken rules:\n{}", list.len(), list.join("\n"));
}

/// The folder above this crate, if it is the workspace that this crate belongs to.
fn workspace_root() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).ok()?;
    manifest.contains("\"ssmd-core\"").then(|| root.to_owned())
}

fn texts(root: &Path, out: &mut Vec<Broken>) {
    let mut paths = Vec::new();
    source::walk(root, &mut paths);
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let Ok(relative) = path.strip_prefix(root) else { continue };
        rules::foreign_source(&relative.to_string_lossy(), out);
        if TEXT_EXTENSIONS.contains(&extension) {
            // A test's bad sample may be anything.
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            rules::absolute_paths(&relative.to_string_lossy(), text.lines(), out);
        }
    }
}

fn metadata(root: &Path) -> layers::Metadata {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}
