//! Records: what frames mean, in the same words for every venue.
//!
//! Records are derived. The frame they came from is named in their header, so every number can be traced to its
//! bytes, and a better decoder can make them again.

use serde::{Deserialize, Serialize};

use crate::{Decimal, Entry, EntryId, Evidence, Gap, GapCause, SessionId, Symbol, Timestamp};

/// A decoded fact about a market.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// What it is about, when, and where it came from.
    pub header: Header,
    /// The fact.
    pub body: Body,
}

/// What every record has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Header {
    /// What it is about; `None` where it is about the whole venue.
    pub symbol: Option<Symbol>,
    /// When the venue says it happened; `None` where the venue does not say.
    pub venue_time: Option<Timestamp>,
    /// When the frame passed our socket. Never merged with `venue_time`.
    pub received: Timestamp,
    /// The venue's sequence number, where it has one.
    pub sequence: Option<u64>,
    /// The connection that heard it.
    pub session: SessionId,
    /// The frame's index in that connection.
    pub index: u64,
    /// The frame's entry in its journal, where it has been journaled.
    pub source: Option<EntryId>,
}

impl Header {
    /// Of what an entry shows by itself: no venue said when, or which number it has.
    pub fn of_entry(entry: &Entry, symbol: Option<Symbol>) -> Self {
        Self {
            symbol,
            venue_time: None,
            received: entry.at,
            sequence: None,
            session: entry.session,
            index: entry.index,
            source: Some(entry.id),
        }
    }
}

/// The kinds of records. The words are part of subjects and paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordType {
    /// [`Trade`].
    Trade,
    /// [`Quote`].
    Quote,
    /// [`Ticker`].
    Ticker,
    /// [`Book`], replacing what was known.
    BookSnapshot,
    /// [`Book`], changing what was known.
    BookDelta,
    /// [`Bar`].
    Bar,
    /// [`Status`].
    Status,
    /// [`Instrument`].
    Instrument,
    /// [`Funding`].
    Funding,
    /// [`Gap`].
    Gap,
    /// [`Audit`].
    Audit,
    /// [`Switch`].
    Switch,
    /// [`Lifecycle`].
    Lifecycle,
}

impl RecordType {
    /// Every type with its word.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Trade, "trade"),
        (Self::Quote, "quote"),
        (Self::Ticker, "ticker"),
        (Self::BookSnapshot, "book_snapshot"),
        (Self::BookDelta, "book_delta"),
        (Self::Bar, "bar"),
        (Self::Status, "status"),
        (Self::Instrument, "instrument"),
        (Self::Funding, "funding"),
        (Self::Gap, "gap"),
        (Self::Audit, "audit"),
        (Self::Switch, "switch"),
        (Self::Lifecycle, "lifecycle"),
    ];

    /// The word for subjects, paths and JSON.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    /// The type with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, w)| *w == word).map(|(kind, _)| *kind)
    }
}

/// The fact in a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// Something was traded.
    Trade(Trade),
    /// The best bid and ask.
    Quote(Quote),
    /// A summary by the venue.
    Ticker(Box<Ticker>),
    /// A whole book, as the venue sent it.
    BookSnapshot(Book),
    /// Levels that changed, in the venue's order.
    BookDelta(Book),
    /// Prices over an interval.
    Bar(Box<Bar>),
    /// Whether trading is possible.
    Status(Status),
    /// What a symbol is.
    Instrument(Box<Instrument>),
    /// A perpetual's funding.
    Funding(Funding),
    /// Something is missing.
    Gap(Gap),
    /// What a check found.
    Audit(Audit),
    /// Live records come from another session.
    Switch(Switch),
    /// Something happened in the life of a market.
    Lifecycle(Box<Lifecycle>),
}

