//! An edited document, a signal, `ssmd env apply`: what runs follows without a restart, and what cannot be done
//! changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use ssmd_core::{Clock, SystemClock};
use tempfile::{TempDir, tempdir};

use crate::cli::documented;
use crate::rig::{Running, free_port, json, output, run, ssmd, store_of, text_of, until};

/// A folder with a document, and what listens where it points.
struct World {
    folder: TempDir,
    document: PathBuf,
    data: String,
    sims: Vec<Running>,
    ports: [u16; 2],
}

/// Kraken and Kraken futures.
const FEEDS: [(&str, &str); 2] =
    [("kraken", "BTC/USD,ETH/USD,SOL/USD"), ("kraken-futures", "PF_XBTUSD,PF_ETHUSD")];

impl World {
    fn new() -> Self {
        let (folder, ports) = (tempdir().unwrap(), [free_port(), free_port()]);
        let sims = FEEDS.iter().zip(ports).map(|((feed, symbols), port)| {
            let (listen, log) =
                (format!("127.0.0.1:{port}"), text_of(&folder.path().join(format!("{feed}.sent"))));
            let sim = ["sim", "--feed", feed, "--listen", &listen, "--symbols", symbols, "--rate", "1000"];
            Running::start(&mut ssmd(&[&sim[..], &["--log", &log]].concat()))
        });
        let sims = sims.collect();
        let document = folder.path().join("environment.yaml");
        Self { document, data: text_of(&folder.path().join("data")), folder, sims, ports }
    }

    /// Puts a document in its place, as editors do.
    fn declare(&self, kraken: &[&str], futures: &[&str], more: &str) {
        let mut text = format!(
            "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: dev }}\n{more}spec:\n  feeds:\n"
        );
        for (((feed, _), port), symbols) in FEEDS.iter().zip(self.ports).zip([kraken, futures]) {
            if !symbols.is_empty() {
                text += &format!(
                    "    {feed}: {{ url: \"ws://127.0.0.1:{port}\", channels: [book, trade], symbols: {symbols:?} }}\n"
                );
            }
        }
        self.write(&text);
    }

    fn write(&self, text: &str) {
        let new = self.folder.path().join(".environment.yaml.swp");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.document).unwrap();
    }

    fn start(&self, program: &str, more: &[&str]) -> Running {
        let binary = Path::new(env!("CARGO_BIN_EXE_ssmd")).with_file_name(program);
        let mut command = Command::new(binary);
        if program == "ssmd" {
            command.arg("up");
        }
        let document = text_of(&self.document);
        command.args(["-c", &document, "--data", &self.data, "--listen", "127.0.0.1:0"]).args(more);
        Running::start(command.env("SSMD_LOG", "warn"))
    }

    /// The status of the process of that role, once it is as it must be.
    fn until(&self, role: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        until(what, || {
            let said = run(&["status", "--data", &self.data, "--json"]);
            let values = serde_json::Deserializer::from_slice(&said.stdout).into_iter::<Value>();
            values.map(Result::unwrap).find(|status| status["role"] == role && so(status))
        })
    }

    fn until_subscribed(&self, role: &str, feed: &str, topics: u64) {
        self.until(role, "subscriptions", |status| {
            let feed = feed_of(status, feed);
            feed["subscriptions_wanted"] == topics
                && feed["subscriptions_missing"] == 0
                && feed["frames"] != 0
        });
    }

    fn end(mut self) -> TempDir {
        for sim in self.sims.drain(..) {
            sim.signal("TERM");
            assert!(sim.end().0.success());
        }
        self.folder
    }
}

fn feed_of<'a>(status: &'a Value, feed: &str) -> &'a Value {
    let feeds = status["feeds"].as_array().unwrap();
    feeds.iter().find(|row| row["feed"] == feed).unwrap_or(&Value::Null)
}

fn end(running: Running) {
    running.signal("TERM");
    let (ended, said) = running.end();
    assert!(ended.success(), "{said}");
}

