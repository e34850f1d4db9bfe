//! What users write: environment documents, and requests to a running process.

use ssmd_core::Filter;
use ssmd_core::environment::{Environment, PROBLEMS_MAX};

use crate::bound::{Bound, bounded};

/// A scalar of one byte, its comma beside it, is a node with its place and its text here; each of the hundred problems
/// that are told has texts of its own.
const DOCUMENT: Bound = Bound { fixed: 512 * 1024, each: 512 };

pub(crate) fn environment(case: &[u8]) {
    let words = ssmd_feeds::vocabulary();
    let parsed = bounded(DOCUMENT, case.len(), || Environment::parse(case, "fuzz.yaml", &words));
    let problems = match parsed {
        Ok(environment) => {
            assert!(!environment.feeds.is_empty(), "an environment without feeds is none");
            for feed in &environment.feeds {
                assert!(words.feed(feed.name.as_str()).is_some(), "a feed that nobody knows");
            }
            let document = environment.document().to_string();
            let again = Environment::parse(document.as_bytes(), "again.yaml", &words);
            assert_eq!(again.expect("it was written").hash(), environment.hash(), "{document}");
            return;
        }
        Err(problems) => problems,
    };
    let told = problems.problems.len();
    assert!(told > 0 && told <= PROBLEMS_MAX && problems.count() == told + problems.omitted);
    for problem in &problems.problems {
        assert!(problem.span.start <= problem.span.end && problem.span.end <= case.len(), "{problem:?}");
        assert!(problem.line > 0 && problem.column > 0 && !problem.message.is_empty());
    }
    assert!(!problems.to_string().is_empty());
    assert!(problems.to_json().is_object());
}

pub(crate) fn control(case: &[u8]) {
    let Ok(line) = std::str::from_utf8(case) else { return };
    let Ok(request) = bounded(Bound::PARSER, case.len(), || ssmd_app::Request::parse(line)) else { return };
    let written = serde_json::to_string(&request).expect("a request is JSON");
    assert_eq!(ssmd_app::Request::parse(&written).expect("it was written"), request);
    if let ssmd_app::Request::Tail { filter } = request
        && let Ok(filter) = filter.parse::<Filter>()
    {
        assert_eq!(filter.to_string().parse::<Filter>().ok(), Some(filter));
    }
}
