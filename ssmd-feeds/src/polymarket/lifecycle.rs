//! Records of markets that begin, change and end.

use ssmd_core::record::{Lifecycle, Stage, Status, TradingStatus};
use ssmd_core::{Body, Decimal, Frame, Output, Symbol};

use super::decode::{instrument, record};
use super::wire::{MarketResolved, NewMarket};
use crate::decoding::{header, shown};

/// A market began, here or elsewhere on the venue: for each of its tokens that it exists, its state, and the step of its
/// prices.
pub(super) fn listed(frame: &Frame, market: &NewMarket<'_>, symbols: Vec<Symbol>, out: &mut Vec<Output>) {
    let status = match market.active {
        Some(true) => TradingStatus::Online,
        Some(false) => TradingStatus::Closed,
        None => TradingStatus::Unknown,
    };
    for (at, symbol) in symbols.into_iter().enumerate() {
        let outcome = market.outcomes.0.get(at).map_or("", |outcome| outcome.as_ref());
        let detail =
            format!("market={} outcome={} slug={}", market.market, shown(outcome), shown(&market.slug));
        let header = header(frame, Some(symbol), market.timestamp.timestamp());
        let title = market.question.as_deref().filter(|title| !title.is_empty()).map(shown);
        let life = Lifecycle { title, ..life(Stage::Listed, NEW_MARKET, &market.market) };
        out.push(record(header.clone(), Body::Lifecycle(Box::new(life))));
        let status = Status { status, word: NEW_MARKET.to_owned(), detail };
        out.push(record(header.clone(), Body::Status(status)));
        if market.order_price_min_tick_size.is_some() {
            out.push(record(header, instrument(market.order_price_min_tick_size)));
        }
    }
}

/// A market has its outcome: its tokens are not traded any more, and one of them is worth a dollar.
pub(super) fn resolved(
    frame: &Frame,
    market: &MarketResolved<'_>,
    symbols: Vec<Symbol>,
    out: &mut Vec<Output>,
) {
    for symbol in symbols {
        let wins = symbol.as_str() == market.winning_asset_id;
        let outcome = shown(&market.winning_outcome);
        let detail = format!("market={} outcome={outcome} wins={wins}", market.market);
        let header = header(frame, Some(symbol), market.timestamp.timestamp());
        let life = Lifecycle {
            outcome: Some(outcome).filter(|outcome| !outcome.is_empty()),
            value: Decimal::from_digits(u64::from(wins), 0),
            ..life(Stage::Determined, MARKET_RESOLVED, &market.market)
        };
        out.push(record(header.clone(), Body::Lifecycle(Box::new(life))));
        let status = Status { status: TradingStatus::Closed, word: MARKET_RESOLVED.to_owned(), detail };
        out.push(record(header, Body::Status(status)));
    }
}

/// The steps of a token's prices are others.
pub(super) fn changed(condition: &str) -> Body {
    Body::Lifecycle(Box::new(life(Stage::Changed, TICK_SIZE_CHANGE, condition)))
}

const NEW_MARKET: &str = "new_market";
const MARKET_RESOLVED: &str = "market_resolved";
const TICK_SIZE_CHANGE: &str = "tick_size_change";

fn life(stage: Stage, word: &str, condition: &str) -> Lifecycle {
    Lifecycle {
        stage,
        word: word.to_owned(),
        group: Some(shown(condition)),
        title: None,
        opens: None,
        closes: None,
        outcome: None,
        value: None,
    }
}
