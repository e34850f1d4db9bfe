//! The markets that the simulator lists, and the REST bodies that list them and tell their books.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use ssmd_core::{Error, ErrorKind, Result, Symbol, Timestamp};

use super::super::market::hash;
use super::super::venue::SimRest;
use super::{Listings, lock};

/// Slug, the price in thousandths at which the market begins, tag and what was traded.
const KNOWN: &[(&str, i64, &str, u32)] = &[
    ("bitcoin-above-100k-on-december-31", 465, "Crypto", 990_364),
    ("bitcoin-above-150k-on-december-31", 320, "Crypto", 48_200),
    ("fed-cuts-rates-in-december", 620, "Economics", 4_189_051),
    ("rain-in-london-on-new-years-day", 550, "Weather", 9_988),
    ("ceasefire-by-december-31", 770, "Politics", 5_032_192),
];
/// The smallest step of a price.
pub(super) const TICK: &str = "0.001";
/// Digits after the point of a price.
pub(super) const PRICE_SCALE: u32 = 3;
/// A typical quantity, in hundredths of a share.
pub(super) const LOT: i64 = 10_000;
/// Digits of a token's id: as many as those of the venue often have.
const TOKEN_DIGITS: usize = 77;
/// Markets in one answer.
const PAGE_MARKETS: usize = 100;
/// When every market ends.
const END: &str = "2100-01-01T00:00:00Z";

/// A market with two tokens: their ids differ in the lowest bit of the last digit, that of "Yes" being even.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) slug: String,
    /// As messages name it.
    pub(super) condition: String,
    /// "Yes" and "No".
    pub(super) tokens: [String; 2],
    /// Where it begins, in ticks.
    pub(super) start: i64,
    tag: String,
    volume: u32,
}

impl Names {
    /// The market of a token.
    pub(super) fn new(token: &Symbol) -> Result<Self> {
        let text = token.as_str();
        let (rest, last) = text.split_at(text.len() - 1);
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= TOKEN_DIGITS + 1;
        let last: u8 = last.parse().ok().filter(|_| plain).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "list token").with("symbol", token).hint("write digits alone")
        })?;
        let tokens = [last & !1, last | 1].map(|last| format!("{rest}{last}"));
        let known = KNOWN.iter().find(|known| yes(known.0) == tokens[0]).copied();
        let number = hash(&tokens[0]);
        let slug = known.map_or_else(|| format!("market-{number:016x}"), |known| known.0.to_owned());
        let invented = ("", 250 + (number % 500) as i64, "Invented", (number % 100_000) as u32);
        let (_, start, tag, volume) = known.unwrap_or(invented);
        let condition = format!("0x{}", digits(&tokens[0], 16, 64));
        Ok(Self { slug, condition, tokens, start, tag: tag.to_owned(), volume })
    }

    fn question(&self) -> String {
        format!("Will it be {}?", self.slug.replace('-', " "))
    }

    /// As Gamma lists it.
    fn listed(&self) -> Value {
        json!({
            "id": (hash(&self.slug) % 1_000_000).to_string(),
            "question": self.question(),
            "conditionId": self.condition,
            "slug": self.slug,
            "endDate": END,
            "startDate": "2025-01-01T00:00:00Z",
            "outcomes": "[\"Yes\", \"No\"]",
            "clobTokenIds": json!(self.tokens).to_string(),
            "volume": self.volume.to_string(),
            "volumeNum": self.volume,
            "active": true,
            "closed": false,
            "archived": false,
            "acceptingOrders": true,
            "enableOrderBook": true,
            "orderPriceMinTickSize": 0.001,
            "orderMinSize": 5,
            "negRisk": false,
            "tags": [{"id": "1", "label": self.tag, "slug": self.tag.to_lowercase()}],
            "events": [{"id": "1", "slug": self.slug, "title": self.question()}],
        })
    }

    /// As CLOB tells it.
    fn of_clob(&self) -> Value {
        let token =
            |at: usize, outcome| json!({"token_id": self.tokens[at], "outcome": outcome, "winner": false});
        json!({
            "enable_order_book": true,
            "active": true,
            "closed": false,
            "archived": false,
            "accepting_orders": true,
            "minimum_order_size": 5,
            "minimum_tick_size": 0.001,
            "condition_id": self.condition,
            "question": self.question(),
            "market_slug": self.slug,
            "end_date_iso": END,
            "neg_risk": false,
            "tokens": [token(0, "Yes"), token(1, "No")],
            "tags": [self.tag],
        })
    }
}

/// Digits of a number system that follow from a text; the first is none of 0.
fn digits(text: &str, base: u32, count: usize) -> String {
    let mut rng = StdRng::seed_from_u64(hash(text));
    let digits = (0..count).map(|at| rng.random_range(u32::from(at == 0)..base));
    digits.filter_map(|digit| char::from_digit(digit, base)).collect()
}

