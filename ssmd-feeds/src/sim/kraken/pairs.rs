//! Kraken's pairs: precisions, names on the WebSocket and over REST, and the REST bodies that list them.

use std::fmt::Write;

use bytes::Bytes;
use ssmd_core::{Decimal, Error, ErrorKind, Result, Symbol, Timestamp};

use super::super::market::hash;
use super::super::venue::SimRest;

/// Base, quote, decimals of price and quantity, and the price in ticks at which the market begins.
const KNOWN: &[(&str, &str, u32, u32, i64)] = &[
    ("BTC", "USD", 1, 8, 633_884),
    ("ETH", "USD", 2, 8, 251_034),
    ("XRP", "USD", 5, 8, 108_105),
    ("SOL", "USD", 2, 8, 15_120),
    ("DOGE", "USD", 7, 8, 2_013_377),
    ("ADA", "USD", 6, 8, 651_204),
    ("LTC", "USD", 2, 8, 11_842),
    ("LINK", "USD", 5, 8, 1_803_116),
    ("DOT", "USD", 4, 8, 41_025),
    ("BTC", "EUR", 1, 8, 582_711),
    ("ETH", "EUR", 2, 8, 231_540),
    ("ETH", "BTC", 6, 8, 39_705),
    ("USDT", "USD", 5, 8, 100_012),
];

/// How much of the quote a typical quantity is worth.
const LOT_VALUE: i128 = 2000;

/// One pair.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) symbol: String,
    pub(super) base: String,
    pub(super) quote: String,
    pub(super) price_scale: u32,
    pub(super) qty_scale: u32,
    /// Where its market begins, in ticks.
    pub(super) start: i64,
    /// A typical quantity, in units.
    pub(super) lot: i64,
}

impl Pair {
    /// The pair of that name: a known one, or one whose precisions and price follow from its name.
    pub(super) fn new(symbol: &Symbol) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::Invalid, "list pair").with("symbol", symbol);
        let plain =
            |code: &str| !code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        let (base, quote) = symbol
            .as_str()
            .split_once('/')
            .filter(|(base, quote)| plain(base) && plain(quote))
            .ok_or_else(|| invalid().hint("write BASE/QUOTE, as in BTC/USD"))?;
        if [base, quote].iter().any(|code| ["XBT", "XDG"].contains(code)) {
            return Err(invalid().hint("the WebSocket's names are BTC and DOGE, not XBT and XDG"));
        }
        let known = KNOWN.iter().find(|known| (known.0, known.1) == (base, quote));
        let (price_scale, qty_scale, start) =
            known.map_or_else(|| derived(symbol), |known| (known.2, known.3, known.4));
        let lot = LOT_VALUE * 10_i128.pow(qty_scale + price_scale) / i128::from(start);
        Ok(Self {
            symbol: symbol.as_str().to_owned(),
            base: base.to_owned(),
            quote: quote.to_owned(),
            price_scale,
            qty_scale,
            start,
            lot: i64::try_from(lot).unwrap_or(i64::MAX / 1000).max(1),
        })
    }

    fn altname(&self) -> String {
        format!("{}{}", rest_code(&self.base), rest_code(&self.quote))
    }

    fn wsname(&self) -> String {
        format!("{}/{}", rest_code(&self.base), rest_code(&self.quote))
    }

    /// The key under which REST lists it: old codes carry an X or a Z if both sides have one.
    fn key(&self) -> String {
        let (base, quote) = (asset(&self.base), asset(&self.quote));
        if base.len() == 4
            && quote.len() == 4
            && base != self.base
            && quote != self.quote
            && self.base != "DOGE"
        {
            base + &quote
        } else {
            self.altname()
        }
    }

    fn listed(&self) -> String {
        let one = |scale| Decimal::new(1, scale).unwrap_or(Decimal::ZERO);
        let least = Decimal::new(i128::from(self.lot / 20).max(1), self.qty_scale).unwrap_or(Decimal::ZERO);
        format!(
            concat!(
                r#""{key}":{{"altname":"{altname}","wsname":"{wsname}","aclass_base":"currency","base":"{base}","#,
                r#""aclass_quote":"currency","quote":"{quote}","lot":"unit","cost_decimals":{cost},"#,
                r#""pair_decimals":{price},"lot_decimals":{qty},"lot_multiplier":1,"leverage_buy":[],"#,
                r#""leverage_sell":[],"fees":[],"fees_maker":[],"fee_volume_currency":"ZUSD","margin_call":80,"#,
                r#""margin_stop":40,"ordermin":"{least}","costmin":"0.5","tick_size":"{tick}","#,
                r#""status":"online","execution_venue":"international"}}"#
            ),
            key = self.key(),
            altname = self.altname(),
            wsname = self.wsname(),
            base = asset(&self.base),
            quote = asset(&self.quote),
            cost = self.price_scale + 4,
            price = self.price_scale,
            qty = self.qty_scale,
            least = least,
            tick = one(self.price_scale),
        )
    }
}

/// The names that the simulator lists first, then `S0001/USD` and so on.
pub(super) fn names(count: usize) -> impl Iterator<Item = String> {
    let known = KNOWN.iter().map(|(base, quote, ..)| format!("{base}/{quote}"));
    known.chain((1..).map(|number| format!("S{number:04}/USD"))).take(count)
}

