//! Environments, feeds and symbols from the command line, in a folder and with a home of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::cli::{fields, golden, named, quoted};
use crate::rig::{PATIENCE, ssmd};

/// A working directory, and a home beside it.
pub(crate) struct Place {
    root: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempdir().unwrap();
        std::fs::create_dir(root.path().join("here")).unwrap();
        Self { root }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.path().join("here").join(file)
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ssmd(arguments);
        command.current_dir(self.path("")).env("HOME", self.root.path().join("home"));
        command.env_remove("XDG_CONFIG_HOME").env_remove("SSMD_ENV");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn code(&self, arguments: &[&str]) -> i32 {
        self.run(arguments).status.code().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error} {said}"))
    }

    /// What was typed, what came out on which stream, and the exit code.
    fn transcript(&self, typed: &[&str]) -> String {
        typed
            .iter()
            .map(|line| {
                let arguments: Vec<_> = line.split(' ').collect();
                let output = self.run(&arguments);
                let shown: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
                let said = String::from_utf8(output.stderr).unwrap();
                let said: String =
                    said.lines().map(|line| format!("! {line}\n").replace("! \n", "!\n")).collect();
                let text = format!(
                    "$ ssmd {}\n{}{said}= {}\n\n",
                    shown.join(" "),
                    String::from_utf8(output.stdout).unwrap(),
                    output.status.code().unwrap()
                );
                text.replace(&self.root.path().canonicalize().unwrap().display().to_string(), "ROOT")
            })
            .collect()
    }
}

const COMMENTED: &str = "\
# What the desk records. Ask before you change it.
apiVersion: ssmd/v1
kind: Environment
metadata: { name: prod }   # never another