/// Entries of a feed in the archive: when, which session, which kind, and the frame.
fn entries(store: &str, feed: &str) -> Vec<(i64, u64, String, String)> {
    let lines = output(0, &["cat", "--store", store, "--feed", feed, "--format", "entries", "--sent"]);
    let read = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let frame = entry.get("raw").map(ToString::to_string);
        let text = frame.or_else(|| entry["str"].as_str().map(str::to_owned)).unwrap_or_default();
        let (at, session) = (entry["t"].as_i64().unwrap(), entry["s"].as_u64().unwrap());
        (at, session, entry["k"].as_str().unwrap().to_owned(), text)
    };
    lines.lines().map(read).collect()
}

/// What the simulator says that it sent on its first connection.
fn sent(folder: &Path, feed: &str) -> Vec<String> {
    let lines = std::fs::read_to_string(folder.join(format!("{feed}.sent"))).unwrap();
    let frames = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    frames.filter(|frame| frame["c"] == 1).map(|frame| frame["raw"].as_str().unwrap().to_owned()).collect()
}

fn received(store: &str, feed: &str) -> Vec<String> {
    let lines = output(0, &["cat", "--store", store, "--feed", feed, "--format", "play"]);
    let frames = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    frames.map(|frame| frame["raw"].as_str().unwrap().to_owned()).collect()
}

