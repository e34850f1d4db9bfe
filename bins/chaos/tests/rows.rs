//! Every row in its short form, on the real programs.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::process::Command;

#[test]
fn every_row_holds() {
    // One after another: rows measure times, and a machine has few cores.
    let status = Command::new(env!("CARGO_BIN_EXE_ssmd-chaos")).arg("run").status().unwrap();
    assert!(status.success(), "a row did not hold; its line is above");
}

#[test]
fn a_row_that_does_not_exist_is_refused() {
    let status = Command::new(env!("CARGO_BIN_EXE_ssmd-chaos")).args(["run", "R00"]).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
