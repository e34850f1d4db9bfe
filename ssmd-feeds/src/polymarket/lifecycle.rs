//! Records of markets that begin and end.

use ssmd_core::record::{Status, TradingStatus};
use ssmd_core::{Body, Frame, Output, Symbol};

use super::decode::{instrument, record};
use super::wire::{MarketResolved, NewMarket};
use crate::decoding::{header, shown};

/// A market began, here or elsewhere on the venue: the state of each of its tokens, and the step of their prices.
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
        let status = Status { status, word: "new_market".to_owned(), detail };
        out.push(record(header.clone(), Body::Status(status)));
        if market.order_price_min_tick_size.is_some() {
            out.push(record(header, instrument(market.order_price_min_tick_size)));
        }
    }
}

/// A market has its outcome: its tokens are not traded any more.
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
        let status = Status { status: TradingStatus::Closed, word: "market_resolved".to_owned(), detail };
        out.push(record(header, Body::Status(status)));
    }
}