spec:
  feeds:
    kraken:
      # the best prices only
      channels: [ \"ticker:bbo\", trade ]

      symbols:
        - \"BTC/USD\"   # since 2024
        # - \"XRP/USD\"
        - 'ETH/USD'   # since 2025
    kraken-futures: { channels: [trade], symbols: [PF_XBTUSD] }  # one line
  store: file:/srv/prod   # backed up at night
";

const DERIVED: &str = "\
apiVersion: ssmd/v1
kind: Environment
extends: prod
metadata: { name: staging }
spec:
  feeds:
    kraken:
      symbols: [SOL/USD]
    kraken-futures: null
  store: file:./staging
";

#[test]
fn a_first_environment_is_made_chosen_and_edited() {
    let place = Place::new();
    let text = place.transcript(&[
        "env use",
        "symbol list",
        "init",
        "init",
        "env use",
        "env list",
        "env validate",
        "symbol add SOL/USD",
        "symbol add SOL/USD",
        "symbol add KRAKEN/ --dry-run",
        "symbol list",
        "feed add kraken-futures",
        "symbol remove PF_XBTUSD",
        "symbol remove BTC/USD",
        "symbol remove BTC/USD ETH/USD --feed kraken",
        "feed list -c dev",
        "feed show kraken",
        "symbol map SOL/USD SOLUSD --feed kraken",
        "symbol map SOL/USD SOLUSD --feed kraken",
        "symbol map ADA/USD ADAUSD --feed kraken",
        "symbol add ADA/USD --feed kraken --internal SOLUSD",
        "symbol validate",
        "feed disable kraken-futures",
        "feed disable kraken-futures",
        "feed list -c dev",
        "feed enable kraken-futures",
        "feed remove kraken ETH/USD",
        "feed remove kraken",
        "feed remove kraken-futures",
        "feed show kalshi",
        "env show",
        "env create dev",
        "env create test --from dev",
        "env create Bad",
        "env list",
        "env use test",
        "env use",
        "env use --none",
        "env use",
    ]);
    golden("init.txt", &text);
}

#[test]
fn edits_keep_every_comment_and_refuse_what_would_be_wrong() {
    let place = Place::new();
    place.write("environments/prod.yaml", COMMENTED);
    let text = place.transcript(&[
        "symbol add SOL/USD --feed kraken --env prod",
        "symbol add PF_ETHUSD --feed kraken-futures --env prod",
        "symbol remove BTC/USD --feed kraken --env prod",
        "feed add kraken --channels trade,book:25 --env prod",
        "feed add krakn --env prod",
        "feed add kraken --channels tickr --env prod",
        "symbol add X/Y --env prod",
        "symbol add X/Y --feed kalshi --env prod",
        "symbol add X/Y --env nowhere",
        "symbol list --env prod",
    ]);
    golden("edits.txt", &text);
    let edited = place.read("environments/prod.yaml");
    for line in COMMENTED
        .lines()
        .filter(|line| line.contains('#') && !line.contains("BTC") && !line.contains("one line"))
    {
        assert!(edited.contains(line), "lost {line}\n{edited}");
    }
    assert!(edited.contains(
        "    kraken-futures: { channels: [trade], symbols: [PF_XBTUSD, PF_ETHUSD] }  # one line\n"
    ));
}

#[test]
fn environments_are_compared_promoted_and_derived() {
    let place = Place::new();
    place.write("environments/prod.yaml", COMMENTED);
    place.write("environments/staging.yaml", DERIVED);
    place.write("environments/loop.yaml", &DERIVED.replace("prod", "loop.yaml").replace("staging", "loop"));
    let text = place.transcript(&[
        "env list",
        "env show staging",
        "env diff prod staging",
        "env diff prod prod",
        "env diff prod nowhere",
        "env diff prod loop",
        "env create dev --from prod",
        "symbol add SOL/USD --feed kraken -c dev",
        "env promote dev --to prod",
        "env promote dev --to prod --yes",
        "env promote dev --to prod --yes",
        "symbol remove BTC/USD --feed kraken -c dev",
        "env promote dev --to prod --prune --yes",
        "symbol add ADA/USD --feed kraken -c staging",
        "feed remove kraken-futures -c dev",
        "env promote dev --to staging --prune",
        "env create thin --extends prod",
        "feed remove kraken-futures -c thin",
        "symbol add ADA/USD -c thin",
        "env show thin",
    ]);
    golden("promote.txt", &text);
    let prod = place.read("environments/prod.yaml");
    assert!(
        prod.contains("        # - \"XRP/USD\"\n        - 'ETH/USD'   # since 2025\n        - 'SOL/USD'\n"),
        "{prod}"
    );
}

#[test]
fn what_decides_which_environment_is_meant() {
    let place = Place::new();
    place.write("environments/a.yaml", &COMMENTED.replace("name: prod", "name: alpha"));
    place.write("environments/b.yaml", &COMMENTED.replace("name: prod", "name: beta"));
    place.write("other/c.yaml", &COMMENTED.replace("name: prod", "name: gamma"));
    let shown = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command(&[&["env", "show", "--json"], arguments].concat());
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        value["environment"].as_str().unwrap_or("none").to_owned()
    };
    assert_eq!(shown(&[], &[]), "none");
    assert_eq!(place.code(&["env", "use", "alpha"]), 0);
    assert_eq!(shown(&[], &[]), "alpha");
    assert_eq!(shown(&[], &[("SSMD_CONFIG", "beta")]), "beta");
    assert_eq!(shown(&[], &[("SSMD_ENV", "beta"), ("SSMD_CONFIG", "alpha")]), "beta");
    assert_eq!(shown(&["--env", "other/c.yaml"], &[("SSMD_ENV", "beta")]), "gamma");
    assert_eq!(shown(&["gamma"], &[]), "none", "a name is looked for in `environments/` alone");
    // The choice holds below, and nowhere else.
    let elsewhere = |folder: PathBuf| {
        place.command(&["env", "show", "--json"]).current_dir(folder).output().unwrap().status.code().unwrap()
    };
    assert_eq!(elsewhere(place.path("other")), 0);
    assert_eq!(elsewhere(place.root.path().to_owned()), 1);
    // A chosen document that is gone is no reason to record something else.
    std::fs::remove_file(place.path("environments/a.yaml")).unwrap();
    assert_eq!(place.code(&["up", "--sim", "--for", "1s"]), 1);
    // Two of one name: neither is guessed.
    place.write("env.yaml", &COMMENTED.replace("name: prod", "name: beta"));
    assert_eq!(place.code(&["env", "show", "beta"]), 1);
}

