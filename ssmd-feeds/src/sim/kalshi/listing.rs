//! One market as its channels tell it: bids for yes and for no, changes of them, trades, a ticker. What is said here is
//! the `msg` of a frame; its numbers are each client's own.

use std::collections::BTreeMap;

use ssmd_core::Timestamp;

use super::super::market::{Change, Fill, Market, Side, hash};
use super::Channel;
use super::markets::Contract;

/// A dollar, in tenths of a cent, the steps of prices here. Prices are above 0 and below it.
const ONE: i64 = 1_000;
/// A typical quantity, in hundredths of a contract.
const LOT: i64 = 20_000;

/// One market.
pub(super) struct Listing {
    contract: Contract,
    market: Market,
    /// What is bid for yes, by the price of yes.
    yes: BTreeMap<i64, i64>,
    /// What is bid for no, by the price of no.
    no: BTreeMap<i64, i64>,
    volume: i64,
    fills: Vec<Fill>,
    closed: bool,
}

impl Listing {
    pub(super) fn new(contract: Contract, seed: u64, now: Timestamp) -> Self {
        let market = Market::new(seed, contract.start, LOT, now);
        let (mut yes, mut no) = (BTreeMap::new(), BTreeMap::new());
        for (ladder, side) in [(&market.bids, &mut yes), (&market.asks, &mut no)] {
            for level in ladder.best(ladder.len()).filter(|level| is_price(level.price)) {
                let price = if ladder.side() == Side::Bid { level.price } else { ONE - level.price };
                side.insert(price, level.qty);
            }
        }
        Self { contract, market, yes, no, volume: 0, fills: Vec::new(), closed: false }
    }

