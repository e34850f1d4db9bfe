//! One product's market as its feeds tell it: snapshots, one message for each level and each trade.

use ssmd_core::Timestamp;

use super::super::market::{Change, Fill, Level, Market, Side, hash};
use super::super::venue::{Connection, Outgoing};
use super::Channel;
use super::products::Product;

/// The number that a book's snapshot begins with, less what happened since.
const SEQUENCE_FIRST: u64 = 1_000_000;
const MILLIS_PER_HOUR: i64 = 3_600_000;

/// One product's market and who listens to it.
pub(super) struct Listing {
    product: Product,
    market: Market,
    /// The number of the last change of the book.
    sequence: u64,
    /// Traded since the market began, in units.
    volume: i64,
    listeners: [Vec<Connection>; 4],
    /// What one step made, kept for its memory.
    changes: Vec<(Side, Level)>,
    fills: Vec<Fill>,
}

impl Listing {
    pub(super) fn new(product: Product, seed: u64, now: Timestamp) -> Self {
        let market = Market::new(seed, product.start, product.lot, now);
        Self {
            product,
            market,
            sequence: SEQUENCE_FIRST,
            volume: 0,
            listeners: Default::default(),
            changes: Vec::new(),
            fills: Vec::new(),
        }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.listeners.iter().any(|listeners| !listeners.is_empty())
    }

    pub(super) fn listen(&mut self, channel: Channel, client: Connection) {
        if let Some(listeners) = self.listeners.get_mut(channel as usize) {
            listeners.push(client);
        }
    }

    pub(super) fn leave(&mut self, channel: Channel, client: Connection) {
        if let Some(listeners) = self.listeners.get_mut(channel as usize) {
            listeners.retain(|other| *other != client);
        }
    }

    /// What a subscription begins with.
    pub(super) fn snapshot(&self, channel: Channel, client: Connection, now: Timestamp, out: &mut Outgoing) {
        let frame = match channel {
            Channel::Book => self.book(now),
            Channel::Trade => {
                let trades: Vec<_> = self.market.trades.iter().rev().map(|fill| self.trade(fill)).collect();
                let product = &self.product.symbol;
                format!(
                    r#"{{"feed":"trade_snapshot","product_id":"{product}","trades":[{}]}}"#,
                    trades.join(",")
                )
            }
            Channel::Ticker => self.ticker(now),
            Channel::TickerLite => self.ticker_lite(),
            Channel::Heartbeat => return,
        };
        out.say(client, frame.into());
    }