/// A symbol is added by an edit and another one is left: within a second, and on the same connection, on which not
/// one frame is lost.
fn a_symbol_is_added(programs: &[(&str, &str)]) {
    let world = World::new();
    world.declare(&["BTC/USD", "SOL/USD"], &[], "");
    let running: Vec<_> = programs.iter().map(|(program, _)| world.start(program, &[])).collect();
    let role = programs[0].1;
    world.until_subscribed(role, "kraken", 4);
    let edited = SystemClock::new().now().nanos();
    world.declare(&["BTC/USD", "ETH/USD"], &[], "");
    let status = world.until(role, "a second version, subscribed", |status| {
        status["environment_version"]["how"] == "file" && status["healthy"] == true
    });
    let feed = feed_of(&status, "kraken");
    assert_eq!((&feed["reconnects"], &feed["gaps"], &feed["sessions"]), (&0.into(), &0.into(), &1.into()));
    assert_eq!(status["healthy"], true, "{status}");
    let said = until("every program has applied it", || {
        let status = run(&["env", "status", "--data", &world.data, "--json"]);
        status.status.success().then(|| String::from_utf8(status.stdout).unwrap())
    });
    for said in said.lines() {
        let said: Value = serde_json::from_str(said).unwrap();
        assert_eq!(
            (&said["differs"], said["changes"].as_array().unwrap().len()),
            (&false.into(), 0),
            "{said}"
        );
    }
    // The symbol that is left waits for its turn: the venue takes four requests a second, and what is new goes first.
    until("two seconds", || (SystemClock::new().now().nanos() - edited > 2_000_000_000).then_some(()));
    running.into_iter().for_each(end);
    let data = world.data.clone();
    let folder = world.end();

    let store = store_of(Path::new(&data));
    let entries = entries(&store, "kraken");
    let asked = |method: &str, symbol: &str| {
        let is = |kind: &str, text: &str| kind == "sent" && text.contains(method) && text.contains(symbol);
        entries.iter().find(|(_, _, kind, text)| is(kind, text)).map(|(at, ..)| (at - edited) as f64 / 1e9)
    };
    let (left, added) =
        (asked("\"unsubscribe\"", "SOL/USD").unwrap(), asked("\"subscribe\"", "ETH/USD").unwrap());
    let confirmed = |(at, _, kind, text): &&(i64, u64, String, String)| {
        *at > edited && kind == "control" && text.contains("\"success\":true") && text.contains("ETH/USD")
    };
    let confirmed = entries.iter().find(confirmed).map(|(at, ..)| (at - edited) as f64 / 1e9).unwrap();
    println!(
        "{role}: after the edit, unsubscribed at {left:.3} s, subscribed at {added:.3} s, confirmed at {confirmed:.3} s"
    );
    assert!((0.0..1.0).contains(&added) && (0.0..1.0).contains(&left) && confirmed < 1.0);
    // Not one frame is missing, of whatever symbol: it is one connection, and this is all that was sent on it.
    assert_eq!(
        entries.iter().map(|(_, session, ..)| *session).filter(|s| *s > 0).collect::<BTreeSet<_>>().len(),
        1
    );
    let (sent, received) = (sent(folder.path(), "kraken"), received(&store, "kraken"));
    println!("{role}: {} frames sent, {} received", sent.len(), received.len());
    assert!(sent.len() > 500);
    assert!(sent == received, "{} sent, {} received", sent.len(), received.len());
    let report = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in
        [("errors", 0), ("environments", 2), ("books_failed", 0), ("gaps", 0), ("sessions", 1)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
}

#[test]
fn an_edit_subscribes_within_a_second_and_touches_nothing_else() {
    a_symbol_is_added(&[("ssmd", "up")]);
}

#[test]
fn a_connector_and_an_archiver_follow_an_edit_too() {
    a_symbol_is_added(&[("ssmd-connector", "connector"), ("ssmd-archiver", "archiver")]);
}

/// A feed starts and stops while another one does not notice.
fn a_feed_comes_and_goes(programs: &[(&str, &str)]) {
    let world = World::new();
    world.declare(&["BTC/USD"], &[], "");
    let running: Vec<_> = programs.iter().map(|(program, _)| world.start(program, &[])).collect();
    let role = programs[0].1;
    world.until_subscribed(role, "kraken", 2);
    world.declare(&["BTC/USD"], &["PF_XBTUSD"], "");
    world.until_subscribed(role, "kraken-futures", 2);
    world.declare(&["BTC/USD"], &[], "");
    for (_, role) in programs {
        world.until(role, "the feed is gone", |status| feed_of(status, "kraken-futures").is_null());
    }
    // What it heard is archived by now, and its log is closed.
    let store = store_of(Path::new(&world.data));
    let first = json(&["verify", "--store", &store, "--feed", "kraken-futures", "--json"]);
    assert_eq!((&first["errors"], &first["sessions"]), (&0.into(), &1.into()), "{first}");
    world.declare(&["BTC/USD"], &["PF_XBTUSD", "PF_ETHUSD"], "");
    world.until_subscribed(role, "kraken-futures", 4);
    let status = world.until(role, "a status", |_| true);
    assert_eq!(feed_of(&status, "kraken")["reconnects"], 0);
    running.into_iter().for_each(end);
    let folder = world.end();
    let (sent, received) = (sent(folder.path(), "kraken"), received(&store, "kraken"));
    assert!(sent == received, "{} sent, {} received", sent.len(), received.len());
    let report = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in [("errors", 0), ("environments", 4), ("sessions", 3), ("gaps", 1), ("holes", 0)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    let gaps = json(&["gaps", "--store", &store, "--feed", "kraken-futures", "--json"]);
    assert_eq!(gaps[0]["cause"], "planned", "{gaps}");
}

#[test]
fn a_feed_starts_and_stops_by_an_edit() {
    a_feed_comes_and_goes(&[("ssmd", "up")]);
}

#[test]
fn a_feed_starts_and_stops_in_two_processes() {
    a_feed_comes_and_goes(&[("ssmd-connector", "connector"), ("ssmd-archiver", "archiver")]);
}

#[test]
fn a_bad_edit_changes_nothing_and_says_so() {
    let world = World::new();
    world.declare(&["BTC/USD"], &[], "");
    let up = world.start("ssmd", &[]);
    world.until_subscribed("up", "kraken", 2);
    let good = std::fs::read_to_string(&world.document).unwrap();
    let before = world.until("up", "a status", |_| true)["environment_version"].clone();
    for (bad, why, code) in [
        (good.replace("symbols", "symbls"), "E0101", 78),
        (good[..good.len() - 5].to_owned(), "E0005", 78),
        (String::new(), "E0010", 78),
        (good.replace("name: dev", "name: prod"), "`metadata.name` cannot change while it runs", 1),
        (format!("{good}  store: file:./elsewhere\n"), "`spec.store` cannot change while it runs", 1),
        (good.replace("BTC/USD", "B:\\u0009/USD"), "E0208", 78),
    ] {
        world.write(&bad);
        let status = world.until("up", why, |status| {
            status["document_refused"].as_str().is_some_and(|words| words.contains(why))
        });
        assert_eq!((&status["environment_version"], &status["healthy"]), (&before, &false.into()));
        assert_eq!(run(&["status", "--data", &world.data]).status.code(), Some(1));
        let compared = run(&["env", "status", "--data", &world.data]);
        assert_eq!(compared.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&compared.stdout).contains(why));
        assert_eq!(run(&["env", "apply", "--yes", "--data", &world.data]).status.code(), Some(code), "{bad}");
    }
    // The file goes away for a moment, and comes back as it was.
    std::fs::remove_file(&world.document).unwrap();
    world.write(&good);
    world.until("up", "everything is well", |status| status["healthy"] == true);
    let status = world.until("up", "a status", |_| true);
    assert_eq!((&status["environment_version"], &status["document_refused"]), (&before, &Value::Null));
    assert_eq!(feed_of(&status, "kraken")["reconnects"], 0);
    let history = json(&["env", "history", "--data", &world.data, "--json"]);
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success() && said.matches("what ran before runs on").count() >= 6, "{said}");
    world.end();
}

