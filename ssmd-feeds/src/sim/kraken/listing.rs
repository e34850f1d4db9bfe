//! One pair with its market, who listens to it, and the frames that tell them.

use ssmd_core::Timestamp;

use super::super::market::{Change, Fill, Ladder, Level, Market, Side};
use super::super::venue::{Connection, Outgoing};
use super::encode::{self, CHECKSUM_LEVELS};
use super::pairs::Pair;

/// The depths that can be subscribed.
pub(super) const DEPTHS: [u32; 5] = [10, 25, 100, 500, 1000];
/// The candle intervals that can be subscribed, in minutes.
pub(super) const INTERVALS: [u32; 9] = [1, 5, 15, 30, 60, 240, 1440, 10080, 21600];

const NANOS_PER_MINUTE: i64 = 60_000_000_000;

/// What can be subscribed of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// The book, so many levels deep.
    Book(u32),
    /// Trades.
    Trade,
    /// The ticker, on trades or (`bbo`) whenever the best prices change.
    Ticker {
        /// Whether also changes of the best prices count.
        bbo: bool,
    },
    /// Candles of so many minutes.
    Ohlc(u32),
}

/// A pair that is being traded.
#[derive(Debug)]
pub(super) struct Listing {
    pair: Pair,
    market: Market,
    views: [View; DEPTHS.len()],
    checksum: u32,
    trade: Vec<Connection>,
    ticker: [Vec<Connection>; 2],
    candles: Vec<Candle>,
    day: Sum,
    fills: Vec<Fill>,
    text: String,
}

/// Everyone who sees the same depth, and what they have not been told yet.
#[derive(Debug, Default)]
struct View {
    listeners: Vec<Connection>,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// Trades summed up.
#[derive(Clone, Debug)]
struct Sum {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    trades: u64,
    volume: i128,
    /// Price times quantity, in ticks times units.
    value: i128,
}

#[derive(Debug)]
struct Candle {
    minutes: u32,
    begin: i64,
    sum: Sum,
    listeners: Vec<Connection>,
}

impl Listing {
    /// Begins trading.
    pub(super) fn new(pair: Pair, seed: u64, now: Timestamp) -> Self {
        let market = Market::new(seed, pair.start, pair.lot, now);
        let mut day = Sum::at(pair.start);
        market.trades.iter().for_each(|fill| day.add(fill));
        let mut text = String::new();
        let checksum = encode::checksum(&market, &mut text);
        let fills = Vec::new();
        let candles = Vec::new();
        let (views, trade, ticker) = Default::default();
        Self { pair, market, views, checksum, trade, ticker, candles, day, fills, text }
    }

    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        let others = [&self.trade, &self.ticker[0], &self.ticker[1]];
        self.views.iter().any(|view| !view.listeners.is_empty())
            || others.iter().any(|listeners| !listeners.is_empty())
            || self.candles.iter().any(|candle| !candle.listeners.is_empty())
    }

    /// Adds a listener.
    pub(super) fn listen(&mut self, topic: Topic, client: Connection, now: Timestamp) {
        if let Topic::Ohlc(minutes) = topic
            && !self.candles.iter().any(|candle| candle.minutes == minutes)
        {
            let (sum, listeners) = (Sum::at(self.market.last()), Vec::new());
            self.candles.push(Candle { minutes, begin: begin(now, minutes), sum, listeners });
        }
        if let Some(listeners) = self.listeners(topic) {
            listeners.push(client);
        }
    }

    /// Removes a listener.
    pub(super) fn leave(&mut self, topic: Topic, client: Connection) {
        if let Some(listeners) = self.listeners(topic) {
            listeners.retain(|other| *other != client);
        }
    }

    fn listeners(&mut self, topic: Topic) -> Option<&mut Vec<Connection>> {
        match topic {
            Topic::Book(depth) => {
                let at = DEPTHS.iter().position(|known| *known == depth)?;
                Some(&mut self.views[at].listeners)
            }
            Topic::Trade => Some(&mut self.trade),
            Topic::Ticker { bbo } => Some(&mut self.ticker[usize::from(bbo)]),
            Topic::Ohlc(minutes) => {
                self.candles.iter_mut().find(|c| c.minutes == minutes).map(|c| &mut c.listeners)
            }
        }
    }

    /// What a new listener is told first.
    pub(super) fn snapshot(&mut self, topic: Topic, client: Connection, now: Timestamp, out: &mut Outgoing) {
        self.text.clear();
        match topic {
            Topic::Book(depth) => {
                let market = &self.market;
                let (bids, asks) = (market.bids.best(depth as usize), market.asks.best(depth as usize));
                book(
                    &mut self.text,
                    "snapshot",
                    &self.pair,
                    (bids, asks),
                    self.checksum,
                    &encode::micros(now),
                );
            }
            Topic::Trade => trades(&mut self.text, "snapshot", &self.pair, self.market.trades.iter()),
            Topic::Ticker { .. } => self.ticker("snapshot", &encode::micros(now)),
            Topic::Ohlc(minutes) => {
                if let Some(candle) = self.candles.iter_mut().find(|candle| candle.minutes == minutes) {
                    candle.roll(now, self.market.last());
                    candle.write(&mut self.text, "snapshot", &self.pair, now);
                }
            }
        }
        out.say_all(&[client], &self.text);
    }

