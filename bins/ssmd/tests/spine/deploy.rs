//! `ssmd env apply --out`: what is written for a cluster, byte for byte, and what a repository is told of it.

use std::process::Command;

use serde_json::Value;
use ssmd_core::environment::{Environment, read_yaml};

use crate::cli::{documented, golden};
use crate::environments::Place;

/// An environment with secrets, of which none may reach a file.
const DECLARED: &str = "\
apiVersion: ssmd/v1
kind: Environment
metadata: { name: prod }
spec:
  secrets:
    signing: { file: kalshi.pem }   # by name
  feeds:
    kalshi:
      channels: [ticker, trade]
      symbols: [KXBTC15M-*, { name: KXFED-26DEC-T3.75, internal: FED }]
      keys: { key_id: { env: KALSHI_API_KEY }, private_key: { secret: signing } }
    kraken: { symbols: [BTC/USD] }
";
/// What nobody may find in a file.
const SECRETS: [&str; 2] = ["hunter2", "-----BEGIN"];

impl Place {
    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path("")).env("HOME", self.path("")).env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the command in a shell's surroundings: secrets are there, and an identity for commits.
    fn apply(&self, code: i32, arguments: &[&str]) -> String {
        let mut command =
            self.command(&[&["env", "apply", "prod", "--image", "ssmd:test"], arguments].concat());
        command.env("KALSHI_API_KEY", SECRETS[0]).env("GIT_CONFIG_NOSYSTEM", "1");
        for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
            command.env(name, "tester@example.com");
        }
        let output = command.output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap()
        );
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
        said
    }

    fn declared() -> Self {
        let place = Self::new();
        place.write("environments/prod.yaml", DECLARED);
        place.write("kalshi.pem", SECRETS[1]);
        place
    }
}

#[test]
fn deployable_files_are_written_byte_for_byte_with_secrets_by_name_alone() {
    let place = Place::declared();
    for form in ["manifests", "values"] {
        let file = format!("deploy/prod/{form}-prod.yaml");
        assert!(place.apply(0, &["--out", form, "--dry-run"]).ends_with("nothing was written: --dry-run\n"));
        assert!(!place.path(&file).exists());
        let said = place.apply(0, &["--out", form]);
        assert!(
            said.ends_with(&format!("wrote {file}\n"))
                && said.contains("+kind: ConfigMap\n") == (form == "manifests")
        );
        let text = place.read(&file);
        assert!(SECRETS.iter().all(|secret| !text.contains(secret) && !said.contains(secret)), "{said}");
        golden(&format!("{form}.yaml"), &text);
        // The same again, also in another folder; and nothing is touched where nothing changed.
        let modified = || place.path(&file).metadata().unwrap().modified().unwrap();
        let before = modified();
        let said = place.apply(0, &["--out", form]);
        assert_eq!(said, format!("nothing to change: {file} is what prod says\n"));
        place.apply(0, &["--out", form, "--dir", "elsewhere/x"]);
        assert_eq!(place.read(&format!("elsewhere/x/{form}-prod.yaml")), text);
        // Comments and the order of keys mean nothing.
        place.write("environments/prod.yaml", &format!("# A comment.\n{DECLARED}"));
        documented(
            "A deployable file",
            &serde_json::from_str(&place.apply(0, &["--out", form, "--json"])).unwrap(),
        );
        assert_eq!(modified(), before);
        let left = std::fs::read_dir(place.path("deploy/prod")).unwrap().count();
        assert_eq!(left, if form == "manifests" { 1 } else { 2 });
    }
    let edited = DECLARED.replace("BTC/USD", "ETH/USD");
    place.write("environments/prod.yaml", &edited);
    let said = place.apply(0, &["--out", "manifests"]);
    assert!(said.contains("\n-          symbols: [BTC/USD]\n+          symbols: [ETH/USD]\n"), "{said}");
}