#[test]
fn every_field_that_is_printed_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let Ok(docs) = std::fs::read_to_string(docs) else { return println!("no docs beside this crate") };
    let place = Place::new();
    place.write("environments/prod.yaml", COMMENTED);
    place.write("environments/staging.yaml", DERIVED);
    for (section, arguments) in [
        ("An environment", "env list --json"),
        ("An environment's values", "env show staging --json"),
        ("A difference", "env diff prod staging --json"),
        ("A promotion", "env promote staging --to prod --json"),
        ("A feed of an environment", "feed list -c prod --json"),
        ("A feed of an environment", "feed show kraken -c prod --json"),
        ("An edit", "symbol add SOL/USD --feed kraken -c prod --json"),
        ("A symbol", "symbol list -c prod --json"),
        ("Checked symbols", "symbol validate -c prod --json"),
    ] {
        let value = place.json(&arguments.split(' ').collect::<Vec<_>>());
        let mut printed = BTreeSet::new();
        fields("", &value, &mut printed);
        let (needed, optional) = named(&docs, section);
        let unknown: Vec<_> =
            printed.iter().filter(|&field| !needed.contains(field) && !optional.contains(field)).collect();
        let absent: Vec<_> = needed.difference(&printed).collect();
        assert!(unknown.is_empty(), "{arguments}: not in docs/cli.md: {unknown:?}");
        assert!(absent.is_empty(), "{arguments}: in docs/cli.md, but not printed: {absent:?}");
    }
}

/// How many edits are killed. Each takes a few milliseconds.
const KILLS: u64 = 60;

#[test]
fn an_edit_that_is_killed_leaves_the_old_or_the_new_document() {
    let place = Place::new();
    let many: String = (0..2_000).map(|n| format!("        - \"ABC{n}/USD\"   # symbol {n}\n")).collect();
    let old = COMMENTED.replace("        - \"BTC/USD\"   # since 2024\n", &many);
    let edit = ["symbol", "add", "SOL/USD", "--feed", "kraken", "-c", "env.yaml"];
    place.write("env.yaml", &old);
    let clock = ssmd_core::SystemClock::new();
    let begin = ssmd_core::Clock::elapsed(&clock);
    assert_eq!(place.code(&edit), 0);
    let whole = ssmd_core::Clock::elapsed(&clock) - begin;
    let new = place.read("env.yaml");
    assert!(new.len() > old.len());
    let (mut olds, mut news) = (0, 0);
    for kill in 0..KILLS {
        place.write("env.yaml", &old);
        let mut child = place.command(&edit).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From the start of the program to a little behind its usual end.
        wait_at_most(&mut child, whole.mul_f64(1.2 * kill as f64 / KILLS as f64));
        let _ = child.kill();
        child.wait().unwrap();
        match place.read("env.yaml") {
            text if text == old => olds += 1,
            text if text == new => news += 1,
            text => panic!("kill {kill} left {} bytes of neither document", text.len()),
        }
    }
    println!("{KILLS} kills within {whole:?}: {olds} left the old document, {news} the new one");
    assert!(olds > 0, "no kill came in time");
    place.write("env.yaml", &old);
    assert_eq!(place.code(&edit), 0, "what a kill left is in nobody's way");
    let left: Vec<_> =
        std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["env.yaml"]);
}

#[expect(clippy::disallowed_methods, reason = "another process is killed at a time of ours")]
fn wait_at_most(child: &mut Child, wait: std::time::Duration) {
    assert!(wait < PATIENCE);
    let begin = std::time::Instant::now();
    while begin.elapsed() < wait && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

#[test]
fn editors_take_turns() {
    let place = Place::new();
    assert_eq!(place.code(&["init"]), 0);
    let children: Vec<_> = (0..8)
        .map(|n| {
            let symbol = format!("ABC{n}/USD");
            let mut command = place.command(&["symbol", "add", &symbol, "--json"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(place.json(&["symbol", "list", "--json"]).as_array().unwrap().len(), 10);
}