    /// Lets one thing happen and tells everyone; says how many messages that took. `stamp` is `now` as text.
    pub(super) fn step(&mut self, now: Timestamp, stamp: &str, out: &mut Outgoing) -> usize {
        self.fills.clear();
        let (views, mut top, mut best) = (&mut self.views, false, false);
        self.market.step(now, &mut self.fills, &mut |change, ladder| {
            let rank = change.rank();
            top |= rank < CHECKSUM_LEVELS;
            best |= rank == 0;
            for (view, depth) in views.iter_mut().zip(DEPTHS) {
                view.see(change, ladder, depth as usize);
            }
        });
        if top {
            self.checksum = encode::checksum(&self.market, &mut self.text);
        }
        for fill in &self.fills {
            self.day.add(fill);
        }
        let traded = !self.fills.is_empty();
        let mut said = self.say_books(stamp, out);
        if traded {
            said += self.say_trades(now, out);
        }
        for (bbo, due) in [(false, traded), (true, traded || best)] {
            if due && !self.ticker[usize::from(bbo)].is_empty() {
                self.ticker("update", stamp);
                out.say_all(&self.ticker[usize::from(bbo)], &self.text);
                said += 1;
            }
        }
        said
    }

    fn say_books(&mut self, stamp: &str, out: &mut Outgoing) -> usize {
        let mut said = 0;
        for view in &mut self.views {
            if view.bids.is_empty() && view.asks.is_empty() {
                continue;
            }
            self.text.clear();
            let (bids, asks) = (view.bids.drain(..), view.asks.drain(..));
            book(&mut self.text, "update", &self.pair, (bids, asks), self.checksum, stamp);
            out.say_all(&view.listeners, &self.text);
            said += 1;
        }
        said
    }

    fn say_trades(&mut self, now: Timestamp, out: &mut Outgoing) -> usize {
        let mut said = 0;
        if !self.trade.is_empty() {
            self.text.clear();
            trades(&mut self.text, "update", &self.pair, self.fills.iter());
            out.say_all(&self.trade, &self.text);
            said += 1;
        }
        for candle in &mut self.candles {
            if candle.listeners.is_empty() {
                continue;
            }
            candle.roll(now, candle.sum.close);
            self.fills.iter().for_each(|fill| candle.sum.add(fill));
            self.text.clear();
            candle.write(&mut self.text, "update", &self.pair, now);
            out.say_all(&candle.listeners, &self.text);
            said += 1;
        }
        said
    }

    fn ticker(&mut self, kind: &str, stamp: &str) {
        let (pair, day, out) = (&self.pair, &self.day, &mut self.text);
        let nothing = Level { price: 0, qty: 0 };
        let bid = self.market.bids.get(0).unwrap_or(nothing);
        let ask = self.market.asks.get(0).unwrap_or(nothing);
        let (price, qty) = (pair.price_scale, pair.qty_scale);
        let change = day.close - day.open;
        out.clear();
        open(out, "ticker", kind, pair);
        for (name, mantissa, scale) in [
            ("bid", i128::from(bid.price), price),
            ("bid_qty", bid.qty.into(), qty),
            ("ask", ask.price.into(), price),
            ("ask_qty", ask.qty.into(), qty),
            ("last", day.close.into(), price),
            ("volume", day.volume, qty),
            ("vwap", day.vwap(), price),
            ("low", day.low.into(), price),
            ("high", day.high.into(), price),
            ("change", change.into(), price),
            ("change_pct", i128::from(change) * 10_000 / i128::from(day.open.max(1)), 2),
            ("trades", day.trades.into(), 0),
        ] {
            field(out, name, mantissa, scale);
        }
        out.push_str(",\"timestamp\":\"");
        out.push_str(stamp);
        out.push_str("\"}]}");
    }
}

impl Change {
    fn rank(self) -> usize {
        match self {
            Self::Set { rank, .. } | Self::Insert { rank, .. } | Self::Remove { rank, .. } => rank,
        }
    }
}

impl View {
    /// Notes what a change looks like from this depth. A level that is pushed out is never reported; one that
    /// comes into range is.
    fn see(&mut self, change: Change, ladder: &Ladder, depth: usize) {
        if self.listeners.is_empty() || change.rank() >= depth {
            return;
        }
        let levels = match ladder.side() {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        match change {
            Change::Set { level, .. } | Change::Insert { level, .. } => levels.push(level),
            Change::Remove { price, .. } => {
                levels.push(Level { price, qty: 0 });
                levels.extend(ladder.get(depth - 1));
            }
        }
    }
}

impl Sum {
    fn at(price: i64) -> Self {
        Self { open: price, high: price, low: price, close: price, trades: 0, volume: 0, value: 0 }
    }

