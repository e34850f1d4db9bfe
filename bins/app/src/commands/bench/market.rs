//! Kraken book frames with right checksums, of the form and the digits of real ones.

use std::fmt::Write as _;

use bytes::Bytes;
use ssmd_core::record::Level;
use ssmd_core::{BookSide, Decimal, OrderBook, Result};
use ssmd_feeds::kraken::checksum;

/// The symbol of every frame.
pub(super) const SYMBOL: &str = "BTC/USD";
/// The depth of the book: Kraken's default.
pub(super) const DEPTH: usize = 10;

/// A book around 63,000, one tick apart.
pub(super) struct Market {
    book: OrderBook,
}

impl Market {
    /// A full book.
    ///
    /// # Errors
    /// Never: its numbers fit.
    pub(super) fn new() -> Result<Self> {
        let mut market = Self { book: OrderBook::new() };
        for at in 0..DEPTH as i128 {
            market.book.apply(BookSide::Bid, level(630_049 - at, 1_876_947 + at * 7_919)?);
            market.book.apply(BookSide::Ask, level(630_050 + at, 55_006_860 + at * 104_729)?);
        }
        Ok(market)
    }

    /// The whole book.
    pub(super) fn snapshot(&self) -> Bytes {
        let levels = |side| self.book.levels(side).copied().collect::<Vec<_>>();
        self.frame("snapshot", &levels(BookSide::Bid), &levels(BookSide::Ask))
    }

    /// Two updates of the best levels, half of them bids; applied by turns they stay right for ever.
    ///
    /// # Errors
    /// Never: their numbers fit.
    pub(super) fn updates(&mut self, levels: usize) -> Result<[Bytes; 2]> {
        Ok([self.update(levels, 1)?, self.update(levels, 2)?])
    }

    fn update(&mut self, levels: usize, round: i128) -> Result<Bytes> {
        let changed = |side, count: usize| -> Result<Vec<Level>> {
            let size = decimal(208_665_551 + round * 777, 8)?;
            let prices = self.book.levels(side).take(count).map(|level| level.price);
            Ok(prices.map(|price| Level { price, size }).collect())
        };
        let bids = changed(BookSide::Bid, levels / 2)?;
        let asks = changed(BookSide::Ask, levels - levels / 2)?;
        bids.iter().for_each(|level| self.book.apply(BookSide::Bid, *level));
        asks.iter().for_each(|level| self.book.apply(BookSide::Ask, *level));
        Ok(self.frame("update", &bids, &asks))
    }

    fn frame(&self, kind: &str, bids: &[Level], asks: &[Level]) -> Bytes {
        let text = format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{SYMBOL}","bids":[{}],"asks":[{}],"checksum":{},"timestamp":"2026-08-01T02:53:53.646219Z"}}]}}"#,
            json(bids),
            json(asks),
            checksum(&self.book)
        );
        text.into()
    }
}

fn json(levels: &[Level]) -> String {
    let mut text = String::new();
    for Level { price, size } in levels {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a `String` cannot fail.
        let _ = write!(text, r#"{comma}{{"price":{price},"qty":{size}}}"#);
    }
    text
}

fn level(price: i128, size: i128) -> Result<Level> {
    Ok(Level { price: decimal(price, 1)?, size: decimal(size, 8)? })
}

fn decimal(mantissa: i128, scale: u32) -> Result<Decimal> {
    Decimal::new(mantissa, scale)
}