#[test]
fn the_document_in_the_manifests_is_the_one_that_was_applied() {
    let place = Place::declared();
    place.apply(0, &["--out", "manifests"]);
    let text = place.read("deploy/prod/manifests-prod.yaml");
    let objects: Vec<_> = text.split("\n---\n").map(|object| read_yaml(object).unwrap()).collect();
    let kinds: Vec<_> = objects.iter().map(|object| object.get("kind").unwrap().clone()).collect();
    assert_eq!(kinds, ["ConfigMap", "Service", "StatefulSet"].map(Into::into));
    let Some(ssmd_core::environment::Value::Text(document)) =
        objects[0].get("data").and_then(|data| data.get("environment.yaml"))
    else {
        panic!("{text}");
    };
    let words = ssmd_feeds::vocabulary();
    let read = |text: &str| Environment::parse(text.as_bytes(), "environment.yaml", &words).unwrap();
    assert_eq!(read(document), read(DECLARED));
    // The program itself takes it, as it would in the container.
    place.write("mounted.yaml", document);
    let checked: Value =
        serde_json::from_slice(&place.run(&["check", "mounted.yaml", "--json"]).stdout).unwrap();
    assert_eq!(checked["hash"], read(DECLARED).hash());
}

#[test]
fn only_what_was_written_is_committed_and_only_when_told() {
    let place = Place::declared();
    let commit = ["--out", "manifests", "--commit"];
    let said = place.apply(1, &commit);
    assert!(said.contains("this is in no git repository") && !place.path("deploy").exists(), "{said}");

    place.git(&["init", "--quiet"]);
    place.write("other.txt", "staged");
    place.git(&["add", "other.txt"]);
    let said = place.apply(1, &commit);
    assert!(said.contains("other changes are staged") && said.contains("other.txt"), "{said}");
    assert!(!place.path("deploy").exists(), "nothing was written");

    place.git(&["rm", "--quiet", "--cached", "other.txt"]);
    place.apply(0, &["--out", "manifests"]);
    assert!(place.git(&["status", "--porcelain"]).contains("?? deploy/"), "nothing is committed untold");
    assert!(place.apply(0, &commit).contains("committed it: "));
    let files = || place.git(&["show", "--name-only", "--format=%s", "HEAD"]);
    let shown = files();
    assert!(
        shown.starts_with("Apply environment prod ")
            && shown.ends_with("\n\ndeploy/prod/manifests-prod.yaml\n"),
        "{shown}"
    );
    let count = || place.git(&["rev-list", "--count", "HEAD"]);
    assert_eq!((place.apply(0, &commit).contains("nothing to commit"), count().trim()), (true, "1"));
    // From a folder below, and beside changes that are not staged.
    place.write("environments/prod.yaml", &DECLARED.replace("BTC/USD", "ETH/USD"));
    let said = place.apply(0, &commit);
    assert!(said.contains("wrote deploy/prod/manifests-prod.yaml\ncommitted it: "), "{said}");
    assert_eq!((count().trim(), files().matches(".yaml").count()), ("2", 1));
    assert!(place.git(&["status", "--porcelain"]).contains("?? other.txt"));
}

#[test]
fn what_is_not_ours_is_not_overwritten_and_what_cannot_run_is_not_written() {
    let place = Place::declared();
    for theirs in ["replicas: 3\n", "# Written by `ssmd env apply --out values` for environment prod-2.\n"] {
        place.write("deploy/prod/values-prod.yaml", theirs);
        assert!(place.apply(1, &["--out", "values"]).contains("this file is of something else"));
        assert_eq!(place.read("deploy/prod/values-prod.yaml"), theirs);
    }
    place
        .write("environments/prod.yaml", &format!("{DECLARED}  gateway: {{ listen: \"127.0.0.1:9700\" }}\n"));
    assert!(place.apply(78, &["--out", "manifests"]).contains("error[E0105]"));
    place.write("environments/prod.yaml", &format!("{DECLARED}  store: file:/srv/x\n"));
    assert!(place.apply(1, &["--out", "manifests"]).contains("the archive is outside the volume"));
    assert!(!place.path("deploy/prod/manifests-prod.yaml").exists());
    for wrong in
        [&["--commit"][..], &["--out", "values", "--yes"], &["--out", "values", "--commit", "--dry-run"]]
    {
        place.apply(2, wrong);
    }
}