    /// Ends it: nobody bids any more.
    pub(super) fn close(&mut self) {
        self.yes.clear();
        self.no.clear();
        self.closed = true;
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The state of its book.
    pub(super) fn snapshot(&self) -> String {
        let mut msg = format!(r#"{{"market_ticker":"{}","market_id":"{}""#, self.contract.ticker, self.id(0));
        for (name, levels) in [("yes", &self.yes), ("no", &self.no)] {
            // A side that is empty is not there.
            if levels.is_empty() {
                continue;
            }
            msg.push_str(&format!(r#","{name}_dollars_fp":["#));
            for (at, (price, qty)) in levels.iter().enumerate() {
                // Hundreds of snapshots are made at once, so this does without formatting.
                msg.push_str(if at == 0 { "[\"0." } else { ",[\"0." });
                put_digits(&mut msg, *price, 3);
                msg.push_str("0\",\"");
                put_digits(&mut msg, qty / 100, 1);
                msg.push('.');
                put_digits(&mut msg, qty % 100, 2);
                msg.push_str("\"]");
            }
            msg.push(']');
        }
        msg.push('}');
        msg
    }

    /// What it says to somebody who has just come.
    pub(super) fn first_ticker(&self, now: Timestamp) -> String {
        self.ticker(now)
    }

    /// Lets one thing happen; `say` hears what it is.
    pub(super) fn step(&mut self, now: Timestamp, say: &mut dyn FnMut(Channel, String)) {
        let mut fills = std::mem::take(&mut self.fills);
        let mut changes = Vec::new();
        self.market.step(now, &mut fills, &mut |change, ladder| {
            let (price, qty) = match change {
                Change::Set { level, .. } | Change::Insert { level, .. } => (level.price, level.qty),
                Change::Remove { price, .. } => (price, 0),
            };
            changes.push((ladder.side(), price, qty));
        });
        for (side, price, qty) in changes.into_iter().filter(|(_, price, _)| is_price(*price)) {
            let (levels, word, price) = match side {
                Side::Bid => (&mut self.yes, "yes", price),
                Side::Ask => (&mut self.no, "no", ONE - price),
            };
            let before = match qty {
                0 => levels.remove(&price),
                _ => levels.insert(price, qty),
            };
            let difference = qty - before.unwrap_or(0);
            if difference != 0 {
                say(Channel::Book, self.delta(word, price, difference, now));
            }
        }
        for fill in fills.iter().filter(|fill| is_price(fill.price)) {
            self.volume += fill.qty;
            say(Channel::Trade, self.trade(fill));
        }
        if !fills.is_empty() {
            say(Channel::Ticker, self.ticker(now));
        }
        fills.clear();
        self.fills = fills;
    }

    fn delta(&self, word: &str, price: i64, difference: i64, now: Timestamp) -> String {
        format!(
            r#"{{"market_ticker":"{}","market_id":"{}","price_dollars":"{}","delta_fp":"{}","side":"{word}","ts":"{}","ts_ms":{}}}"#,
            self.contract.ticker,
            self.id(0),
            dollars(price),
            count(difference),
            micros(now),
            millis(now),
        )
    }

    fn trade(&self, fill: &Fill) -> String {
        let (outcome, book) = if fill.buy { ("yes", "bid") } else { ("no", "ask") };
        format!(
            concat!(
                r#"{{"trade_id":"{id}","market_ticker":"{ticker}","yes_price_dollars":"{yes}","no_price_dollars":"{no}","#,
                r#""count_fp":"{count}","taker_side":"{outcome}","taker_outcome_side":"{outcome}","#,
                r#""taker_book_side":"{book}","ts":{seconds},"ts_ms":{millis}}}"#
            ),
            id = self.id(fill.id),
            ticker = self.contract.ticker,
            yes = dollars(fill.price),
            no = dollars(ONE - fill.price),
            count = count(fill.qty),
            outcome = outcome,
            book = book,
            seconds = millis(fill.at) / 1_000,
            millis = millis(fill.at),
        )
    }

    /// Without a price, the venue writes 0 for a bid and a dollar for an ask.
    fn ticker(&self, now: Timestamp) -> String {
        let (bid, bid_size) = self.yes.last_key_value().map_or((0, 0), |(price, qty)| (*price, *qty));
        let (ask, ask_size) = self.no.last_key_value().map_or((ONE, 0), |(price, qty)| (ONE - price, *qty));
        format!(
            concat!(
                r#"{{"market_ticker":"{ticker}","market_id":"{id}","price_dollars":"{last}","#,
                r#""yes_bid_dollars":"{bid}","yes_ask_dollars":"{ask}","volume_fp":"{volume}","#,
                r#""open_interest_fp":"{volume}","dollar_volume":0,"dollar_open_interest":0,"#,
                r#""yes_bid_size_fp":"{bid_size}","yes_ask_size_fp":"{ask_size}","#,
                r#""last_trade_size_fp":"0.00","ts":{seconds},"ts_ms":{millis},"time":"{time}"}}"#
            ),
            ticker = self.contract.ticker,
            id = self.id(0),
            last = dollars(self.market.last().clamp(0, ONE)),
            bid = dollars(bid),
            ask = dollars(ask),
            volume = count(self.volume),
            bid_size = count(bid_size),
            ask_size = count(ask_size),
            seconds = millis(now) / 1_000,
            millis = millis(now),
            time = micros(now),
        )
    }

    /// An identity in the form of a UUID.
    fn id(&self, number: u64) -> String {
        let high = hash(&self.contract.ticker);
        format!("{:08x}-{:04x}-4000-8000-{number:012x}", high >> 32, high & 0xffff)
    }
}

fn is_price(price: i64) -> bool {
    (1..ONE).contains(&price)
}

/// A number that is not negative, with at least so many digits.
fn put_digits(text: &mut String, number: i64, digits_min: usize) {
    let mut digits = [b'0'; 20];
    let (mut at, mut rest) = (digits.len(), number);
    while rest > 0 || digits.len() - at < digits_min {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn dollars(price: i64) -> String {
    format!("{}.{:03}0", price / ONE, price % ONE)
}

fn count(qty: i64) -> String {
    let sign = if qty < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", qty.abs() / 100, qty.abs() % 100)
}

fn millis(at: Timestamp) -> i64 {
    at.nanos() / 1_000_000
}

/// RFC 3339 with six digits.
fn micros(at: Timestamp) -> String {
    let whole = at.to_string();
    let micros = at.nanos() / 1_000 % 1_000_000;
    format!("{}.{micros:06}Z", whole.get(.."YYYY-MM-DDTHH:MM:SS".len()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_venue_does() {
        assert_eq!([dollars(1), dollars(960), dollars(ONE)], ["0.0010", "0.9600", "1.0000"]);
        assert_eq!([count(-5_400), count(7), count(-7)], ["-54.00", "0.07", "-0.07"]);
        let mut digits = String::new();
        [(7, 2), (0, 1), (12_345, 3)]
            .iter()
            .for_each(|(number, least)| put_digits(&mut digits, *number, *least));
        assert_eq!(digits, "07012345");
        let at = Timestamp::from_nanos(1_784_475_900_544_125_999);
        assert_eq!(micros(at), "2026-07-19T15:45:00.544125Z");
    }
}