    fn add(&mut self, fill: &Fill) {
        self.high = self.high.max(fill.price);
        self.low = self.low.min(fill.price);
        self.close = fill.price;
        self.trades += 1;
        self.volume += i128::from(fill.qty);
        self.value += i128::from(fill.price) * i128::from(fill.qty);
    }

    fn vwap(&self) -> i128 {
        self.value.checked_div(self.volume).unwrap_or(self.close.into())
    }
}

impl Candle {
    /// Begins the next candle if its time has come.
    fn roll(&mut self, now: Timestamp, last: i64) {
        let begin = begin(now, self.minutes);
        if begin > self.begin {
            self.begin = begin;
            self.sum = Sum::at(last);
        }
    }

    fn write(&self, out: &mut String, kind: &str, pair: &Pair, now: Timestamp) {
        let (sum, price, qty) = (&self.sum, pair.price_scale, pair.qty_scale);
        out.push_str("{\"channel\":\"ohlc\",\"type\":\"");
        out.push_str(kind);
        out.push_str("\",\"timestamp\":\"");
        out.push_str(&now.to_string());
        out.push_str("\",\"data\":[{\"symbol\":\"");
        out.push_str(&pair.symbol);
        out.push('"');
        for (name, mantissa, scale) in [
            ("open", i128::from(sum.open), price),
            ("high", sum.high.into(), price),
            ("low", sum.low.into(), price),
            ("close", sum.close.into(), price),
            ("trades", sum.trades.into(), 0),
            ("volume", sum.volume, qty),
            ("vwap", sum.vwap(), price),
        ] {
            field(out, name, mantissa, scale);
        }
        let end = self.begin.saturating_add(i64::from(self.minutes) * NANOS_PER_MINUTE);
        out.push_str(",\"interval_begin\":\"");
        out.push_str(&Timestamp::from_nanos(self.begin).to_string());
        out.push_str("\",\"interval\":");
        encode::integer(out, self.minutes.into());
        out.push_str(",\"timestamp\":\"");
        out.push_str(&encode::micros(Timestamp::from_nanos(end)));
        out.push_str("\"}]}");
    }
}

fn begin(now: Timestamp, minutes: u32) -> i64 {
    let length = i64::from(minutes) * NANOS_PER_MINUTE;
    now.nanos().div_euclid(length) * length
}

fn book(
    out: &mut String,
    kind: &str,
    pair: &Pair,
    (bids, asks): (impl Iterator<Item = Level>, impl Iterator<Item = Level>),
    checksum: u32,
    stamp: &str,
) {
    open(out, "book", kind, pair);
    out.push_str(",\"bids\":[");
    encode::levels(out, bids, pair.price_scale, pair.qty_scale);
    out.push_str("],\"asks\":[");
    encode::levels(out, asks, pair.price_scale, pair.qty_scale);
    out.push_str("],\"checksum\":");
    encode::integer(out, checksum.into());
    out.push_str(",\"timestamp\":\"");
    out.push_str(stamp);
    out.push_str("\"}]}");
}

fn trades<'a>(out: &mut String, kind: &str, pair: &Pair, fills: impl Iterator<Item = &'a Fill>) {
    out.push_str("{\"channel\":\"trade\",\"type\":\"");
    out.push_str(kind);
    out.push_str("\",\"data\":[");
    for (at, fill) in fills.enumerate() {
        out.push_str(if at == 0 { "{\"symbol\":\"" } else { ",{\"symbol\":\"" });
        out.push_str(&pair.symbol);
        out.push_str(if fill.buy { "\",\"side\":\"buy\"" } else { "\",\"side\":\"sell\"" });
        field(out, "price", fill.price.into(), pair.price_scale);
        field(out, "qty", fill.qty.into(), pair.qty_scale);
        let kind = if fill.id.is_multiple_of(3) { "limit" } else { "market" };
        out.push_str(",\"ord_type\":\"");
        out.push_str(kind);
        out.push_str("\",\"trade_id\":");
        encode::integer(out, fill.id);
        out.push_str(",\"timestamp\":\"");
        out.push_str(&encode::micros(fill.at));
        out.push_str("\"}");
    }
    out.push_str("]}");
}

fn open(out: &mut String, channel: &str, kind: &str, pair: &Pair) {
    out.push_str("{\"channel\":\"");
    out.push_str(channel);
    out.push_str("\",\"type\":\"");
    out.push_str(kind);
    out.push_str("\",\"data\":[{\"symbol\":\"");
    out.push_str(&pair.symbol);
    out.push('"');
}

fn field(out: &mut String, name: &str, mantissa: i128, scale: u32) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    encode::number(out, mantissa, scale);
}
