//! The products that the simulator lists, and the REST body that lists them.

use bytes::Bytes;
use ssmd_core::{Error, ErrorKind, Result, Symbol, Timestamp};

use super::super::market::hash;
use super::super::venue::SimRest;

/// Base, decimals of price and quantity, and the price in ticks at which the market begins.
const KNOWN: &[(&str, u32, u32, i64)] = &[
    ("XBT", 0, 4, 84_002),
    ("ETH", 1, 3, 19_073),
    ("SOL", 2, 2, 15_120),
    ("XRP", 4, 0, 10_810),
    ("DOGE", 5, 0, 20_133),
    ("LTC", 2, 2, 11_842),
];

/// How much of the quote a typical quantity is worth.
const LOT_VALUE: i64 = 2_000;

/// One linear perpetual.
#[derive(Clone, Debug)]
pub(super) struct Product {
    pub(super) symbol: String,
    base: String,
    pub(super) price_scale: u32,
    pub(super) qty_scale: u32,
    /// Where its market begins, in ticks.
    pub(super) start: i64,
    /// A typical quantity, in units.
    pub(super) lot: i64,
}

impl Product {
    /// The product of that name: a known one, or one whose precisions and price follow from its name.
    pub(super) fn new(symbol: &Symbol) -> Result<Self> {
        let base = symbol.as_str().strip_prefix("PF_").and_then(|rest| rest.strip_suffix("USD"));
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let base = base.filter(|base| !base.is_empty() && base.bytes().all(plain)).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "list product")
                .with("symbol", symbol)
                .hint("write PF_BASEUSD, as in PF_XBTUSD")
        })?;
        let derived = || (base, 2, 2, 5_000 + (hash(base) % 850_000) as i64);
        let (_, price_scale, qty_scale, start) =
            KNOWN.iter().find(|known| known.0 == base).copied().unwrap_or_else(derived);
        Ok(Self {
            symbol: symbol.as_str().to_owned(),
            base: base.to_owned(),
            price_scale,
            qty_scale,
            start,
            lot: (LOT_VALUE * 10_i64.pow(price_scale + qty_scale) / start).max(1),
        })
    }

    /// The pair as tickers write it.
    pub(super) fn pair(&self) -> String {
        format!("{}:USD", self.base)
    }

    fn listed(&self) -> String {
        let base = if self.base == "XBT" { "BTC" } else { &self.base };
        let tick = match self.price_scale {
            0 => "1".to_owned(),
            scale => format!("0.{:0>width$}", 1, width = scale as usize),
        };
        format!(
            concat!(
                r#"{{"symbol":"{symbol}","type":"flexible_futures","tickSize":{tick},"contractSize":1,"#,
                r#""tradeable":true,"openingDate":"2022-03-22T13:15:36Z","fundingRateCoefficient":8,"#,
                r#""maxRelativeFundingRate":0.005,"contractValueTradePrecision":{precision},"postOnly":false,"#,
                r#""mtf":true,"base":"{base}","quote":"USD","pair":"{base}:USD","tradfi":false,"isExpired":false}}"#
            ),
            symbol = self.symbol,
            tick = tick,
            precision = self.qty_scale,
            base = base,
        )
    }
}

/// The names that the simulator lists first, then `PF_S0001USD` and so on.
pub(super) fn names(count: usize) -> impl Iterator<Item = String> {
    let known = KNOWN.iter().map(|(base, ..)| format!("PF_{base}USD"));
    known.chain((1..).map(|number| format!("PF_S{number:04}USD"))).take(count)
}

/// What REST answers.
pub(super) struct Rest {
    instruments: Bytes,
}

impl Rest {
    pub(super) fn new(products: &[Product]) -> Self {
        let listed: Vec<_> = products.iter().map(Product::listed).collect();
        let body = format!(r#"{{"result":"success","instruments":[{}]}}"#, listed.join(","));
        Self { instruments: body.into() }
    }
}

impl SimRest for Rest {
    fn has_socket(&self, path: &str) -> bool {
        ["/", "/ws/v1"].contains(&path)
    }

    fn get(&self, path: &str, _query: &str, _now: Timestamp) -> Option<Bytes> {
        (path == "/derivatives/api/v3/instruments").then(|| self.instruments.clone())
    }
}