    /// Lets one thing happen; says how many messages it made.
    pub(super) fn step(&mut self, now: Timestamp, out: &mut Outgoing) -> usize {
        let (mut changes, mut fills) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.fills));
        self.market.step(now, &mut fills, &mut |change, ladder| {
            let level = match change {
                Change::Set { level, .. } | Change::Insert { level, .. } => level,
                Change::Remove { price, .. } => Level { price, qty: 0 },
            };
            changes.push((ladder.side(), level));
        });
        let mut said = 0;
        for (side, level) in changes.drain(..) {
            self.sequence += 1;
            said += self.say(Channel::Book, out, || self.delta(side, level, now));
        }
        for fill in &fills {
            self.volume += fill.qty;
            said += self.say(Channel::Trade, out, || self.trade(fill));
        }
        if !fills.is_empty() {
            said += self.say(Channel::Ticker, out, || self.ticker(now));
            said += self.say(Channel::TickerLite, out, || self.ticker_lite());
        }
        fills.clear();
        (self.changes, self.fills) = (changes, fills);
        said
    }

    fn say(&self, channel: Channel, out: &mut Outgoing, frame: impl FnOnce() -> String) -> usize {
        let listeners = &self.listeners[channel as usize];
        if listeners.is_empty() {
            return 0;
        }
        out.say_all(listeners, &frame());
        1
    }

    fn price(&self, ticks: i64) -> String {
        number(ticks, self.product.price_scale)
    }

    fn qty(&self, units: i64) -> String {
        number(units, self.product.qty_scale)
    }

    fn book(&self, now: Timestamp) -> String {
        let levels = |side: Side| {
            let ladder = match side {
                Side::Bid => &self.market.bids,
                Side::Ask => &self.market.asks,
            };
            let level = |level: Level| {
                format!(r#"{{"price":{},"qty":{}}}"#, self.price(level.price), self.qty(level.qty))
            };
            ladder.best(ladder.len()).map(level).collect::<Vec<_>>().join(",")
        };
        format!(
            r#"{{"feed":"book_snapshot","product_id":"{}","timestamp":{},"seq":{},"tickSize":null,"bids":[{}],"asks":[{}]}}"#,
            self.product.symbol,
            millis(now),
            self.sequence,
            levels(Side::Bid),
            levels(Side::Ask),
        )
    }

    fn delta(&self, side: Side, level: Level, now: Timestamp) -> String {
        format!(
            r#"{{"feed":"book","product_id":"{}","side":"{}","seq":{},"price":{},"qty":{},"timestamp":{}}}"#,
            self.product.symbol,
            if side == Side::Bid { "buy" } else { "sell" },
            self.sequence,
            self.price(level.price),
            self.qty(level.qty),
            millis(now),
        )
    }

    fn trade(&self, fill: &Fill) -> String {
        let high = hash(&self.product.symbol);
        format!(
            r#"{{"feed":"trade","product_id":"{}","uid":"{:08x}-{:04x}-4000-8000-{:012x}","side":"{}","type":"fill","seq":{},"time":{},"qty":{},"price":{}}}"#,
            self.product.symbol,
            high >> 32,
            high & 0xffff,
            fill.id,
            if fill.buy { "buy" } else { "sell" },
            fill.id,
            millis(fill.at),
            self.qty(fill.qty),
            self.price(fill.price),
        )
    }

    fn best(&self) -> [Level; 2] {
        let none = Level { price: 0, qty: 0 };
        [&self.market.bids, &self.market.asks].map(|ladder| ladder.get(0).unwrap_or(none))
    }

    /// Funding is zero here: nobody trades the perpetual against an index.
    fn ticker(&self, now: Timestamp) -> String {
        let ([bid, ask], last) = (self.best(), self.price(self.market.last()));
        let next_hour = (millis(now) / MILLIS_PER_HOUR + 1) * MILLIS_PER_HOUR;
        format!(
            concat!(
                r#"{{"time":{time},"product_id":"{product}","funding_rate":0.0,"funding_rate_prediction":0.0,"#,
                r#""relative_funding_rate":0.0,"relative_funding_rate_prediction":0.0,"#,
                r#""next_funding_rate_time":{next},"leverage":"50x","premium":0.0,"feed":"ticker","bid":{bid},"#,
                r#""ask":{ask},"bid_size":{bid_size},"ask_size":{ask_size},"volume":{volume},"dtm":0,"#,
                r#""index":{last},"last":{last},"change":0.0,"suspended":false,"tag":"perpetual","pair":"{pair}","#,
                r#""openInterest":0.0,"markPrice":{last},"maturityTime":0,"post_only":false}}"#
            ),
            time = millis(now),
            product = self.product.symbol,
            next = next_hour,
            bid = self.price(bid.price),
            ask = self.price(ask.price),
            bid_size = self.qty(bid.qty),
            ask_size = self.qty(ask.qty),
            volume = self.qty(self.volume),
            last = last,
            pair = self.product.pair(),
        )
    }

    fn ticker_lite(&self) -> String {
        let [bid, ask] = self.best();
        format!(
            r#"{{"feed":"ticker_lite","product_id":"{}","bid":{},"ask":{},"change":0.0,"premium":0.0,"volume":{},"tag":"perpetual","pair":"{}","dtm":0,"maturityTime":0}}"#,
            self.product.symbol,
            self.price(bid.price),
            self.price(ask.price),
            self.qty(self.volume),
            self.product.pair(),
        )
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.nanos() / 1_000_000
}

/// As the venue writes numbers: one digit after the point at least, and no zeros behind that.
fn number(units: i64, scale: u32) -> String {
    let one = 10_i64.pow(scale);
    let (whole, rest) = (units / one, units % one);
    if rest == 0 {
        return format!("{whole}.0");
    }
    let digits = format!("{rest:0>width$}", width = scale as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_venue_does() {
        let written = [(84_001, 0), (273, 4), (100, 2), (1_010, 3), (0, 4)].map(|(u, s)| number(u, s));
        assert_eq!(written, ["84001.0", "0.0273", "1.0", "1.01", "0.0"]);
    }
}
