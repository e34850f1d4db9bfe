//! Names: whatever a venue calls something, and what users and brokers write.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use ssmd_core::entry::note;
use ssmd_core::name::{self, SYMBOL_BYTES_MAX, TOKEN_BYTES_MAX};
use ssmd_core::{
    Channel, Day, EntryId, EnvironmentName, Error, FeedName, Filter, Gap, ObjectPath, Origin, Subject,
    Symbol, Timestamp,
};

use crate::bound::{Bound, bounded};

/// Two names, with a line feed between them.
pub(crate) fn names(case: &[u8]) {
    let text = String::from_utf8_lossy(case);
    let (a, b) = text.split_once('\n').unwrap_or((&text, ""));
    let token = bounded(Bound::PARSER, case.len(), || name::encode(a));
    assert_eq!(a == b, token == name::encode(b), "two names never have one token");
    assert!(token.len() <= TOKEN_BYTES_MAX);
    assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~')));
    if !token.starts_with("~~") {
        assert_eq!(name::decode(&token).as_deref(), Some(a), "a token says whose it is");
    }
    if let Some(text) = bounded(Bound::PARSER, case.len(), || name::decode(a)) {
        assert_eq!(name::encode(&text), a, "what is decoded was encoded");
    }
    match Symbol::new(a) {
        Ok(symbol) => stays_inside(&symbol.token()),
        Err(_) => assert!(a.is_empty() || a.len() > SYMBOL_BYTES_MAX),
    }
    reads_what_it_prints::<FeedName>(a);
    reads_what_it_prints::<EnvironmentName>(a);
    reads_what_it_prints::<ObjectPath>(a);
    reads_what_it_prints::<Subject>(a);
    reads_what_it_prints::<Filter>(b);
    if let (Ok(subject), Ok(filter)) = (a.parse::<Subject>(), b.parse::<Filter>()) {
        assert_eq!(filter.matches(&subject), matches(b, a), "{b} {a}");
        assert!(Filter::all().matches(&subject));
    }
}

/// A token is one token of a subject, one folder of a path, and one level of a topic.
fn stays_inside(token: &str) {
    let subject = Subject::new(["prod", "kraken", "json", "trade", token]).expect("a token is safe");
    assert_eq!(subject.tokens().collect::<Vec<_>>(), ["prod", "kraken", "json", "trade", token]);
    let path: ObjectPath = format!("raw/kraken/{token}/x").parse().expect("a token is safe");
    let parts = std::path::Path::new(path.as_str()).components();
    assert!(parts.clone().all(|part| matches!(part, std::path::Component::Normal(_))));
    assert_eq!(parts.count(), 4);
}

/// The same as [`Filter::matches`], by recursion.
fn matches(filter: &str, subject: &str) -> bool {
    fn rest(filter: &[&str], subject: &[&str]) -> bool {
        match (filter, subject) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", filter @ ..], [_, subject @ ..]) => rest(filter, subject),
            ([wanted, filter @ ..], [token, subject @ ..]) => wanted == token && rest(filter, subject),
            _ => false,
        }
    }
    rest(&filter.split('.').collect::<Vec<_>>(), &subject.split('.').collect::<Vec<_>>())
}

/// The first eight bytes are also a moment and a day by themselves.
pub(crate) fn ids(case: &[u8]) {
    let text = String::from_utf8_lossy(case);
    reads_what_it_prints::<EntryId>(&text);
    reads_what_it_prints::<Origin>(&text);
    reads_what_it_prints::<Channel>(&text);
    reads_what_it_prints::<Timestamp>(&text);
    reads_what_it_prints::<Day>(&text);
    if let Some(bytes) = case.first_chunk() {
        let time = Timestamp::from_nanos(i64::from_le_bytes(*bytes));
        assert_eq!(
            time.to_string().parse::<Timestamp>().ok(),
            Some(time),
            "every moment is printed and read"
        );
        let day = time.day();
        assert_eq!(day.to_string().parse::<Day>().ok(), Some(day), "so is its day");
        assert!(day.start() <= time || day.start().nanos() == i64::MIN);
    }
    if let Some(bytes) = case.first_chunk() {
        let day = Day::from_days(i32::from_le_bytes(*bytes));
        let printed = day.to_string();
        assert!(printed.parse::<Day>().ok().is_none_or(|again| again == day), "{printed}");
    }
    notes(case);
}

fn notes(case: &[u8]) {
    note_comes_back::<note::Epoch>(case);
    note_comes_back::<note::Open>(case);
    note_comes_back::<note::Close>(case);
    note_comes_back::<note::Tick>(case);
    note_comes_back::<note::Roll>(case);
    note_comes_back::<Gap>(case);
}

fn note_comes_back<T>(case: &[u8])
where
    T: for<'a> serde::Deserialize<'a> + serde::Serialize + PartialEq + Debug,
{
    if let Ok(read) = bounded(Bound::PARSER, case.len(), || note::decode::<T>(case)) {
        let written = note::encode(&read);
        assert_eq!(note::decode::<T>(&written).expect("it was written"), read);
    }
}

fn reads_what_it_prints<T>(text: &str)
where
    T: FromStr<Err = Error> + Display + Debug + PartialEq,
{
    match bounded(Bound::PARSER, text.len(), || text.parse::<T>()) {
        Ok(value) => {
            let printed = value.to_string();
            assert_eq!(printed.parse::<T>().ok().as_ref(), Some(&value), "{printed:?} from {text:?}");
        }
        Err(error) => assert!(error.to_string().len() < 2048, "an error shows a part of what is hostile"),
    }
}