#[test]
fn what_a_document_extends_is_followed_too() {
    let world = World::new();
    let base = world.folder.path().join("base.yaml");
    let parent = |symbols: &str, more: &str| {
        let port = world.ports[0];
        let text = format!(
            "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: base }}\nspec:\n  feeds:\n    kraken:\n      \
             url: \"ws://127.0.0.1:{port}\"\n      channels: [book, trade]\n      symbols: {symbols}\n{more}"
        );
        let new = world.folder.path().join(".base.yaml.swp");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &base).unwrap();
    };
    parent("[BTC/USD]", "");
    world.write("apiVersion: ssmd/v1\nkind: Environment\nextends: base\nmetadata: { name: dev }\n");
    let up = world.start("ssmd", &[]);
    world.until_subscribed("up", "kraken", 2);
    parent("[BTC/USD, ETH/USD]", "");
    world.until_subscribed("up", "kraken", 4);
    let before = world.until("up", "a second version", |status| {
        status["environment_version"]["how"] == "file" && status["healthy"] == true
    })["environment_version"]
        .clone();
    // What is wrong stands in the parent, and is told with its name, line and code.
    for (symbols, more, why) in [
        ("[BTC/USD, \" X\"]", "", "base.yaml:9:"),
        ("[BTC/USD]", "  journl: local\n", "error[E0101]"),
        ("[BTC/USD]", "  store: file:./elsewhere\n", "`spec.store` cannot change while it runs"),
    ] {
        parent(symbols, more);
        let status = world.until("up", why, |status| {
            status["document_refused"].as_str().is_some_and(|words| words.contains(why))
        });
        assert_eq!((&status["environment_version"], &status["healthy"]), (&before, &false.into()));
        assert_eq!(feed_of(&status, "kraken")["subscriptions_wanted"], 4, "{status}");
    }
    std::fs::remove_file(&base).unwrap();
    world.until("up", "the parent is missed", |status| {
        status["document_refused"].as_str().is_some_and(|words| words.contains("E0020"))
    });
    parent("[ETH/USD]", "");
    let status = world.until("up", "the parent is back", |status| {
        status["healthy"] == true && feed_of(status, "kraken")["subscriptions_wanted"] == 2
    });
    assert_eq!(feed_of(&status, "kraken")["reconnects"], 0, "{status}");
    let history = json(&["env", "history", "--data", &world.data, "--json"]);
    assert_eq!(history.as_array().unwrap().len(), 3, "{history}");
    end(up);
    world.end();
}

#[test]
fn a_second_recorder_that_is_refused_leaves_the_history_as_it_was() {
    let world = World::new();
    world.declare(&["BTC/USD"], &[], "");
    let connector = world.start("ssmd-connector", &["--no-watch"]);
    world.until_subscribed("connector", "kraken", 2);
    world.declare(&["BTC/USD", "ETH/USD"], &[], "");
    let (ended, said) = world.start("ssmd", &[]).end();
    assert_eq!(ended.code(), Some(75), "{said}");
    let history = json(&["env", "history", "--data", &world.data, "--json"]);
    let rows = history.as_array().unwrap();
    assert_eq!((rows.len(), &rows[2]["sha256"], &rows[2]["how"]), (3, &rows[0]["sha256"], &"undo".into()));
    end(connector);
    world.end();
}