impl Body {
    /// Which type it is.
    pub fn record_type(&self) -> RecordType {
        match self {
            Self::Trade(_) => RecordType::Trade,
            Self::Quote(_) => RecordType::Quote,
            Self::Ticker(_) => RecordType::Ticker,
            Self::BookSnapshot(_) => RecordType::BookSnapshot,
            Self::BookDelta(_) => RecordType::BookDelta,
            Self::Bar(_) => RecordType::Bar,
            Self::Status(_) => RecordType::Status,
            Self::Instrument(_) => RecordType::Instrument,
            Self::Funding(_) => RecordType::Funding,
            Self::Gap(_) => RecordType::Gap,
            Self::Audit(_) => RecordType::Audit,
            Self::Switch(_) => RecordType::Switch,
            Self::Lifecycle(_) => RecordType::Lifecycle,
        }
    }
}

/// Which side took liquidity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

/// Something was traded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// In quote units per base unit.
    pub price: Decimal,
    /// In the venue's size unit.
    pub size: Decimal,
    /// The taker's side, where the venue says.
    pub side: Option<Side>,
    /// The venue's identity for the trade.
    pub id: Option<String>,
    /// The taker's order type, in the venue's word.
    pub order_type: Option<String>,
}

/// The best bid and ask. A side that is empty is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The highest price someone buys at.
    pub bid: Option<Decimal>,
    /// How much is bid there.
    pub bid_size: Option<Decimal>,
    /// The lowest price someone sells at.
    pub ask: Option<Decimal>,
    /// How much is asked there.
    pub ask_size: Option<Decimal>,
}

/// A summary by the venue. What a venue does not say is `None`; windows are the venue's, 24 hours on Kraken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ticker {
    /// Best prices.
    #[serde(flatten)]
    pub quote: Quote,
    /// Price of the last trade.
    pub last: Option<Decimal>,
    /// Traded in the window, in size units.
    pub volume: Option<Decimal>,
    /// Volume-weighted average price in the window.
    pub vwap: Option<Decimal>,
    /// Lowest price in the window.
    pub low: Option<Decimal>,
    /// Highest price in the window.
    pub high: Option<Decimal>,
    /// Change of the last price over the window.
    pub change: Option<Decimal>,
    /// The same in percent.
    pub change_percent: Option<Decimal>,
    /// Trades in the window.
    pub trades: Option<u64>,
    /// Contracts that are open, in size units.
    pub open_interest: Option<Decimal>,
    /// What the venue values positions at.
    pub mark_price: Option<Decimal>,
    /// What the contract is about is worth elsewhere.
    pub index_price: Option<Decimal>,
}

/// Levels of a book, best first within each side of a snapshot, in the venue's order in a delta.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Book {
    /// Levels of buyers.
    pub bids: Vec<Level>,
    /// Levels of sellers.
    pub asks: Vec<Level>,
    /// How many levels a side the subscription covers; `None` is all.
    pub depth: Option<u32>,
    /// The venue's checksum of the book after this, where it sends one.
    pub checksum: Option<u32>,
}

/// One price and how much rests there; in a delta the new total, zero removes the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// The price.
    pub price: Decimal,
    /// The size at that price.
    pub size: Decimal,
}

/// Prices over an interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// When the interval begins.
    pub begin: Timestamp,
    /// How long it is, in seconds.
    pub seconds: u64,
    /// First price.
    pub open: Decimal,
    /// Highest price.
    pub high: Decimal,
    /// Lowest price.
    pub low: Decimal,
    /// Last price so far: a venue may send a bar many times until it is over.
    pub close: Decimal,
    /// Traded in it, in size units.
    pub volume: Decimal,
    /// Volume-weighted average price.
    pub vwap: Option<Decimal>,
    /// Trades in it.
    pub trades: Option<u64>,
}

/// Whether trading is possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// In one vocabulary.
    pub status: TradingStatus,
    /// The venue's own word.
    pub word: String,
    /// What else the venue said, for people.
    pub detail: String,
}

