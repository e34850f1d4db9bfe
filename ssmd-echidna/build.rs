//! Builds the bridge to an installed libechidna; without the feature `libechidna` it does nothing.

#[cfg(feature = "libechidna")]
#[path = "build/installed.rs"]
mod installed;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "libechidna")]
    bridge::build();
}

#[cfg(feature = "libechidna")]
mod bridge {
    use crate::installed::{self, Installed};

    pub(super) fn build() {
        println!("cargo::rerun-if-env-changed=LIBECHIDNA_DIR");
        for file in ["build/installed.rs", "src/bridge.hpp", "src/bridge.cpp", "src/ffi.rs"] {
            println!("cargo::rerun-if-changed={file}");
        }
        let folder = std::env::var_os("LIBECHIDNA_DIR");
        if let Err(message) = installed::find(folder.as_deref(), "pkg-config".as_ref()).and_then(compile) {
            println!("cargo::error={message}");
        }
    }

    fn compile(installed: Installed) -> Result<(), String> {
        let mut build = cxx_build::bridge("src/ffi.rs");
        build.file("src/bridge.cpp").std("c++20").flag_if_supported("-Wall").flag_if_supported("-Wextra");
        // libechidna ends the process where it meets what it did not expect; we look at what it returns.
        build.define("NDEBUG", None);
        for folder in &installed.include {
            build.flag("-isystem").flag(folder.display().to_string());
        }
        build.try_compile("ssmd-echidna-bridge").map_err(|_| {
            let folders: Vec<_> =
                installed.include.iter().map(|folder| folder.display().to_string()).collect();
            installed::unusable(&format!(
                "the bridge does not compile with the one in {}",
                folders.join(", ")
            ))
        })?;
        installed.link.iter().for_each(|line| println!("cargo::{line}"));
        // What looks after sanitized C++ becomes a part of each test, where it sees the memory of Rust's too.
        println!("cargo::rerun-if-env-changed=CXXFLAGS");
        if std::env::var("CXXFLAGS").is_ok_and(|flags| flags.contains("-fsanitize=address")) {
            for argument in ["-Wl,--whole-archive", "-l:libasan.a", "-Wl,--no-whole-archive"] {
                println!("cargo::rustc-link-arg-tests={argument}");
            }
        }
        Ok(())
    }
}