#[test]
fn what_runs_is_shown_at_a_glance() {
    let world = World::new();
    world.declare(&["BTC/USD"], &["PF_XBTUSD"], "");
    let up = world.start("ssmd", &[]);
    world.until("up", "health", |status| status["healthy"] == true);
    let clock = SystemClock::new();
    let took = |_| {
        let before = clock.elapsed();
        output(0, &["status", "--data", &world.data]);
        clock.elapsed() - before
    };
    let mut times: Vec<_> = (0..9).map(took).collect();
    times.sort();
    println!("ssmd status takes {:?}, {:?} in the middle of nine", times[0], times[4]);
    assert!(times[0] < Duration::from_millis(150), "{times:?}");
    world.sims.iter().for_each(|sim| sim.signal("STOP"));
    world.until("up", "the venue hangs", |status| {
        status["problems"].as_array().unwrap().contains(&"kraken: no connection".into())
    });
    let said = output(1, &["status", "--data", &world.data]);
    assert!(said.contains("✗ kraken: no connection"), "{said}");
    world.sims.iter().for_each(|sim| sim.signal("CONT"));
    end(up);
    let said = output(69, &["status", "--data", &world.data]);
    assert!(
        said.contains("nothing runs in this folder") && said.contains("kraken-futures: archived"),
        "{said}"
    );
    world.end();
}

