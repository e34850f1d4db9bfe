//! `ssmd-chaos`: breaks the real programs and prints what was lost.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssmd_chaos::main()
}
