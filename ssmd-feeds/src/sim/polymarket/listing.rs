//! One market as its two tokens tell it: books, changes with their hashes, trades, best prices.
//!
//! What one token's buyers bid, the other's sellers ask: a bid at 0.62 is an ask at 0.38 there.

use sha1::{Digest, Sha1};
use ssmd_core::Timestamp;

use super::super::market::{Change, Fill, Ladder, Level, Market, Side};
use super::super::venue::{Connection, Outgoing};
use super::markets::{LOT, Names, PRICE_SCALE, TICK};

/// Digits after the point of a size.
const SIZE_SCALE: u32 = 2;
/// Every market has this for its smallest order.
const MIN_ORDER_SIZE: &str = "5";

/// One market and who listens to which token.
pub(super) struct Listing {
    names: Names,
    market: Market,
    /// The millisecond of the last event.
    millis: i64,
    /// The market's last price, as hashes and books tell it; empty before the first trade that somebody saw.
    last: String,
    listeners: [Vec<Connection>; 2],
    /// The best prices that were told last.
    bests: [String; 2],
    /// What one step made, kept for its memory.
    changes: Vec<(Side, Level)>,
    fills: Vec<Fill>,
}

impl Listing {
    pub(super) fn new(names: &Names, seed: u64, now: Timestamp) -> Self {
        let market = Market::new(seed, names.start, LOT, now);
        let last = last_price(market.last());
        Self {
            names: names.clone(),
            market,
            millis: millis(now),
            last,
            listeners: Default::default(),
            bests: Default::default(),
            changes: Vec::new(),
            fills: Vec::new(),
        }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.listeners.iter().any(|listeners| !listeners.is_empty())
    }

    pub(super) fn listen(&mut self, token: usize, client: Connection) {
        self.listeners[token].push(client);
    }

    pub(super) fn leave(&mut self, token: usize, client: Connection) {
        self.listeners[token].retain(|other| *other != client);
    }

    /// The book that a subscription begins with.
    pub(super) fn book(&self, token: usize) -> String {
        let (bids, asks) = self.levels(token);
        let hash = self.hash(token, &bids, &asks);
        format!(
            r#"{{"market":"{}","asset_id":"{}","timestamp":"{}","hash":"{hash}","bids":[{bids}],"asks":[{asks}],"tick_size":"{}","event_type":"book","last_trade_price":"{}"}}"#,
            self.names.condition, self.names.tokens[token], self.millis, TICK, self.last,
        )
    }

    /// The book as REST tells it.
    pub(super) fn rest_book(&self, token: usize) -> String {
        let (bids, asks) = self.levels(token);
        let hash = self.hash(token, &bids, &asks);
        format!(
            r#"{{"market":"{}","asset_id":"{}","timestamp":"{}","hash":"{hash}","bids":[{bids}],"asks":[{asks}],"min_order_size":"{MIN_ORDER_SIZE}","tick_size":"{}","neg_risk":false,"last_trade_price":"{}"}}"#,
            self.names.condition, self.names.tokens[token], self.millis, TICK, self.last,
        )
    }