/// The token of "Yes" in a market.
fn yes(slug: &str) -> String {
    format!("{}0", digits(slug, 10, TOKEN_DIGITS - 1))
}

/// The tokens that the simulator lists first, market by market.
pub(super) fn names(count: usize) -> impl Iterator<Item = String> {
    let known = KNOWN.iter().map(|known| known.0.to_owned());
    let slugs = known.chain((1..).map(|number| format!("invented-{number:04}")));
    slugs
        .flat_map(|slug| {
            let yes = yes(&slug);
            let no = format!("{}1", &yes[..TOKEN_DIGITS - 1]);
            [yes, no]
        })
        .take(count)
}

/// What REST answers: Gamma and CLOB in one.
pub(super) struct Rest {
    markets: Vec<Value>,
    by_slug: BTreeMap<String, Bytes>,
    by_condition: BTreeMap<String, Bytes>,
    /// The condition of a token, and which of its tokens that is.
    tokens: BTreeMap<String, (String, usize)>,
    listings: Listings,
}

impl Rest {
    pub(super) fn new<'a>(markets: impl Iterator<Item = &'a Names>, listings: Listings) -> Self {
        let (by_slug, by_condition, tokens) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut rest = Self { markets: Vec::new(), by_slug, by_condition, tokens, listings };
        for market in markets {
            let listed = market.listed();
            rest.by_slug.insert(market.slug.clone(), listed.to_string().into());
            rest.by_condition.insert(market.condition.clone(), market.of_clob().to_string().into());
            for (at, token) in market.tokens.iter().enumerate() {
                rest.tokens.insert(token.clone(), (market.condition.clone(), at));
            }
            rest.markets.push(listed);
        }
        rest
    }

    /// The book of a token in whose market something happens.
    fn book(&self, query: &str) -> Option<Bytes> {
        let (condition, at) = self.tokens.get(query.strip_prefix("token_id=")?)?;
        Some(lock(&self.listings).get(condition)?.rest_book(*at).into())
    }

    /// Of the venue's filters, `closed` is known: no market is.
    fn page(&self, query: &str) -> Bytes {
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let number = |name| value(name).and_then(|text| text.parse::<usize>().ok());
        let (limit, after) =
            (number("limit").unwrap_or(20).min(PAGE_MARKETS), number("after_cursor").unwrap_or(0));
        let open = value("closed") != Some("true");
        let markets: Vec<_> = self.markets.iter().skip(after).take(limit).filter(|_| open).collect();
        let next = after.saturating_add(limit);
        let mut answer = json!({ "markets": markets });
        if next < self.markets.len() && open {
            answer["next_cursor"] = json!(next.to_string());
        }
        answer.to_string().into()
    }
}

impl SimRest for Rest {
    fn has_socket(&self, path: &str) -> bool {
        ["/", "/ws/market"].contains(&path)
    }

    fn get(&self, path: &str, query: &str, _now: Timestamp) -> Option<Bytes> {
        if path == "/book" {
            return self.book(query);
        }
        let name = path.strip_prefix("/markets/")?;
        match name.strip_prefix("slug/") {
            Some(slug) => self.by_slug.get(slug).cloned(),
            None if name == "keyset" => Some(self.page(query)),
            None => self.by_condition.get(name).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markets_are_all_different() {
        let all: std::collections::BTreeSet<_> = names(250).collect();
        assert_eq!(all.len(), 250);
        let all: Vec<_> = names(250).map(|name| Names::new(&Symbol::new(&name).unwrap()).unwrap()).collect();
        let slugs: std::collections::BTreeSet<_> = all.iter().map(|names| &names.slug).collect();
        let conditions: std::collections::BTreeSet<_> = all.iter().map(|names| &names.condition).collect();
        assert_eq!((slugs.len(), conditions.len()), (125, 125));
    }

    #[test]
    fn a_token_names_its_market_and_both_tokens_name_the_same() {
        let tokens: Vec<_> = names(12).map(|name| Symbol::new(&name).unwrap()).collect();
        for pair in tokens.chunks(2) {
            let [one, other] = [0, 1].map(|at| Names::new(&pair[at]).unwrap());
            assert_eq!(one.tokens, [pair[0].as_str(), pair[1].as_str()]);
            assert_eq!((&one.slug, &one.condition), (&other.slug, &other.condition));
            assert_eq!(one.condition.len(), 66);
        }
        assert_eq!(Names::new(&tokens[0]).unwrap().slug, KNOWN[0].0);
        assert!(Names::new(&Symbol::new("12x4").unwrap()).is_err());
    }
}
