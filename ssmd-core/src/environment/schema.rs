//! What a document may hold: the types that values have. The table of keys is in `fields`; the reader, the
//! messages, the docs' page and the schema for editors all follow from it, so none can say something else than
//! the others.

use std::fmt;

use super::vocabulary::one_of;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The section it stands in, `.` between the levels; empty for the document itself.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// What its value is.
    pub kind: Type,
    /// What holds without it; `None` if it must stand there.
    pub default: Option<&'static str>,
    /// How it may look.
    pub example: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// Whether it is read and checked, and refused at start, since nothing carries it out yet.
    pub later: bool,
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Type {
    /// This text and no other.
    Fixed(&'static str),
    /// Any text with something in it, up to this many bytes.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of an environment.
    Environment,
    /// A lower-case letter, then lower-case letters, digits and hyphens: what can stand in subjects and paths.
    Name,
    /// Letters, digits and `-_.`: what other systems call something.
    Id,
    /// `true` or `false`.
    Truth,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// Days to keep something: a whole number from 1, or `-1`.
    Days,
    /// A number of bytes, as in `10GB`.
    Bytes,
    /// A length of time, as in `30s`.
    Duration,
    /// A time of day, as in `"00:10"`.
    TimeOfDay,
    /// The name of a time zone.
    Zone,
    /// A moment, or a UTC day.
    Moment,
    /// An exact number that is not below zero.
    Decimal,
    /// An address with one of these schemes.
    Address(&'static [&'static str]),
    /// A host, with a port if need be, and `http://` or `https://` if need be.
    Endpoint,
    /// Where to listen: an IP address and a port.
    Listen,
    /// The name of a bucket.
    Bucket,
    /// Where a file is kept: `file:` and a path.
    Store,
    /// A channel of the venue, with its option.
    Channel,
    /// A symbol of the venue, or a pattern of them.
    Symbol,
    /// A feed of this document.
    Feed,
    /// A secret by name.
    Secret,
    /// Kubernetes' secret: its kind and its name.
    Mounted,
    /// A map with the keys of this section.
    Section(&'static str),
    /// A map of feeds, each with the keys of this section.
    Feeds(&'static str),
    /// A map of names to this.
    MapOf(&'static Type),
    /// A list of this, with something in it.
    ListOf(&'static Type),
    /// One of several.
    AnyOf(&'static [Type]),
}

/// The words for days of the week, from Monday.
pub(super) const WEEKDAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(text) => write!(f, "`{text}`"),
            Self::Text(_) => f.write_str("text"),
            Self::Word(words) => f.write_str(&one_of(words.iter())),
            Self::Environment | Self::Name => f.write_str("name"),
            Self::Id => f.write_str("identifier"),
            Self::Truth => f.write_str("`true` or `false`"),
            Self::Whole(least, most) => write!(f, "whole number from {least} to {most}"),
            Self::Days => f.write_str("whole number of days, or `-1` for ever"),
            Self::Bytes => f.write_str("size, as in `10GB`"),
            Self::Duration => f.write_str("duration, as in `30s`, `5m`, `1h30m` or `7d`"),
            Self::TimeOfDay => f.write_str("time of day as `\"HH:MM\"`"),
            Self::Zone => f.write_str("time zone, as in `UTC` or `America/New_York`"),
            Self::Moment => f.write_str("time with its offset, or UTC day"),
            Self::Decimal => f.write_str("number"),
            Self::Address(schemes) => {
                write!(f, "{} address", one_of(schemes.iter().map(|scheme| format!("{scheme}://"))))
            }
            Self::Endpoint => f.write_str("host, or `https://` address"),
            Self::Listen => f.write_str("IP address and port"),
            Self::Bucket => f.write_str("bucket"),
            Self::Store => f.write_str("`file:` and a path, or `s3://` and a bucket"),
            Self::Channel => f.write_str("channel"),
            Self::Symbol => f.write_str("symbol"),
            Self::Feed => f.write_str("feed of this document"),
            Self::Secret => f.write_str("secret by name"),
            Self::Mounted => f.write_str("`sealed-secret/NAME`"),
            Self::Section(_) => f.write_str("map"),
            Self::Feeds(_) => f.write_str("map of feeds"),
            Self::MapOf(of) => write!(f, "map of names to {of}"),
            Self::ListOf(of) => write!(f, "list: {of}"),
            Self::AnyOf(types) => {
                let shown: Vec<_> = types.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join("; or "))
            }
        }
    }
}

pub(super) const fn field(section: &'static str, key: &'static str, kind: Type) -> Field {
    Field { section, key, kind, default: None, example: "", meaning: "", later: false }
}

impl Field {
    /// What holds without it.
    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// How it looks, and what it says.
    pub(super) const fn says(self, example: &'static str, meaning: &'static str) -> Self {
        Self { example, meaning, ..self }
    }

    /// Nothing carries it out yet.
    pub(super) const fn later(self) -> Self {
        Self { later: true, ..self }
    }

    /// The whole path of the key.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.section, self.key) }
    }
}
