//! `docs/simplicity.md`, typed line by line.

use std::path::Path;
use std::process::Command;

use ssmd_core::{Clock, SystemClock};

use crate::environments::Place;

/// The most that a fresh clone may take until it records a user's own symbols.
const FROM_A_FRESH_CLONE_MAX: usize = 5;

/// A heading and the lines of its block.
struct Section<'d> {
    title: &'d str,
    lines: Vec<&'d str>,
}

fn sections(page: &str) -> Vec<Section<'_>> {
    let section = |text: &'_ str| -> Option<(usize, usize)> {
        let from = text.find("```sh\n")? + 6;
        Some((from, from + text[from..].find("```")?))
    };
    page.split("\n## ")
        .skip(1)
        .filter_map(|text| {
            let (from, to) = section(text)?;
            Some(Section { title: text.lines().next()?, lines: text[from..to].lines().collect() })
        })
        .collect()
}

#[test]
fn every_line_of_the_page_works_and_the_counts_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let Ok(page) = std::fs::read_to_string(root.join("docs/simplicity.md")) else {
        return println!("no docs beside this crate");
    };
    let sections = sections(&page);
    assert!(sections.len() >= 10, "{}", sections.len());
    assert!(
        sections[0].title.starts_with("From a fresh clone")
            && sections[0].lines.len() <= FROM_A_FRESH_CLONE_MAX
    );
    let (place, clock) = (Place::new(), SystemClock::new());
    for Section { title, lines } in &sections {
        let plural = if lines.len() == 1 { "" } else { "s" };
        assert!(title.ends_with(&format!(": {} command{plural}", lines.len())), "{title}: {}", lines.len());
        for line in lines {
            let begin = clock.elapsed();
            run(&place, &root, line);
            println!("{:>6} ms  {line}", (clock.elapsed() - begin).as_millis());
        }
    }
    let document = place.read("env.yaml");
    assert!(document.contains("SOL/USD") && document.contains("kraken-futures:"), "{document}");
    let recorded = place.run(&["ls", "--feed", "kraken", "--json"]);
    assert!(String::from_utf8_lossy(&recorded.stdout).contains("\"frames\":"));
}

fn run(place: &Place, root: &Path, line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let mut command = match words.as_slice() {
        // The program that this test runs was built from there.
        ["cargo", "install", "--path", path] => {
            return assert!(root.join(path).join("src/main.rs").is_file(), "{line}");
        }
        ["ssmd", "up", rest @ ..] => place.command(&[&["up"], rest, &["--sim", "--for", "3s"]].concat()),
        ["ssmd", arguments @ ..] => place.command(arguments),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(place.path(""));
            command
        }
        [] => panic!("an empty line"),
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}\n{said}", String::from_utf8_lossy(&output.stdout));
}
