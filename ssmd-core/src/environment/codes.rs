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
    /// The least that causes it: a part of a document.
    pub bad: &'static str,
    /// The same part as it is right.
    pub good: &'static str,
}

/// Writes the codes, their numbers and their explanations as one table.
macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal, $text:literal, $bad:literal, $good:literal;)*) => {
        /// A kind of problem. Numbers never change and are never used twice: `E00` is about the file, `E01` about
        /// its shape, `E02` about its meaning, `E03` about the world, which is asked only with `--online`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        /// Every code, in order.
        pub const CODES: &[Explanation] = &[
            $(Explanation { code: Code::$name, title: $title, text: $text, bad: $bad, good: $good },)*
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
        "a file of 11 MiB",
        "symbols: [\"*\"]";
    Encoding = "E0002", "The document is not UTF-8",
        "Documents are UTF-8; a byte order mark at the start is allowed. Save the file as UTF-8: editors call it \"UTF-8\", never \"Unicode\" (UTF-16) or \"Western\" (Latin-1).",
        "a file that an editor saved as UTF-16",
        "a file that an editor saved as UTF-8";
    ControlCharacter = "E0003", "A control character",
        "NUL and the other control characters mean nothing in YAML and hide what a line says. Delete them; where text needs one, write it in double quotes: `\"\\u0007\"`.",
        "metadata: { name: dev\\0 }",
        "metadata: { name: dev }";
    Tab = "E0004", "A tab in the indentation",
        "YAML indents with spaces only. Replace the tab by spaces.",
        "spec:\n→feeds: …",
        "spec:\n  feeds: …";
    Syntax = "E0005", "The document is not YAML",
        "The text cannot be read as YAML from this place on, so nothing behind it has been checked yet. Often a quote or a bracket is not closed, a colon has no space behind it, or a line is not indented as the line above.",
        "metadata: { name: dev",
        "metadata: { name: dev }";
    TooDeep = "E0006", "Nested too deeply",
        "Maps and lists may nest 32 levels deep. No document needs more than 8.",
        "symbols: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ BTC/USD ]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "symbols: [ BTC/USD ]";
    Alias = "E0007", "An anchor or an alias",
        "`&name` and `*name` are refused: they make a document mean more than its lines say, up to gigabytes. Write the value where it holds. A pattern of symbols that starts with `*` needs quotes: `\"*/USD\"`.",
        "symbols: [*/USD]",
        "symbols: [\"*/USD\"]";
    Tag = "E0008", "A tag",
        "`!tag` and `!!type` are refused: every key has its one type. Leave the tag out; text that looks like something else goes in quotes.",
        "depth: !!int 10",
        "depth: 10";
    DuplicateKey = "E0009", "A key stands twice",
        "Only one of the two could hold, and which one would be a guess. Delete or rename one.",
        "metadata: { name: dev, name: prod }",
        "metadata: { name: dev }";
    OneDocument = "E0010", "Not one document",
        "A file holds exactly one document: neither none (only comments) nor several, separated by `---`.",
        "metadata: { name: dev }\n---\nmetadata: { name: prod }",
        "metadata: { name: dev }";
    Key = "E0011", "A key that is not text",
        "Keys are words. A list or a map cannot be a key. Often a `?` or a bracket stands where none was meant.",
        "? [metadata]\n: { name: dev }",
        "metadata: { name: dev }";
    Extends = "E0020", "A document that cannot be extended",
        "`extends` names the document that this one builds on: a path relative to this document, or a name, which means `NAME.yaml` beside it. It must be there, a chain of them must end, and it may have 8 documents.",
        "extends: basis.yaml",
        "metadata: { name: dev }";
    UnknownKey = "E0101", "An unknown key",
        "This section has no such key. It is refused, since an ignored key is a wish that nobody hears. The message names the keys that exist and the nearest spelling.",
        "symbls: [BTC/USD]",
        "symbols: [BTC/USD]";
    MissingKey = "E0102", "A missing key",
        "This section needs the key; no default would be right for everybody.",
        "metadata: {}",
        "metadata: { name: dev }";
    WrongType = "E0103", "A value of the wrong type",
        "The value is of another type than the key takes. Text that looks like a number, `true`, or `null` needs quotes. Nothing after a colon is no value at all: give one, or delete the key.",
        "symbols: BTC/USD",
        "symbols: [BTC/USD]";
    Empty = "E0104", "An empty list or map",
        "At least one is needed. To leave something out, leave out its key.",
        "symbols: []",
        "symbols: [\"*\"]";
    NotBuiltYet = "E0105", "Not built yet",
        "The key has a meaning that this version does not carry out yet. `check` reads it, holds it against every rule and says so; whatever would start with it refuses, rather than to run something else than the document says. Until then leave it out.",
        "spec: { extends: base.yaml }",
        "spec: { feeds: { kraken: { symbols: [BTC/USD] } } }";
    ApiVersion = "E0106", "Another version of the document",
        "This version reads `apiVersion: ssmd/v1`.",
        "apiVersion: ssmd/v2",
        "apiVersion: ssmd/v1";
    Kind = "E0107", "Another kind of document",
        "This is read as an environment: `kind: Environment`.",
        "kind: Deployment",
        "kind: Environment";
    Name = "E0201", "Not the name of an environment",
        "The name is part of subjects, paths and labels: a lower-case letter, then lower-case letters, digits and hyphens, 48 bytes at most.",
        "metadata: { name: Prod EU }",
        "metadata: { name: prod-eu }";
    UnknownFeed = "E0202", "An unknown feed",
        "Feeds are listed under the name that `ssmd feed list` shows for them.",
        "feeds:\n  krakn: { symbols: [BTC/USD] }",
        "feeds:\n  kraken: { symbols: [BTC/USD] }";
    UnknownChannel = "E0203", "An unknown channel",
        "Channels have the venue's own names. `\"*\"` means all of them, and stands alone.",
        "channels: [trades]",
        "channels: [trade]";
    ChannelOption = "E0204", "Not an option of this channel",
        "Behind a channel's colon stands the venue's option for it, as in `book:25` or `ticker:bbo`. The message names those that this channel takes.",
        "channels: [\"book:11\"]",
        "channels: [\"book:10\"]";
    DuplicateChannel = "E0205", "A channel is listed twice",
        "A channel can be subscribed to once for each symbol; a book has one depth.",
        "channels: [\"book:10\", \"book:25\"]",
        "channels: [\"book:25\"]";
    Url = "E0206", "Not an address",
        "An address has a scheme, a host, perhaps a port and a path, as in `wss://host/path`: without credentials, fragment and white space. Credentials are named under `keys`. The message names the schemes.",
        "url: ws.kraken.com/v2",
        "url: wss://ws.kraken.com/v2";
    Plaintext = "E0207", "Plaintext to another machine",
        "`ws://` and `http://` can be read and changed by everybody on the way, so they are for this machine only (`localhost`, `127.0.0.0/8`, `[::1]`). Use `wss://` or `https://`; in a network that you trust, add `allow_plaintext: true` to the feed or the bucket.",
        "url: ws://10.0.0.7:9000/v2",
        "url: ws://10.0.0.7:9000/v2\nallow_plaintext: true";
    Symbol = "E0208", "Not a symbol",
        "A symbol is the venue's own name for it: some text, not empty, without white space around it and without control characters. Where one symbol is described, it is no pattern.",
        "symbols: [\" BTC/USD\"]",
        "symbols: [BTC/USD]";
    DuplicateSymbol = "E0209", "A symbol is listed twice",
        "Each symbol or pattern stands once, and in one share of a feed.",
        "symbols: [BTC/USD, BTC/USD]",
        "symbols: [BTC/USD]";
    Depth = "E0210", "Not a depth of this venue",
        "Venues have books of certain depths only; the message names them.",
        "depth: 11",
        "depth: 10";
    Journal = "E0211", "Not a journal",
        "A journal is `local`, the log in the data folder, or `{ nats: … }`, NATS JetStream.",
        "journal: disk",
        "journal: local";
    Store = "E0212", "Not a store",
        "A store is `file:` and a path: `file:./ssmd-data/store` is relative to the working directory, `file:///var/lib/ssmd/store` is not. Or it is a bucket, `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`; the keys are `$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`. Buckets with keys of their own stand under `storage`.",
        "store: ./ssmd-data/store",
        "store: file:./ssmd-data/store";
    Secret = "E0213", "A secret that is not named",
        "The document says where a secret is, never what it is: `{ env: VARIABLE }`, `{ file: PATH }`, or `{ secret: NAME }` for one of `spec.secrets`. If the secret itself stood here, it may be in your version control by now: replace it at the venue.",
        "secrets: { kalshi: 1234-abcd }",
        "secrets: { kalshi: { env: KALSHI_API_KEY } }";
    Range = "E0214", "Out of range",
        "The value is of the right type and too small or too large. The message names the range.",
        "redundancy: 0",
        "redundancy: 2";
    Word = "E0215", "Not one of the words",
        "Only certain words may stand here; the message names them.",
        "transport: { type: nat, url: nats://127.0.0.1:4222 }",
        "transport: { type: nats, url: nats://127.0.0.1:4222 }";
    Duration = "E0216", "Not a duration",
        "A duration is a whole number and its unit, as in `30s`; the units are `d`, `h`, `m`, `s` and `ms`, and several go from the largest to the smallest.",
        "alerts: { silent: 1 minute }",
        "alerts: { silent: 1m }";
    Size = "E0217", "Not a size",
        "A size is a number of bytes, or a number and its unit. `KB`, `MB`, `GB`, `TB` are powers of 1000, `KiB`, `MiB`, `GiB`, `TiB` of 1024.",
        "journal: { nats: { max_bytes: 10gigs } }",
        "journal: { nats: { max_bytes: 10GB } }";
    TimeOfDay = "E0218", "Not a time of day",
        "A time of day is `\"HH:MM\"`, with two digits each.",
        "schedule: { startup: \"0:10\", teardown: \"00:00\" }",
        "schedule: { startup: \"00:10\", teardown: \"00:00\" }";
    Zone = "E0219", "Not a time zone",
        "Time zones have the names of IANA's database, in its spelling.",
        "schedule: { timezone: america/new_york }",
        "schedule: { timezone: America/New_York }";
    Moment = "E0220", "Not a time",
        "A time has its offset, as in `2027-01-31T12:00:00Z`. A UTC day means its first moment.",
        "entitlements: [{ client_id: bot, type: trading, feeds: [kraken], expires_at: tomorrow }]",
        "entitlements: [{ client_id: bot, type: trading, feeds: [kraken], expires_at: 2027-01-31 }]";
    Number = "E0221", "Not a number",
        "An exact number that is not below zero is needed.",
        "symbols: { filters: [{ volume: much }] }",
        "symbols: { filters: [{ volume: 1000 }] }";
    Listen = "E0222", "Not an address to listen on",
        "An IP address and a port; `0.0.0.0` listens on all of the machine's addresses.",
        "gateway: { listen: localhost }",
        "gateway: { listen: \"127.0.0.1:9700\" }";
    Bucket = "E0223", "A bucket that does not match the naming convention",
        "Buckets are called `ssmd-ENVIRONMENT-raw` and `ssmd-ENVIRONMENT-normalized`, or `ssmd-raw` and `ssmd-normalized` where environments share them. So nobody writes into another environment's archive by a slip, and nobody deletes the wrong one.",
        "storage: { raw: { bucket: ssmd-typo-raw } }",
        "storage: { raw: { bucket: ssmd-dev-raw } }";
    UnknownSecret = "E0224", "A secret that is not defined",
        "`{ secret: NAME }` refers to `spec.secrets`.",
        "secrets: { nats: { file: nats.creds } }\njournal: { nats: { credentials: { secret: nast } } }",
        "secrets: { nats: { file: nats.creds } }\njournal: { nats: { credentials: { secret: nats } } }";
    UnknownClient = "E0225", "A client that is not defined",
        "An entitlement is one of a client: in `spec.clients`, or of a line of `spec.entitlements` that says its `type` or `name`.",
        "entitlements: [{ client_id: ghost-bot, feeds: [kraken] }]",
        "clients: [{ client_id: ghost-bot, type: trading }]\nentitlements: [{ client_id: ghost-bot, feeds: [kraken] }]";
    DuplicateClient = "E0226", "A client is defined twice",
        "Each client is defined once: in `spec.clients`, or by one line of `spec.entitlements` with `type` or `name`. Further lines name only its `client_id`.",
        "clients: [{ client_id: bot }, { client_id: bot }]",
        "clients: [{ client_id: bot }, { client_id: bot-2 }]";
    UndeclaredFeed = "E0227", "A feed that is not in this document",
        "Entitlements are to feeds that `spec.feeds` has.",
        "entitlements: [{ client_id: bot, type: trading, feeds: [krakn] }]",
        "entitlements: [{ client_id: bot, type: trading, feeds: [kraken] }]";
    NothingMatches = "E0228", "An entitlement that can match nothing",
        "No symbol of the feeds has this name, as the venue's name or as our own, and none can match this pattern. The client would wait for ever.",
        "entitlements: [{ client_id: bot, type: trading, feeds: [kraken], symbols: [DOGE*] }]",
        "entitlements: [{ client_id: bot, type: trading, feeds: [kraken], symbols: [BTC*] }]";
    NeverRuns = "E0229", "A schedule that never runs",
        "Nothing lies between the two times, or nothing runs while the market is open.",
        "schedule: { startup: \"00:00\", teardown: \"00:00\" }",
        "schedule: { startup: \"00:10\", teardown: \"00:00\" }";
    DuplicateInternal = "E0230", "An internal name is given twice",
        "Each symbol has an internal name of its own: entitlements and queries use it.",
        "symbols:\n  - { name: BTC/USD, internal: BTC }\n  - { name: BTC/EUR, internal: BTC }",
        "symbols:\n  - { name: BTC/USD, internal: BTCUSD }\n  - { name: BTC/EUR, internal: BTCEUR }";
    Filter = "E0231", "Not one condition",
        "Each filter is one condition. Several conditions are several items: those on the same key mean any of them, different keys mean all.",
        "symbols: { filters: [{ category: crypto, status: open }] }",
        "symbols: { filters: [{ category: crypto }, { status: open }] }";
    Conflict = "E0232", "Two keys that do not go together",
        "Two keys say the same thing, of which only one can hold; or a key means nothing without another one.",
        "journal: local\njetstream: { retention_hours: 24 }",
        "journal: { nats: { retention_hours: 24 } }";
    Identifier = "E0233", "Not an identifier",
        "Names that other systems see are made of few characters; the message names them.",
        "category: Crypto Coins",
        "category: crypto-coins";
    Text = "E0234", "Not a text for people",
        "The text is empty, too long, or has control characters.",
        "metadata: { name: dev, description: \" \" }",
        "metadata: { name: dev, description: at home }";
    Duplicate = "E0235", "Something is listed twice",
        "Each stands once in this list.",
        "schedule: { startup: \"00:10\", teardown: \"00:00\", days: [mon, mon] }",
        "schedule: { startup: \"00:10\", teardown: \"00:00\", days: [mon, tue] }";
    Backend = "E0236", "Not a backend",
        "The section's one key chooses the backend; the message names those that there are.",
        "cache: disk",
        "cache: { redis: { url: \"redis://127.0.0.1:6379\" } }";
    NotListed = "E0301", "A symbol that the venue does not list",
        "Asked with `--online`, the venue has no symbol of this name, or nothing that fits a pattern or the filters. It may be spelled in another way there, or be delisted; the message names the nearest that there is.",
        "symbols: [XYZ/USD]",
        "symbols: [BTC/USD]";
    Unreachable = "E0302", "A venue or a server that does not answer",
        "Asked with `--online`, the venue's REST address gave no listing, so nothing can be said about its symbols; or a server that the document names did not answer, did not let us in, or did not give back what it was given. The message holds what happened.",
        "rest: https://api.kraken.example",
        "rest: https://api.kraken.com";
    NotWritable = "E0303", "A store that cannot be written",
        "Asked with `--online`, an object could not be created in the store, read back and deleted again. The message holds what happened.",
        "store: file:/proc/store",
        "store: file:./ssmd-data/store";
    Unreadable = "E0304", "A secret that is not there",
        "Asked with `--online`, the variable is not set, or the file cannot be read, is empty or is not text. Set it where the recorder runs; no secret is ever printed.",
        "secrets: { kalshi: { env: KALSHI_API_KEY } }",
        "secrets: { kalshi: { file: kalshi.pem } }";
    Refused = "E0305", "Keys that the venue refuses",
        "Asked with `--online`, one connection was opened with the feed's keys, as the recorder does, and refused; or the keys cannot be used at all. The message holds what the venue said.",
        "keys: { private_key: { file: expired.pem } }",
        "keys: { private_key: { file: kalshi.pem } }";
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
