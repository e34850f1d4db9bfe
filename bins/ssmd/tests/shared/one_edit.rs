//! From one machine to several with one edit: the journal of the embedded example, local and then in NATS.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use super::rig::{ended, ssmd};
use super::{Server, binary, copy_folder, names, number};

const EXAMPLE: &str = include_str!("../../../../examples/environments/embedded.yaml");
const LOCAL: &str = "  journal: local ";

/// The example, and the same with its one edit.
fn documents(server: &Server) -> [String; 2] {
    let edit = |line: &str| match line.starts_with(LOCAL) {
        true => format!("  journal: {{ nats: {{ url: \"{}\" }} }}\n", server.url()),
        false => format!("{line}\n"),
    };
    let edited: String = EXAMPLE.lines().map(edit).collect();
    assert_eq!(EXAMPLE.lines().zip(edited.lines()).filter(|(one, two)| one != two).count(), 1);
    [EXAMPLE.to_owned(), edited]
}

/// Runs a command in a folder, with this document there, to its successful end.
fn in_folder(mut command: Command, folder: &Path, document: &str) -> Vec<u8> {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("embedded.yaml"), document).unwrap();
    let output = ended(command.current_dir(folder).env("SSMD_LOG", "error"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn json(folder: &Path, document: &str, arguments: &[&str]) -> Value {
    serde_json::from_slice(&in_folder(ssmd(arguments), folder, document)).unwrap()
}

/// Archives once, in the folder's own data folder.
fn archive(folder: &Path, document: &str) -> Value {
    let mut command = Command::new(binary("ssmd-archiver"));
    command.args(["-c", "embedded.yaml", "--listen", "127.0.0.1:0", "--once"]);
    in_folder(command, folder, document);
    json(folder, document, &["verify", "--json"])
}

#[test]
fn the_journal_is_the_only_edit_between_one_machine_and_several_and_the_archive_is_the_same() {
    let Some(server) = Server::start("") else { return };
    let [local, shared] = &documents(&server);
    let folder = tempdir().unwrap();
    let [here, alone, elsewhere] = ["here", "alone", "elsewhere"].map(|name| folder.path().join(name));
    let up = ["up", "-c", "embedded.yaml", "--sim", "--for", "3s", "--json"];
    json(&here, local, &up);
    // The edit, and the same command in the same folder.
    let status = json(&here, shared, &up);
    let durable = number(&status["feeds"][0], "durable");
    assert!(durable > 500, "{status}");
    assert_eq!(
        (number(&status["feeds"][0], "archived"), number(&status["feeds"][0], "relay_behind")),
        (durable, 0)
    );
    let report = json(&here, shared, &["verify", "--json"]);
    for (field, must) in [("errors", 0), ("holes", 0), ("lost", 0), ("gaps", 1), ("entries", durable)] {
        assert_eq!(report[field], must, "{field} of {report}");
    }
    let gaps = json(&here, shared, &["gaps", "--json"]);
    assert_eq!(gaps[0]["cause"], "planned", "between the two runs: {gaps}");
    // NATS has what was recorded before the edit, too.
    let log = json(&here, shared, &["journal", "ls", "-c", "embedded.yaml", "--local", "--json"]);
    let copy = json(&here, shared, &["journal", "ls", "-c", "embedded.yaml", "--json"]);
    for field in ["origin", "first", "last", "entries", "payload_bytes", "earliest", "latest", "holes"] {
        assert_eq!(log[0][field], copy[0][field], "{field}: {log} {copy}");
    }
    assert_eq!((number(&log[0], "first"), number(&log[0], "entries")), (1, durable), "{log}");

    // The same log archived by either document: beside the log, and on a machine that has only NATS.
    copy_folder(&here.join("ssmd-data/log"), &alone.join("ssmd-data/log"));
    let (one, two) = (archive(&alone, local), archive(&elsewhere, shared));
    for field in ["entries", "commits", "objects", "frames", "sessions", "gaps", "books_verified"] {
        assert_eq!(one[field], two[field], "{field}: {one} {two}");
    }
    assert_eq!((number(&one, "entries"), number(&one, "errors")), (durable, 0), "{one}");
    for kind in ["raw", "commits"] {
        let of = |folder: &Path| names(&folder.join("ssmd-data/store").join(kind));
        assert_eq!(of(&alone), of(&elsewhere), "{kind}");
        assert!(!of(&alone).is_empty(), "{kind}");
    }
}
