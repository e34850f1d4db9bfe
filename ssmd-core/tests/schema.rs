//! The generated code that is checked in is what the schema says: `src/schema/ssmd_capnp.rs` is made again from
//! `schema/ssmd.capnp` and compared. `UPDATE_EXPECT=1` writes it. Nothing but this test needs the `capnp` program.

use std::path::Path;
use std::process::Command;

/// The version of `capnp` that the code in the tree was made with. Others describe the same schema in other words,
/// so only the code itself is compared then, without the embedded description.
const CAPNP_VERSION: &str = "Cap'n Proto version 0.9.2";

#[test]
fn generated_code_is_what_the_schema_says() {
    let Some(version) = capnp_version() else {
        let required = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!required, "CI needs the `capnp` program: apt-get install capnproto");
        println!("not compared: the `capnp` program is not installed (apt-get install capnproto)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    capnpc::CompilerCommand::new()
        .src_prefix(root.join("schema"))
        .file(root.join("schema/ssmd.capnp"))
        .output_path(folder.path())
        .default_parent_module(vec!["schema".into()])
        .run()
        .unwrap();
    let made = std::fs::read_to_string(folder.path().join("ssmd_capnp.rs")).unwrap();
    let path = root.join("src/schema/ssmd_capnp.rs");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let same = if version == CAPNP_VERSION { made == kept } else { code(&made) == code(&kept) };
    assert!(same, "the schema changed: run this test with UPDATE_EXPECT=1 ({version})");
}

fn capnp_version() -> Option<String> {
    let output = Command::new("capnp").arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The lines of generated code that do not embed the schema's own description.
fn code(text: &str) -> Vec<&str> {
    let description = |line: &&str| line.contains("::capnp::word(") || line.contains("[::capnp::Word;");
    text.lines().filter(|line| !description(line)).collect()
}