#[test]
fn without_watching_changes_wait_for_a_signal_or_for_env_apply() {
    let world = World::new();
    world.declare(&["BTC/USD"], &[], "");
    let up = world.start("ssmd", &["--no-watch"]);
    world.until_subscribed("up", "kraken", 2);
    let data = world.data.as_str();
    let apply = |more: &[&str], code| output(code, &[&["env", "apply", "--data", data], more].concat());
    let wanted =
        || feed_of(&world.until("up", "a status", |_| true), "kraken")["subscriptions_wanted"].clone();

    world.declare(&["BTC/USD", "ETH/USD"], &[], "");
    assert!(apply(&["--dry-run"], 0).contains("+ kraken: symbol ETH/USD"));
    assert_eq!((wanted(), run(&["env", "status", "--data", data]).status.code()), (2.into(), Some(1)));
    apply(&[], 0);
    assert_eq!(wanted(), 4);
    world.until_subscribed("up", "kraken", 4);
    output(0, &["env", "status", "--data", data]);

    // What ends a recording is only said, until it is meant.
    world.declare(&["ETH/USD"], &[], "");
    let said = apply(&[], 1);
    assert!(said.contains("- kraken: symbol BTC/USD") && said.contains("--yes does it"), "{said}");
    assert_eq!(wanted(), 4);
    let done = json(&["env", "apply", "--data", data, "--yes", "--json"]);
    documented("An answer", &done);
    documented("A comparison", &json(&["env", "status", "--data", data, "--json"]));
    assert_eq!((&done["applied"], &done["version"]["how"]), (&true.into(), &"apply".into()), "{done}");
    assert_eq!(wanted(), 2);

    // Another document can be looked at, and is not applied.
    let other = world.folder.path().join("other.yaml");
    let text = std::fs::read_to_string(&world.document).unwrap();
    std::fs::write(&other, text.replace("ETH/USD", "SOL/USD")).unwrap();
    assert!(apply(&["--yes", &text_of(&other)], 1).contains("edit that one"));
    assert!(apply(&["--dry-run", &text_of(&other)], 0).contains("+ kraken: symbol SOL/USD"));
    assert_eq!(wanted(), 2);

    std::fs::rename(&other, &world.document).unwrap();
    up.signal("HUP");
    world.until("up", "the signal", |status| status["environment_version"]["how"] == "signal");
    // Its connections open anew: a planned gap, and the feed goes on.
    world.declare(&["SOL/USD"], &[], "");
    let text = std::fs::read_to_string(&world.document).unwrap();
    world.write(&text.replace("symbols:", "depth: 25, symbols:"));
    assert!(apply(&["--yes"], 0).contains("~ kraken: depth changes"));
    world.until_subscribed("up", "kraken", 2);
    end(up);
    let store = store_of(Path::new(data));
    let history = json(&["env", "history", "--store", &store, "--json"]);
    let ways: Vec<_> = history.as_array().unwrap().iter().map(|row| row["how"].as_str().unwrap()).collect();
    assert_eq!(ways, ["start", "apply", "apply", "signal", "apply"]);
    let today = SystemClock::new().now().day().to_string();
    let held = json(&["env", "history", "--data", data, "--as-of", &today, "--json"]);
    assert_eq!(held["document"]["spec"]["feeds"]["kraken"]["depth"], 25);
    output(1, &["env", "history", "--data", data, "--as-of", "2020-01-01"]);
    shown_as_of(&["--data", data], &today);
    shown_as_of(&["--store", &store], &today);
    let report = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in [("errors", 0), ("environments", 5), ("sessions", 2), ("gaps", 1)] {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    world.end();
}

/// The environment of a day: the last one that was in force, of all that were.
fn shown_as_of(place: &[&str], today: &str) {
    let show = |code, more: &[&str]| output(code, &[&["env", "show", "--as-of"], more, place].concat());
    let all: Value = serde_json::from_str(&show(0, &[today, "--json"])).unwrap();
    let mut without = all.clone();
    without["versions"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .for_each(|version| version["document"] = Value::Null);
    documented("The environment of a day", &without);
    let versions = all["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &all["day"], &all["environment"]), (5, &today.into(), &"dev".into()));
    for (version, next) in versions.iter().zip(&versions[1..]) {
        assert_eq!(version["valid_to"], next["valid_from"], "{all}");
    }
    assert_eq!((&versions[4]["valid_to"], &versions[4]["how"]), (&Value::Null, &"apply".into()));
    let said = show(0, &[today, "dev"]);
    assert!(
        said.starts_with(&format!("# 5 versions were in force on {today}; shown is the last\n")),
        "{said}"
    );
    let row = |key: &str| {
        let line = said.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(row("spec.feeds.kraken.depth "), ["25", "declared"]);
    assert_eq!(row("spec.feeds.kraken.symbols "), ["[SOL/USD]", "declared"]);
    assert_eq!(row("spec.journal "), ["local", "default"]);
    let refused = |more: &[&str]| {
        let output = run(&[&["env", "show", "--as-of"], more, place].concat());
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["2020-01-01"]).contains("none was in force on this day"));
    assert!(refused(&[today, "another"]).contains("none was ever applied"));
    assert!(refused(&["2200-01-01"]).contains("this day has not begun"));
}

/// Killed at any moment of a change, the recorder has the old environment or the new one.
#[test]
fn a_kill_at_any_step_of_a_change_leaves_the_old_or_the_new_and_never_half() {
    let world = World::new();
    let symbols =
        |turn: u64| if turn.is_multiple_of(2) { vec!["BTC/USD"] } else { vec!["BTC/USD", "ETH/USD"] };
    world.declare(&symbols(0), &[], "");
    let mut versions = 1;
    let mut applied = 0;
    for turn in 1..=12 {
        let by_apply = turn % 3 == 0;
        let up = world.start("ssmd", if by_apply { &["--no-watch"] } else { &[] });
        world.until("up", "a recorder", |status| feed_of(status, "kraken")["subscriptions_missing"] == 0);
        world.declare(&symbols(turn), &[], "");
        let apply =
            by_apply.then(|| Running::start(&mut ssmd(&["env", "apply", "--yes", "--data", &world.data])));
        wait(Duration::from_millis(if by_apply { turn * 3 } else { 60 + turn * 20 }));
        up.signal("KILL");
        up.end();
        drop(apply);
        let history = json(&["env", "history", "--data", &world.data, "--json"]);
        let now = history.as_array().unwrap().len();
        assert!(now == versions || now == versions + 1, "{history}");
        applied += now - versions;
        // The next start runs what is declared, whichever it was.
        let up = world.start("ssmd", &[]);
        let status = world.until("up", "a recorder", |status| status["healthy"] == true);
        let wanted = 2 * symbols(turn).len() as u64;
        assert_eq!(feed_of(&status, "kraken")["subscriptions_wanted"], wanted, "{status}");
        end(up);
        versions += 1;
        let history = json(&["env", "history", "--data", &world.data, "--json"]);
        assert_eq!(history.as_array().unwrap().len(), versions, "{history}");
    }
    println!("12 kills during a change: {applied} found the new version, {} the old one", 12 - applied);
    let report = json(&["verify", "--store", &store_of(Path::new(&world.data)), "--json"]);
    assert_eq!((&report["errors"], &report["environments"]), (&0.into(), &versions.into()), "{report}");
    world.end();
}

#[expect(
    clippy::disallowed_methods,
    reason = "a moment in another process is chosen, which no clock of ours moves"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
