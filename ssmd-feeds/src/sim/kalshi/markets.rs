//! The markets that the simulator lists, and the REST bodies that list them, page by page.

use bytes::Bytes;
use hyper::HeaderMap;
use ssmd_core::{Error, ErrorKind, Result, Symbol, Timestamp};

use super::super::market::hash;
use super::super::venue::SimRest;
use super::gate::{Gate, PATH};

/// Series and their categories.
const SERIES: [(&str, &str); 4] = [
    ("KXBTC15M", "Crypto"),
    ("KXETHD", "Crypto"),
    ("KXHIGHNY", "Climate and Weather"),
    ("KXFED", "Economics"),
];
/// Markets on a page, unless asked otherwise.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;
const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

/// One market.
#[derive(Clone, Debug)]
pub(super) struct Contract {
    pub(super) ticker: String,
    /// Where its market begins, in tenths of a cent.
    pub(super) start: i64,
    /// When it closes, if that was said.
    pub(super) closes: Option<Timestamp>,
}

impl Contract {
    /// The market of that name; its price follows from the name.
    pub(super) fn new(symbol: &Symbol) -> Result<Self> {
        let ticker = symbol.as_str();
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if !ticker.bytes().all(plain) {
            return Err(Error::new(ErrorKind::Invalid, "list market")
                .with("symbol", symbol)
                .hint("write SERIES-EVENT-STRIKE in capitals, as in KXBTC15M-26DEC31-T001"));
        }
        Ok(Self { ticker: ticker.to_owned(), start: 400 + (hash(ticker) % 100) as i64, closes: None })
    }

    fn series(&self) -> &str {
        self.ticker.split('-').next().unwrap_or_default()
    }

    fn event(&self) -> &str {
        self.ticker.rsplit_once('-').map_or(self.ticker.as_str(), |(event, _)| event)
    }

    fn is_closed(&self, now: Timestamp) -> bool {
        self.closes.is_some_and(|closes| closes <= now)
    }

    /// As REST lists it: open since the last hour, until it closes, or the same hour tomorrow.
    fn listed(&self, now: Timestamp) -> String {
        let hour = now.nanos() / NANOS_PER_HOUR * NANOS_PER_HOUR;
        let at = |hours: i64| Timestamp::from_nanos(hour + hours * NANOS_PER_HOUR);
        format!(
            concat!(
                r#"{{"ticker":"{ticker}","event_ticker":"{event}","market_type":"binary","title":"{event}?","#,
                r#""yes_sub_title":"{ticker}","status":"{status}","open_time":"{open}","close_time":"{close}","#,
                r#""volume_fp":"0.00","open_interest_fp":"0.00","price_level_structure":"deci_cent","#,
                r#""price_ranges":[{{"start":"0.0000","end":"1.0000","step":"0.0010"}}]}}"#
            ),
            ticker = self.ticker,
            event = self.event(),
            open = at(0),
            status = if self.is_closed(now) { "closed" } else { "active" },
            close = self.closes.unwrap_or(at(24)),
        )
    }
}

/// The names that the simulator lists first.
pub(super) fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|at| format!("{}-26DEC31-T{:04}", SERIES[at % SERIES.len()].0, at / SERIES.len() + 1))
}

/// What REST answers.
pub(super) struct Rest {
    contracts: Vec<Contract>,
    gate: Gate,
}

impl Rest {
    pub(super) fn new(contracts: Vec<Contract>, gate: Gate) -> Self {
        Self { contracts, gate }
    }

    fn markets(&self, query: &str, now: Timestamp) -> Bytes {
        let value = |key| value(query, key);
        let meant = |contract: &&Contract| {
            let status = if contract.is_closed(now) { "closed" } else { "open" };
            value("status").is_none_or(|wanted| wanted.is_empty() || wanted == status)
                && value("series_ticker").is_none_or(|series| series == contract.series())
        };
        let limit = value("limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let from = value("cursor").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut rest = self.contracts.iter().filter(meant).skip(from);
        let page: Vec<_> = rest.by_ref().take(limit).map(|contract| contract.listed(now)).collect();
        let cursor = rest.next().map_or_else(String::new, |_| (from + limit).to_string());
        format!(r#"{{"cursor":"{cursor}","markets":[{}]}}"#, page.join(",")).into()
    }
}

impl SimRest for Rest {
    fn has_socket(&self, path: &str) -> bool {
        ["/", PATH].contains(&path)
    }

    fn admits(
        &self,
        headers: &HeaderMap,
        path: &str,
        now: Timestamp,
    ) -> std::result::Result<(), &'static str> {
        self.gate.admits(headers, path, now)
    }

    fn get(&self, path: &str, query: &str, now: Timestamp) -> Option<Bytes> {
        match path {
            "/trade-api/v2/markets" => Some(self.markets(query, now)),
            "/trade-api/v2/series" => {
                let wanted = value(query, "category").map(|text| text.replace("%20", " "));
                let meant =
                    SERIES.iter().filter(|(_, category)| wanted.as_deref().is_none_or(|w| w == *category));
                let series = meant.map(|(ticker, category)| {
                    format!(r#"{{"ticker":"{ticker}","category":"{category}","title":"{ticker}"}}"#)
                });
                Some(format!(r#"{{"series":[{}]}}"#, series.collect::<Vec<_>>().join(",")).into())
            }
            "/trade-api/v2/exchange/status" => {
                Some(Bytes::from_static(br#"{"exchange_active":true,"trading_active":true}"#))
            }
            _ => None,
        }
    }
}

fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}