/// The data of the `instrument` channel.
pub(super) fn instruments(pairs: &[Pair]) -> String {
    let mut assets: Vec<&str> = pairs.iter().flat_map(|pair| [pair.base.as_str(), &pair.quote]).collect();
    assets.sort_unstable();
    assets.dedup();
    let assets: Vec<_> = assets
        .into_iter()
        .map(|id| {
            format!(
                r#"{{"id":"{id}","status":"enabled","precision":10,"precision_display":5,"multiplier":1,"borrowable":false,"collateral_value":0.0}}"#
            )
        })
        .collect();
    let pairs: Vec<_> = pairs.iter().map(instrument).collect();
    format!(r#"{{"assets":[{}],"pairs":[{}]}}"#, assets.join(","), pairs.join(","))
}

fn instrument(pair: &Pair) -> String {
    let one = |scale| Decimal::new(1, scale).unwrap_or(Decimal::ZERO);
    let least = Decimal::new(i128::from(pair.lot / 20).max(1), pair.qty_scale).unwrap_or(Decimal::ZERO);
    let (price, qty) = (pair.price_scale, pair.qty_scale);
    format!(
        concat!(
            r#"{{"symbol":"{symbol}","base":"{base}","quote":"{quote}","status":"online","qty_precision":{qty},"#,
            r#""qty_increment":{lot},"price_precision":{price},"cost_precision":{cost},"marginable":false,"#,
            r#""has_index":false,"cost_min":0.5,"tick_size":{tick},"price_increment":{tick},"qty_min":{least}}}"#
        ),
        symbol = pair.symbol,
        base = pair.base,
        quote = pair.quote,
        qty = qty,
        lot = one(qty),
        price = price,
        cost = price + 4,
        tick = one(price),
        least = least,
    )
}

/// Kraken's REST, as far as it lists what there is.
#[derive(Debug)]
pub(super) struct Rest {
    /// Key, other name, WebSocket name, and the pair's entry in the listing.
    listed: Vec<([String; 3], String)>,
    whole: Bytes,
}

impl Rest {
    /// The REST of a venue that lists these pairs.
    pub(super) fn new(pairs: &[Pair]) -> Self {
        let listed: Vec<_> =
            pairs.iter().map(|pair| ([pair.key(), pair.altname(), pair.wsname()], pair.listed())).collect();
        let whole = envelope(listed.iter().map(|(_, entry)| entry.as_str()));
        Self { listed, whole }
    }

    fn pairs(&self, query: &str) -> Bytes {
        let asked = query.split('&').find_map(|part| part.strip_prefix("pair="));
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return self.whole.clone() };
        let asked = asked.replace("%2F", "/").replace("%2f", "/").replace("%2C", ",").replace("%2c", ",");
        let found: Option<Vec<_>> = asked
            .split(',')
            .map(|name| self.listed.iter().find(|(names, _)| names.iter().any(|known| known == name)))
            .collect();
        match found {
            Some(found) => envelope(found.into_iter().map(|(_, entry)| entry.as_str())),
            None => Bytes::from_static(br#"{"error":["EQuery:Unknown asset pair"]}"#),
        }
    }
}

impl SimRest for Rest {
    fn has_socket(&self, path: &str) -> bool {
        ["/", "/v2"].contains(&path)
    }

    fn get(&self, path: &str, query: &str, now: Timestamp) -> Option<Bytes> {
        match path {
            "/0/public/AssetPairs" => Some(self.pairs(query)),
            "/0/public/SystemStatus" => {
                let now = now.to_string();
                let seconds = now.split('.').next().unwrap_or_default();
                let body =
                    format!(r#"{{"error":[],"result":{{"status":"online","timestamp":"{seconds}Z"}}}}"#);
                Some(Bytes::from(body))
            }
            _ if path.starts_with("/0/") => {
                Some(Bytes::from_static(br#"{"error":["EGeneral:Unknown method"]}"#))
            }
            _ => None,
        }
    }
}

fn envelope<'a>(entries: impl Iterator<Item = &'a str>) -> Bytes {
    let mut body = String::from(r#"{"error":[],"result":{"#);
    for (at, entry) in entries.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(body, "{comma}{entry}");
    }
    body.push_str("}}");
    Bytes::from(body)
}

/// What REST calls a currency inside a pair's name.
fn rest_code(code: &str) -> &str {
    match code {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// What REST calls a currency by itself.
fn asset(code: &str) -> String {
    match code {
        "BTC" | "DOGE" | "ETH" | "XRP" | "LTC" => format!("X{}", rest_code(code)),
        "USD" | "EUR" | "GBP" | "CAD" | "JPY" | "AUD" => format!("Z{code}"),
        other => other.to_owned(),
    }
}

fn derived(symbol: &Symbol) -> (u32, u32, i64) {
    let hash = hash(symbol.as_str());
    let price_scale = 1 + (hash % 7) as u32;
    let qty_scale = if hash.is_multiple_of(5) { 5 } else { 8 };
    (price_scale, qty_scale, 50_000 + (hash / 64 % 850_000) as i64)
}