    /// Lets one thing happen; says how many messages it made.
    ///
    /// Each event has a millisecond of its own: a hash is that of the book after the last change of its millisecond.
    pub(super) fn step(&mut self, now: Timestamp, out: &mut Outgoing) -> usize {
        self.millis = millis(now).max(self.millis + 1);
        let (mut changes, mut fills) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.fills));
        self.market.step(now, &mut fills, &mut |change, ladder| {
            let level = match change {
                Change::Set { level, .. } | Change::Insert { level, .. } => level,
                Change::Remove { price, .. } => Level { price, qty: 0 },
            };
            changes.push((ladder.side(), level));
        });
        changes.retain(|(_, level)| is_price(level.price));
        if let Some(price) = last_seen(&fills) {
            self.last = last_price(price);
        }
        let mut said = 0;
        if !changes.is_empty() {
            said += self.say_changes(&changes, out);
        }
        if fills.iter().any(|fill| is_price(fill.price)) {
            said += self.say_books(out);
            said += fills
                .iter()
                .filter(|fill| is_price(fill.price))
                .map(|f| self.say_trade(f, out))
                .sum::<usize>();
        }
        said += self.say_bests(out);
        changes.clear();
        fills.clear();
        (self.changes, self.fills) = (changes, fills);
        said
    }

    /// One message for each level. Those of one millisecond carry the hash of the book after the last of them.
    fn say_changes(&self, changes: &[(Side, Level)], out: &mut Outgoing) -> usize {
        let clients = self.clients();
        let bests = [0, 1].map(|token| self.best(token));
        let hashes = [0, 1].map(|token| {
            let (bids, asks) = self.levels(token);
            self.hash(token, &bids, &asks)
        });
        for (side, level) in changes {
            let entries = [0, 1].map(|token| {
                let bid = (*side == Side::Bid) == (token == 0);
                let [best_bid, best_ask] = &bests[token];
                format!(
                    r#"{{"asset_id":"{}","price":"{}","size":"{}","side":"{}","hash":"{}","best_bid":"{}","best_ask":"{}"}}"#,
                    self.names.tokens[token],
                    self.price(token, level.price),
                    number(level.qty, SIZE_SCALE),
                    if bid { "BUY" } else { "SELL" },
                    hashes[token],
                    best_bid.as_deref().unwrap_or("0"),
                    best_ask.as_deref().unwrap_or("1"),
                )
            });
            let frame = format!(
                r#"{{"market":"{}","price_changes":[{}],"timestamp":"{}","event_type":"price_change"}}"#,
                self.names.condition,
                entries.join(","),
                self.millis,
            );
            out.say_all(&clients, &frame);
        }
        changes.len()
    }

    /// Around a trade, both books are told whole, without what is told to those who ask for them.
    fn say_books(&self, out: &mut Outgoing) -> usize {
        for token in [0, 1] {
            let (bids, asks) = self.levels(token);
            let hash = self.hash(token, &bids, &asks);
            let frame = format!(
                r#"{{"market":"{}","asset_id":"{}","timestamp":"{}","hash":"{hash}","bids":[{bids}],"asks":[{asks}],"event_type":"book"}}"#,
                self.names.condition, self.names.tokens[token], self.millis,
            );
            out.say_all(&self.listeners[token], &frame);
        }
        2
    }

    fn say_trade(&self, fill: &Fill, out: &mut Outgoing) -> usize {
        let frame = format!(
            r#"{{"market":"{}","asset_id":"{}","price":"{}","size":"{}","fee_rate_bps":"0","side":"{}","timestamp":"{}","event_type":"last_trade_price","transaction_hash":"0x{:064x}"}}"#,
            self.names.condition,
            self.names.tokens[0],
            self.price(0, fill.price),
            number(fill.qty, SIZE_SCALE),
            if fill.buy { "BUY" } else { "SELL" },
            self.millis,
            fill.id,
        );
        out.say_all(&self.clients(), &frame);
        1
    }

    fn say_bests(&mut self, out: &mut Outgoing) -> usize {
        let mut said = 0;
        for token in [0, 1] {
            let [bid, ask] = self.best(token);
            let (bid, ask) = (bid.unwrap_or_else(|| "0".to_owned()), ask.unwrap_or_else(|| "0".to_owned()));
            let bests = format!(r#""best_bid":"{bid}","best_ask":"{ask}""#);
            if bests == self.bests[token] {
                continue;
            }
            let frame = format!(
                r#"{{"market":"{}","asset_id":"{}",{bests},"timestamp":"{}","event_type":"best_bid_ask"}}"#,
                self.names.condition, self.names.tokens[token], self.millis,
            );
            self.bests[token] = bests;
            out.say_all(&self.listeners[token], &frame);
            said += 1;
        }
        said
    }

    /// Who listens to either token: changes and trades are told of both.
    fn clients(&self) -> Vec<Connection> {
        let mut clients = self.listeners.concat();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    fn price(&self, token: usize, ticks: i64) -> String {
        let ticks = if token == 0 { ticks } else { 10_i64.pow(PRICE_SCALE) - ticks };
        number(ticks, PRICE_SCALE)
    }

    /// The ladders of bids and of asks of a token.
    fn ladders(&self, token: usize) -> [&Ladder; 2] {
        let (bids, asks) = (&self.market.bids, &self.market.asks);
        if token == 0 { [bids, asks] } else { [asks, bids] }
    }

    fn best(&self, token: usize) -> [Option<String>; 2] {
        self.ladders(token).map(|ladder| {
            let best = ladder.best(ladder.len()).find(|level| is_price(level.price));
            best.map(|level| self.price(token, level.price))
        })
    }

    /// The levels of a token as text, the best last.
    fn levels(&self, token: usize) -> (String, String) {
        let [bids, asks] = self.ladders(token).map(|ladder| {
            let levels: Vec<_> = ladder.best(ladder.len()).filter(|level| is_price(level.price)).collect();
            let level = |level: &Level| {
                let (price, size) = (self.price(token, level.price), number(level.qty, SIZE_SCALE));
                format!(r#"{{"price":"{price}","size":"{size}"}}"#)
            };
            levels.iter().rev().map(level).collect::<Vec<_>>().join(",")
        });
        (bids, asks)
    }

    fn hash(&self, token: usize, bids: &str, asks: &str) -> String {
        let text = format!(
            r#"{{"market":"{}","asset_id":"{}","timestamp":"{}","hash":"","bids":[{bids}],"asks":[{asks}],"min_order_size":"{MIN_ORDER_SIZE}","tick_size":"{}","neg_risk":false,"last_trade_price":"{}"}}"#,
            self.names.condition, self.names.tokens[token], self.millis, TICK, self.last,
        );
        Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Prices are between 0 and 1. What lies beyond is never seen.
fn is_price(ticks: i64) -> bool {
    (1..10_i64.pow(PRICE_SCALE)).contains(&ticks)
}

/// The price of the last trade that is seen, if any is: one may sweep all of a side, and what lies beyond with it.
fn last_seen(fills: &[Fill]) -> Option<i64> {
    fills.iter().map(|fill| fill.price).rfind(|price| is_price(*price))
}

/// Milliseconds since 1970.
fn millis(at: Timestamp) -> i64 {
    at.nanos() / 1_000_000
}

/// As the venue writes numbers: no zeros at the end, and no point without digits behind it.
fn number(units: i64, scale: u32) -> String {
    let one = 10_i64.pow(scale);
    let (whole, rest) = (units / one, units % one);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = format!("{rest:0>width$}", width = scale as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// The last price has three digits after the point, zeros too.
fn last_price(ticks: i64) -> String {
    format!("{}.{:03}", ticks / 1000, ticks % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_between_0_and_1_are_enough_for_a_market() {
        let token = ssmd_core::Symbol::new("1230").unwrap();
        let mut listing = Listing::new(&Names::new(&token).unwrap(), 7, Timestamp::from_nanos(0));
        let (mut out, mut said) = (Outgoing::default(), 0);
        listing.listen(0, 1);
        for _ in 0..20_000 {
            said += listing.step(Timestamp::from_nanos(0), &mut out);
            let best = [&listing.market.bids, &listing.market.asks].map(|ladder| ladder.get(0));
            if let [Some(bid), Some(ask)] = best {
                assert!(bid.price < ask.price);
            }
            out.forget(1);
        }
        assert!(said > 20_000, "{said}");
    }

    #[test]
    fn the_last_price_is_that_of_a_trade_that_is_seen() {
        let fills = [998, 999, 1_003].map(|price| Fill {
            id: 1,
            price,
            qty: 1,
            buy: true,
            at: Timestamp::from_nanos(0),
        });
        assert_eq!([last_seen(&fills), last_seen(&fills[2..])], [Some(999), None]);
    }

    #[test]
    fn numbers_are_written_as_the_venue_does() {
        let written =
            [(62, 2), (500, 3), (1, 3), (0, 2), (10_000, 2), (273_250, 2)].map(|(u, s)| number(u, s));
        assert_eq!(written, ["0.62", "0.5", "0.001", "0", "100", "2732.5"]);
        assert_eq!([last_price(620), last_price(7)], ["0.620", "0.007"]);
    }
}