/// Whether trading is possible, in one vocabulary for all venues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradingStatus {
    /// Everything works.
    Online,
    /// Orders can only be cancelled.
    CancelOnly,
    /// Only orders that add liquidity.
    PostOnly,
    /// Only limit orders.
    LimitOnly,
    /// Positions can only be reduced.
    ReduceOnly,
    /// Nothing works, for a while.
    Maintenance,
    /// Not tradable: not yet, or no more.
    Closed,
    /// A word nobody has seen before: never taken for `Online`.
    Unknown,
}

impl TradingStatus {
    /// Every status with its word.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Online, "online"),
        (Self::CancelOnly, "cancel_only"),
        (Self::PostOnly, "post_only"),
        (Self::LimitOnly, "limit_only"),
        (Self::ReduceOnly, "reduce_only"),
        (Self::Maintenance, "maintenance"),
        (Self::Closed, "closed"),
        (Self::Unknown, "unknown"),
    ];

    /// The word that formats use.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(status, _)| *status == self).map_or("", |(_, word)| word)
    }
}

/// What a symbol is, as its venue lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// What is traded.
    pub base: Option<String>,
    /// What it is priced in.
    pub quote: Option<String>,
    /// The venue's status word.
    pub status: Option<String>,
    /// Digits after the point of a price.
    pub price_precision: Option<u32>,
    /// Digits after the point of a size.
    pub size_precision: Option<u32>,
    /// Smallest step of a price.
    pub price_increment: Option<Decimal>,
    /// Smallest step of a size.
    pub size_increment: Option<Decimal>,
    /// Smallest order size.
    pub size_min: Option<Decimal>,
    /// Smallest order value, in quote units.
    pub cost_min: Option<Decimal>,
}

/// A perpetual's funding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Funding {
    /// The rate per period, as a fraction.
    pub rate: Decimal,
    /// The rate predicted for the next period.
    pub predicted: Option<Decimal>,
    /// When the next period begins.
    pub next: Option<Timestamp>,
}

/// What a check found: something to know that is no gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Which check.
    pub check: String,
    /// What it found, for people.
    pub found: String,
}

/// From here on the live records come from another session: a redundant one took over. What was heard by neither is
/// a [`Gap`], reported as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Why the old session was left.
    pub cause: GapCause,
    /// The last frame of the old session whose records were passed on.
    pub from: Evidence,
    /// The first frame of the new session whose records are passed on.
    pub to: Evidence,
    /// What was said about it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Something happened in the life of a market, or of a group of them: it was listed, opened, resolved. A venue says
/// in each message only what is new; the rest is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lifecycle {
    /// In one vocabulary.
    pub stage: Stage,
    /// The venue's own word.
    pub word: String,
    /// What the market belongs to: an event, a condition.
    pub group: Option<String>,
    /// What it is about, for people.
    pub title: Option<String>,
    /// When trading begins.
    pub opens: Option<Timestamp>,
    /// When trading ends.
    pub closes: Option<Timestamp>,
    /// What it was resolved to, in the venue's word.
    pub outcome: Option<String>,
    /// What one contract of the market is worth in the end, in quote units.
    pub value: Option<Decimal>,
}

/// Where a market is in its life, in one vocabulary for all venues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It exists from now on.
    Listed,
    /// It can be traded.
    Opened,
    /// It cannot be traded, for a while.
    Paused,
    /// Something about it is different: its times, its steps of prices.
    Changed,
    /// Trading is over.
    Closed,
    /// The outcome is known.
    Determined,
    /// The outcome was paid.
    Settled,
    /// A word nobody has seen before.
    Unknown,
}

impl Stage {
    /// Every stage with its word.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Listed, "listed"),
        (Self::Opened, "opened"),
        (Self::Paused, "paused"),
        (Self::Changed, "changed"),
        (Self::Closed, "closed"),
        (Self::Determined, "determined"),
        (Self::Settled, "settled"),
        (Self::Unknown, "unknown"),
    ];

    /// The word that formats use.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(stage, _)| *stage == self).map_or("", |(_, word)| word)
    }

    /// The stage with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, w)| *w == word).map(|(stage, _)| *stage)
    }
}
