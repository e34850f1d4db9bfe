//! Every kind of problem a document can have: its code, and what a page about it says.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// A headline.
    pub title: &'static str,
    /// Why it is refused, and what to do.
    pub text: &'static str,
    /// The least that causes it.
    pub example: &'static str,
}

/// Writes the codes, their numbers and their explanations as one table.
macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal, $text:literal, $example:literal;)*) => {
        /// A kind of problem. Numbers never change and are never used twice: `E00` is about the file, `E01` about
        /// its shape, `E02` about its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        /// Every code, in order.
        pub const CODES: &[Explanation] = &[
            $(Explanation { code: Code::$name, title: $title, text: $text, example: $example },)*
        ];

        impl Code {
            /// Its number: `E0101`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $number,)*
                }
            }
        }
    };
}

codes! {
    TooLarge = "E0001", "The document is too large",
        "A document may have 10 MiB. One that has more is not a document of this kind, or lists what a pattern says better: `symbols: [\"*\"]`.",
        "a file of 11 MiB";
    Encoding = "E0002", "The document is not UTF-8",
        "Documents are UTF-8; a byte order mark at the start is allowed. Save the file as UTF-8: editors call it \"UTF-8\", never \"Unicode\" (UTF-16) or \"Western\" (Latin-1).",
        "a file that an editor saved as UTF-16";
    ControlCharacter = "E0003", "A control character",
        "NUL and the other control characters mean nothing in YAML and hide what a line says. Delete them; where text needs one, write it in double quotes: `\"\\u0007\"`.",
        "metadata: { name: dev\\0 }";
    Tab = "E0004", "A tab in the indentation",
        "YAML indents with spaces only. Replace the tab by spaces.",
        "spec:\n→feeds: …";
    Syntax = "E0005", "The document is not YAML",
        "The text cannot be read as YAML from this place on, so nothing behind it has been checked yet. Often a quote or a bracket is not closed, a colon has no space behind it, or a line is not indented as the line above.",
        "metadata: { name: dev";
    TooDeep = "E0006", "Nested too deeply",
        "Maps and lists may nest 32 levels deep. No document needs more than 6.",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
    Alias = "E0007", "An anchor or an alias",
        "`&name` and `*name` are refused: they make a document mean more than its lines say, up to gigabytes. Write the value where it holds. A pattern of symbols that starts with `*` needs quotes: `\"*/USD\"`.",
        "symbols: [*/USD]";
    Tag = "E0008", "A tag",
        "`!tag` and `!!type` are refused: every key has its one type. Leave the tag out; text that looks like something else goes in quotes.",
        "depth: !!int 10";
    DuplicateKey = "E0009", "A key stands twice",
        "Only one of the two could hold, and which one would be a guess. Delete or rename one.",
        "metadata: { name: dev, name: prod }";
    OneDocument = "E0010", "Not one document",
        "A file holds exactly one document: neither none (only comments) nor several, separated by `---`.",
        "---\n---";
    Key = "E0011", "A key that is not text",
        "Keys are words. A list or a map cannot be a key. Often a `?` or a bracket stands where none was meant.",
        "? [a, b]\n: c";
    Extends = "E0020", "A document that cannot be extended",
        "`extends` names the document that this one builds on: a path relative to this document, or a name, which means `NAME.yaml` beside it. It must be there, a chain of them must end, and it may have 8 documents.",
        "extends: basis.yaml";
    UnknownKey = "E0101", "An unknown key",
        "This section has no such key. It is refused, since an ignored key is a wish that nobody hears. The message names the keys that exist and the nearest spelling.",
        "spec: { feds: … }";
    MissingKey = "E0102", "A missing key",
        "This section needs the key; no default would be right for everybody.",
        "metadata: {}";
    WrongType = "E0103", "A value of the wrong type",
        "The value is of another type than the key takes. Text that looks like a number, `true`, or `null` needs quotes. Nothing after a colon is no value at all: give one, or delete the key.",
        "symbols: BTC/USD";
    Empty = "E0104", "An empty list or map",
        "At least one is needed. To leave something out, leave out its key.",
        "symbols: []";
    NotBuiltYet = "E0105", "Not built yet",
        "The key has a meaning that this version does not carry out yet. It is refused rather than ignored: the document would promise what does not happen.",
        "journal: { nats: { url: nats://127.0.0.1:4222 } }";
    ApiVersion = "E0106", "Another version of the document",
        "This version reads `apiVersion: ssmd/v1`.",
        "apiVersion: ssmd/v2";
    Kind = "E0107", "Another kind of document",
        "This is read as an environment: `kind: Environment`.",
        "kind: Deployment";
    Name = "E0201", "Not the name of an environment",
        "The name is part of subjects, paths and labels: a lower-case letter, then lower-case letters, digits and hyphens, 48 bytes at most.",
        "metadata: { name: Prod EU }";
    UnknownFeed = "E0202", "An unknown feed",
        "Feeds are listed under the name that `ssmd feed list` shows for them.",
        "feeds: { krakn: … }";
    UnknownChannel = "E0203", "An unknown channel",
        "Channels have the venue's own names. `\"*\"` means all of them, and stands alone.",
        "channels: [tickers]";
    ChannelOption = "E0204", "Not an option of this channel",
        "Behind a channel's colon stands the venue's option for it, as in `book:25` or `ticker:bbo`. The message names those that this channel takes.",
        "channels: [\"book:11\"]";
    DuplicateChannel = "E0205", "A channel is listed twice",
        "A channel can be subscribed to once for each symbol; a book has one depth.",
        "channels: [\"book:10\", \"book:25\"]";
    Url = "E0206", "Not an address",
        "An address is `wss://host[:port][/path]` for `url` and `https://…` for `rest`, without credentials, fragment and white space. Credentials are named under `keys`.",
        "url: ws.kraken.com/v2";
    Plaintext = "E0207", "Plaintext to another machine",
        "`ws://` and `http://` can be read and changed by everybody on the way, so they are for this machine only (`localhost`, `127.0.0.0/8`, `[::1]`). Use `wss://` or `https://`; in a network that you trust, add `allow_plaintext: true` to the feed.",
        "url: ws://10.0.0.7:9000/v2";
    Symbol = "E0208", "Not a symbol",
        "A symbol is the venue's own name for it: some text, not empty, without white space around it and without control characters.",
        "symbols: [\" BTC/USD\"]";
    DuplicateSymbol = "E0209", "A symbol is listed twice",
        "Each symbol or pattern stands once.",
        "symbols: [\"BTC/USD\", \"BTC/USD\"]";
    Depth = "E0210", "Not a depth of this venue",
        "Venues have books of certain depths only; the message names them.",
        "depth: 11";
    Journal = "E0211", "Not a journal",
        "The one journal so far is `local`: the log in the data folder.",
        "journal: disk";
    Store = "E0212", "Not a store",
        "A store is `file:` and a path: `file:./ssmd-data/store` is relative to the working directory, `file:///var/lib/ssmd/store` is not.",
        "store: ./ssmd-data/store";
    Secret = "E0213", "A secret that is not named",
        "The document says where a secret is, never what it is: `{ env: VARIABLE }` or `{ file: PATH }`. If the secret itself stood here, it may be in your version control by now: replace it at the venue.",
        "keys: { api_key: 1234 }";
    Range = "E0214", "Out of range",
        "The value is of the right type and too small or too large. The message names the range.",
        "redundancy: 0";
    Word = "E0215", "Not one of the words",
        "Only certain words may stand here; the message names them.",
        "type: nat";
    Duration = "E0216", "Not a duration",
        "A duration is a whole number and its unit, as in `30s`; the units are `d`, `h`, `m`, `s` and `ms`, several go from the largest to the smallest.",
        "silent: 60";
    Size = "E0217", "Not a size",
        "A size is a number of bytes, or a number and its unit. `KB`, `MB`, `GB`, `TB` are powers of 1000, `KiB`, `MiB`, `GiB`, `TiB` of 1024.",
        "max_bytes: 10gigs";
    TimeOfDay = "E0218", "Not a time of day",
        "A time of day is `\"HH:MM\"`, in quotes so that no reader takes it for a number.",
        "startup: noon";
    Zone = "E0219", "Not a time zone",
        "Time zones have the names of IANA's database, in its spelling.",
        "timezone: NewYork";
    Moment = "E0220", "Not a time",
        "A time has its offset, as in `2027-01-31T12:00:00Z`. A UTC day means its first moment.",
        "expires_at: tomorrow";
    Number = "E0221", "Not a number",
        "An exact number that is not below zero is needed.",
        "volume: much";
    Listen = "E0222", "Not an address to listen on",
        "An IP address and a port; `0.0.0.0` listens on all of the machine's addresses.",
        "listen: localhost";
    Bucket = "E0223", "A bucket that does not match the naming convention",
        "Buckets are called `ssmd-ENVIRONMENT-raw` and `ssmd-ENVIRONMENT-normalized`, or `ssmd-raw` and `ssmd-normalized` where environments share them. So nobody writes into another environment's archive by a slip, and nobody deletes the wrong one.",
        "raw: { bucket: my-data }";
    UnknownSecret = "E0224", "A secret that is not defined",
        "`{ secret: NAME }` refers to `spec.secrets`.",
        "credentials: { secret: nast }";
    UnknownClient = "E0225", "A client that is not defined",
        "An entitlement is one of a client: in `spec.clients`, or of a line of `spec.entitlements` that says its `type` or `name`.",
        "entitlements: [{ client_id: ghost-bot, feeds: [kraken] }]";
    DuplicateClient = "E0226", "A client is defined twice",
        "Each client is defined once: in `spec.clients`, or by one line of `spec.entitlements` with `type` or `name`. Further lines name only its `client_id`.",
        "clients: [{ client_id: bot }, { client_id: bot }]";
    UndeclaredFeed = "E0227", "A feed that is not in this document",
        "Entitlements are to feeds that `spec.feeds` has.",
        "feeds: [kalshi]";
    NothingMatches = "E0228", "An entitlement that can match nothing",
        "No symbol of the feeds has this name, as the venue's name or as our own, and none can match this pattern. The client would wait for ever.",
        "symbols: [DOGEUSD]";
    NeverRuns = "E0229", "A schedule that never runs",
        "Nothing lies between the two times, or nothing runs while the market is open.",
        "schedule: { startup: \"00:00\", teardown: \"00:00\" }";
    DuplicateInternal = "E0230", "An internal name is given twice",
        "Each symbol has an internal name of its own: entitlements and queries use it.",
        "[{ name: BTC/USD, internal: BTC }, { name: BTC/EUR, internal: BTC }]";
    Filter = "E0231", "Not one condition",
        "Each filter is one condition. Several conditions are several items: those on the same key mean any of them, different keys mean all.",
        "filters: [{ category: crypto, status: open }]";
    Conflict = "E0232", "Two keys that do not go together",
        "Two keys say the same thing, of which only one can hold; or a key means nothing without another one.",
        "journal: local, jetstream: { replicas: 3 }";
    Identifier = "E0233", "Not an identifier",
        "Names that other systems see are made of few characters; the message names them.",
        "category: Crypto Coins";
    Text = "E0234", "Not a text for people",
        "The text is empty, too long, or has control characters.",
        "description: \"\"";
    Duplicate = "E0235", "Something is listed twice",
        "Each stands once in this list.",
        "days: [mon, mon]";
    Backend = "E0236", "Not a backend",
        "The section's one key chooses the backend; the message names those that there are.",
        "cache: { }";
}

impl Code {
    /// What it means.
    pub fn explanation(self) -> &'static Explanation {
        // The table and the variants are written by one macro, in one order.
        &CODES[self as usize]
    }

    /// The code of this number, as a user types it: `E0101`, `e0101`.
    pub fn from_number(number: &str) -> Option<Self> {
        CODES.iter().map(|row| row.code).find(|code| code.as_str().eq_ignore_ascii_case(number))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_find_their_explanation() {
        assert!(CODES.is_sorted_by(|a, b| a.code.as_str() < b.code.as_str()));
        for row in CODES {
            assert_eq!(row.code.explanation().title, row.title);
            assert_eq!(Code::from_number(&row.code.as_str().to_lowercase()), Some(row.code));
        }
        assert_eq!(Code::from_number("E9999"), None);
    }
}
