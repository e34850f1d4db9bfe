//! The fields that a decoder must read of a message at least, in the types that a record has: what serde_json takes for
//! them, without knowing what they mean, stands beside what the decoder takes.

#![expect(dead_code, reason = "reading them is what is measured")]

use serde::Deserialize;
use ssmd_core::Decimal;

/// A message of Kraken spot.
#[derive(Deserialize)]
pub(super) struct Kraken<'a, T> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    data: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct KrakenTrade<'a> {
    symbol: &'a str,
    side: &'a str,
    price: Decimal,
    qty: Decimal,
    ord_type: &'a str,
    trade_id: u64,
    timestamp: &'a str,
}

#[derive(Deserialize)]
pub(super) struct KrakenTicker<'a> {
    symbol: &'a str,
    bid: Decimal,
    bid_qty: Decimal,
    ask: Decimal,
    ask_qty: Decimal,
    last: Decimal,
    volume: Decimal,
    vwap: Decimal,
    low: Decimal,
    high: Decimal,
    change: Decimal,
    change_pct: Decimal,
}

#[derive(Deserialize)]
pub(super) struct FuturesBook<'a> {
    feed: &'a str,
    product_id: &'a str,
    side: &'a str,
    seq: u64,
    price: Decimal,
    qty: Decimal,
    timestamp: u64,
}

#[derive(Deserialize)]
pub(super) struct FuturesTrade<'a> {
    feed: &'a str,
    product_id: &'a str,
    uid: &'a str,
    side: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    seq: u64,
    time: u64,
    qty: Decimal,
    price: Decimal,
}

#[derive(Deserialize)]
pub(super) struct FuturesTicker<'a> {
    feed: &'a str,
    product_id: &'a str,
    time: u64,
    bid: Decimal,
    ask: Decimal,
    bid_size: Decimal,
    ask_size: Decimal,
    volume: Decimal,
    last: Decimal,
    change: Decimal,
    index: Decimal,
    #[serde(rename = "openInterest")]
    open_interest: Decimal,
    #[serde(rename = "markPrice")]
    mark_price: Decimal,
    suspended: bool,
    post_only: bool,
    relative_funding_rate: Decimal,
    relative_funding_rate_prediction: Decimal,
    next_funding_rate_time: u64,
}

#[derive(Deserialize)]
pub(super) struct FuturesTickerLite<'a> {
    feed: &'a str,
    product_id: &'a str,
    bid: Decimal,
    ask: Decimal,
}

/// A message of Kalshi. Tickers have no number.
#[derive(Deserialize)]
pub(super) struct Kalshi<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    sid: u64,
    seq: Option<u64>,
    msg: T,
}

#[derive(Deserialize)]
pub(super) struct KalshiDelta<'a> {
    market_ticker: &'a str,
    price_dollars: Decimal,
    delta_fp: Decimal,
    side: &'a str,
    ts: &'a str,
    ts_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct KalshiSnapshot<'a> {
    market_ticker: &'a str,
    #[serde(default)]
    yes_dollars_fp: Vec<(Decimal, Decimal)>,
    #[serde(default)]
    no_dollars_fp: Vec<(Decimal, Decimal)>,
}

#[derive(Deserialize)]
pub(super) struct KalshiTrade<'a> {
    trade_id: &'a str,
    market_ticker: &'a str,
    yes_price_dollars: Decimal,
    count_fp: Decimal,
    taker_outcome_side: &'a str,
    ts: u64,
    ts_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct KalshiTicker<'a> {
    market_ticker: &'a str,
    price_dollars: Decimal,
    yes_bid_dollars: Decimal,
    yes_ask_dollars: Decimal,
    yes_bid_size_fp: Decimal,
    yes_ask_size_fp: Decimal,
    volume_fp: Decimal,
    open_interest_fp: Decimal,
    ts: u64,
    ts_ms: u64,
    time: &'a str,
}

#[derive(Deserialize)]
pub(super) struct PriceChange<'a> {
    market: &'a str,
    #[serde(borrow)]
    price_changes: Vec<PriceChangeEntry<'a>>,
    timestamp: &'a str,
    event_type: &'a str,
}

#[derive(Deserialize)]
struct PriceChangeEntry<'a> {
    asset_id: &'a str,
    price: Decimal,
    size: Decimal,
    side: &'a str,
    hash: &'a str,
    best_bid: Decimal,
    best_ask: Decimal,
}

#[derive(Deserialize)]
pub(super) struct PolymarketBook<'a> {
    market: &'a str,
    asset_id: &'a str,
    timestamp: &'a str,
    hash: &'a str,
    bids: Vec<PolymarketLevel>,
    asks: Vec<PolymarketLevel>,
    event_type: &'a str,
}

#[derive(Deserialize)]
struct PolymarketLevel {
    price: Decimal,
    size: Decimal,
}

#[derive(Deserialize)]
pub(super) struct LastTradePrice<'a> {
    market: &'a str,
    asset_id: &'a str,
    price: Decimal,
    size: Decimal,
    side: &'a str,
    timestamp: &'a str,
    event_type: &'a str,
    transaction_hash: &'a str,
}

#[derive(Deserialize)]
pub(super) struct BestBidAsk<'a> {
    market: &'a str,
    asset_id: &'a str,
    best_bid: Decimal,
    best_ask: Decimal,
    timestamp: &'a str,
    event_type: &'a str,
}
