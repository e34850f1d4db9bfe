//! The documents that `ssmd init` and `ssmd env create` begin with. A new one is a file and a line.

use clap::builder::{PossibleValue, PossibleValuesParser};

/// A document to begin with.
pub(crate) struct Template {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is, in a few words.
    summary: &'static str,
    /// What it says. The name is replaced.
    pub(crate) text: &'static str,
}

/// All of them.
pub(crate) const TEMPLATES: &[Template] = &[
    Template {
        name: "minimal",
        summary: "two symbols of Kraken, all else by default",
        text: include_str!("templates/minimal.yaml"),
    },
    Template {
        name: "kraken",
        summary: "Kraken spot, every key that it takes",
        text: include_str!("templates/kraken.yaml"),
    },
    Template {
        name: "kraken-futures",
        summary: "Kraken futures, every key that it takes",
        text: include_str!("templates/kraken-futures.yaml"),
    },
    Template {
        name: "kalshi",
        summary: "Kalshi, every key that it takes; it wants an account",
        text: include_str!("templates/kalshi.yaml"),
    },
    Template {
        name: "polymarket",
        summary: "Polymarket, every key that it takes",
        text: include_str!("templates/polymarket.yaml"),
    },
    Template {
        name: "full",
        summary: "every venue that needs no account, with comments",
        text: include_str!("templates/full.yaml"),
    },
];

/// The template of that name.
pub(crate) fn template(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

/// Reads a template's name.
pub(crate) fn parser() -> PossibleValuesParser {
    TEMPLATES
        .iter()
        .map(|template| PossibleValue::new(template.name).help(template.summary))
        .collect::<Vec<_>>()
        .into()
}

#[cfg(test)]
mod tests {
    use ssmd_core::environment::Environment;

    use super::*;

    #[test]
    fn every_template_is_valid_and_stays_so_under_another_name() {
        for Template { name, text, .. } in TEMPLATES {
            let words = ssmd_feeds::vocabulary();
            Environment::parse(text.as_bytes(), name, &words).unwrap_or_else(|problems| panic!("{problems}"));
            let renamed = crate::commands::env::renamed(text, "other").unwrap();
            let environment = Environment::parse(renamed.as_bytes(), name, &words).unwrap();
            assert_eq!(environment.name.as_str(), "other");
            assert_eq!(renamed.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn every_venue_has_a_template_and_all_of_them_can_be_started() {
        let words = ssmd_feeds::vocabulary();
        for venue in words.feeds.iter().map(|feed| feed.name) {
            let template = template(venue).unwrap_or_else(|| panic!("no template {venue}"));
            let checked = Environment::check(template.text.as_bytes(), venue, &words).unwrap();
            let environment = checked.to_start().unwrap_or_else(|later| panic!("{later}"));
            assert!(environment.enabled().all(|feed| feed.name.as_str() == venue), "{venue}");
        }
        for Template { name, text, .. } in TEMPLATES {
            let checked = Environment::check(text.as_bytes(), name, &words).unwrap();
            assert_eq!(checked.later.count(), 0, "{name}: {}", checked.later);
        }
    }

    #[test]
    fn the_examples_are_the_templates() {
        let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/environments");
        if !examples.is_dir() {
            return println!("no examples beside this crate");
        }
        for Template { name, text, .. } in TEMPLATES {
            let example = std::fs::read_to_string(examples.join(format!("{name}.yaml"))).unwrap();
            // The first line says where the file is.
            let body = |text: &str| text.split_once('\n').map(|(_, body)| body.to_owned());
            assert!(
                body(&example) == body(text),
                "examples/environments/{name}.yaml and its template differ"
            );
        }
    }
}
