//! Finds an installed libechidna and builds the bridge to it; without the feature `libechidna` it does nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "libechidna")]
    bridge::build();
}

#[cfg(feature = "libechidna")]
mod bridge {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// What libechidna itself needs, as far as the bridge uses it.
    const NEEDED: [&str; 3] = ["ssl", "crypto", "numa"];

    struct Installed {
        include: Vec<PathBuf>,
        link: Vec<String>,
    }

    pub(super) fn build() {
        println!("cargo::rerun-if-env-changed=LIBECHIDNA_DIR");
        for file in ["src/bridge.hpp", "src/bridge.cpp", "src/ffi.rs"] {
            println!("cargo::rerun-if-changed={file}");
        }
        let installed = match std::env::var_os("LIBECHIDNA_DIR") {
            Some(folder) => in_folder(Path::new(&folder)),
            None => by_pkg_config(),
        };
        let installed = match installed {
            Ok(installed) => installed,
            Err(missing) => {
                println!(
                    "cargo::error=the feature `libechidna` needs an installed libechidna: {missing}; set \
                     LIBECHIDNA_DIR to a folder with include/echidna/*.hpp and lib/libechidna.a (or .so), see \
                     docs/libechidna.md"
                );
                return;
            }
        };
        let mut build = cxx_build::bridge("src/ffi.rs");
        build.file("src/bridge.cpp").std("c++20").flag_if_supported("-Wall").flag_if_supported("-Wextra");
        // libechidna ends the process where it meets what it did not expect; we look at what it returns.
        build.define("NDEBUG", None);
        for folder in &installed.include {
            build.flag("-isystem").flag(folder.display().to_string());
        }
        build.compile("ssmd-echidna-bridge");
        for line in &installed.link {
            println!("cargo::{line}");
        }
    }

    fn in_folder(folder: &Path) -> Result<Installed, String> {
        let include = folder.join("include");
        for header in ["event_mgr.hpp", "tcp.hpp", "websocket.hpp"] {
            let path = include.join("echidna").join(header);
            if !path.is_file() {
                return Err(format!("there is no {}", path.display()));
            }
        }
        let lib = folder.join("lib");
        let kind = match (lib.join("libechidna.a").is_file(), lib.join("libechidna.so").is_file()) {
            (true, _) => "static",
            (false, true) => "dylib",
            (false, false) => return Err(format!("there is no libechidna.a or .so in {}", lib.display())),
        };
        let mut link = vec![format!("rustc-link-search=native={}", lib.display())];
        link.push(format!("rustc-link-lib={kind}=echidna"));
        link.extend(NEEDED.map(|library| format!("rustc-link-lib={library}")));
        Ok(Installed { include: vec![include], link })
    }

    fn by_pkg_config() -> Result<Installed, String> {
        let none = || "LIBECHIDNA_DIR is not set and pkg-config does not know `echidna`".to_owned();
        let asked = Command::new("pkg-config").args(["--cflags", "--libs", "echidna"]).output();
        let asked = asked.ok().filter(|asked| asked.status.success()).ok_or_else(none)?;
        let mut installed = Installed { include: Vec::new(), link: Vec::new() };
        for word in String::from_utf8_lossy(&asked.stdout).split_whitespace() {
            if let Some(folder) = word.strip_prefix("-I") {
                installed.include.push(folder.into());
            } else if let Some(folder) = word.strip_prefix("-L") {
                installed.link.push(format!("rustc-link-search=native={folder}"));
            } else if let Some(library) = word.strip_prefix("-l") {
                installed.link.push(format!("rustc-link-lib={library}"));
            }
        }
        installed.link.extend(NEEDED.map(|library| format!("rustc-link-lib={library}")));
        Ok(installed)
    }
}
