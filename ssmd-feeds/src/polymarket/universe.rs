//! What can be traded, as REST lists it, and which of it a configuration means. Pure functions.
//!
//! Gamma lists markets, each with its tokens; the order book's own REST (CLOB) knows a market by its condition. What a
//! document names are tokens, conditions and slugs; patterns stand for slugs, conditions and questions.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::environment::SymbolFilters;
use ssmd_core::record::Instrument;
use ssmd_core::{Decimal, Error, ErrorKind, Result, Symbol, Timestamp};

use crate::decoding::shown;
use crate::listing::{Listed, Listing};
use crate::pattern::{is_pattern, matches};

/// Markets in one answer; the venue gives no more.
const PAGE_MARKETS: usize = 100;
/// The longest name that can be a slug or a condition, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// A condition is so many hexadecimal digits behind `0x`.
const CONDITION_DIGITS: usize = 64;

/// How a document names what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A token: digits alone. REST need not be asked.
    Token,
    /// A market by its condition: `0x` and 64 digits.
    Condition,
    /// A market by its slug.
    Slug,
    /// Any number of markets.
    Pattern,
}

/// Tells what a text names.
///
/// # Errors
/// `Invalid` for a text that can be none of them.
pub fn named(text: &str) -> Result<Named> {
    let all = |text: &str, fits: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| fits(&byte));
    let condition = text.strip_prefix("0x").filter(|digits| digits.len() == CONDITION_DIGITS);
    if is_pattern(text) {
        Ok(Named::Pattern)
    } else if all(text, u8::is_ascii_digit) {
        Ok(Named::Token)
    } else if condition.is_some_and(|digits| all(digits, u8::is_ascii_hexdigit)) {
        Ok(Named::Condition)
    } else if text.len() <= NAME_BYTES_MAX && all(text, |b| b.is_ascii_alphanumeric() || b"-_.".contains(b)) {
        Ok(Named::Slug)
    } else {
        Err(Error::new(ErrorKind::Invalid, "read symbol")
            .with("symbol", shown(text))
            .hint("write a token id, a condition id (0x…), a market's slug, or a pattern of slugs with `*`"))
    }
}

/// One market with its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    /// What it is about, as a hash: the `market` of messages.
    pub condition: String,
    /// Its name in the venue's addresses.
    pub slug: String,
    /// The question that its outcomes answer.
    pub question: String,
    /// Labels and slugs of all its tags.
    pub categories: Vec<String>,
    /// Slugs of its event and of the series that the event belongs to.
    pub series: Vec<String>,
    /// Its tokens, one for each outcome.
    pub tokens: Vec<Listed>,
}

/// One answer of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// What could be read.
    pub markets: Vec<Market>,
    /// Rows that could not be read: their name, as far as there is one, and why.
    pub bad: Vec<(String, String)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// The path of a page of Gamma's listing, as far as the venue can narrow it down.
pub fn page_path(filters: &SymbolFilters, now: Timestamp, after: Option<&str>) -> String {
    let mut path = format!("/markets/keyset?limit={PAGE_MARKETS}&include_tag=true");
    if filters.status.is_empty() {
        path.push_str("&closed=false");
    }
    if let Some(volume) = filters.volume_min {
        let _infallible = write!(path, "&volume_num_min={volume}");
    }
    if let Some(within) = filters.close_within {
        // In whole seconds, one later: it is only to make the listing shorter.
        let last = now.saturating_add(within).saturating_add(Duration::from_secs(1)).to_string();
        let seconds = last.split('.').next().unwrap_or(&last);
        let _infallible = write!(path, "&end_date_max={seconds}Z");
    }
    if let Some(after) = after {
        path.push_str("&after_cursor=");
        escape(&mut path, after);
    }
    path
}

/// The path of one market on Gamma, by its slug.
pub fn slug_path(slug: &str) -> String {
    format!("/markets/slug/{slug}?include_tag=true")
}

/// The path of one market on CLOB, by its condition.
pub fn condition_path(condition: &str) -> String {
    format!("/markets/{condition}")
}

/// The path of one token's book on CLOB.
pub fn book_path(token: &str) -> String {
    let mut path = "/book?token_id=".to_owned();
    escape(&mut path, token);
    path
}

/// Cursors are base64, with bytes that mean something in a query.
fn escape(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            path.push(char::from(byte));
        } else {
            let _infallible = write!(path, "%{byte:02X}");
        }
    }
}

/// Reads a page of Gamma's listing.
///
/// # Errors
/// `Invalid` if it is none.
pub fn parse_page(body: &[u8]) -> Result<Page> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, alias = "data")]
        markets: Vec<&'a RawValue>,
        next_cursor: Option<String>,
    }
    let answer: Answer<'_> = if body.trim_ascii_start().first() == Some(&b'[') {
        let markets = serde_json::from_slice(body).map_err(unread)?;
        Answer { markets, next_cursor: None }
    } else {
        serde_json::from_slice(body).map_err(unread)?
    };
    let mut page = Page { next: answer.next_cursor.filter(|next| !next.is_empty()), ..Page::default() };
    for row in answer.markets {
        match gamma_market(row.get()) {
            Ok(market) => page.markets.extend(market),
            Err(why) => page.bad.push((name(row), why)),
        }
    }
    Ok(page)
}

/// Reads one market of Gamma; `None` if it has no tokens, as old ones.
///
/// # Errors
/// `Invalid` if it is none.
pub fn parse_market(body: &[u8]) -> Result<Option<Market>> {
    let text = std::str::from_utf8(body)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "read market").because(cause))?;
    gamma_market(text).map_err(|why| Error::new(ErrorKind::Invalid, "read market").detail(why))
}

/// Reads one market of CLOB.
///
/// # Errors
/// `Invalid` if it is none.
pub fn parse_clob_market(body: &[u8]) -> Result<Market> {
    let row: ClobMarket = serde_json::from_slice(body).map_err(unread)?;
    let state = State {
        active: row.active,
        closed: row.closed,
        archived: row.archived,
        orders: row.accepting_orders && row.enable_order_book,
    };
    let mut tokens = Vec::new();
    // Markets of old, without an order book, have tokens without ids.
    for token in row.tokens.into_iter().filter(|token| !token.token_id.is_empty()) {
        let instrument = Instrument {
            base: token.outcome,
            status: Some(state.word().to_owned()),
            price_increment: row.minimum_tick_size,
            size_min: row.minimum_order_size,
            ..Instrument::default()
        };
        tokens.push(Listed {
            title: Some(row.question.clone()),
            category: row.tags.iter().flatten().next().cloned(),
            closes: row.end_date_iso.as_deref().and_then(|text| text.parse().ok()),
            ..Listed::new(Symbol::new(&token.token_id)?, state.is_tradable(), instrument)
        });
    }
    Ok(Market {
        condition: row.condition_id,
        slug: row.market_slug,
        question: row.question,
        categories: row.tags.unwrap_or_default(),
        series: Vec::new(),
        tokens,
    })
}

/// The tokens that are meant: of the markets that a pattern matches and that fit the filters. Without a pattern,
/// filters mean every market.
///
/// # Errors
/// As for [`Listing::select`].
pub fn select(
    markets: &[Market],
    patterns: &[String],
    filters: &SymbolFilters,
    now: Timestamp,
) -> Result<Vec<Symbol>> {
    let meant = |market: &&Market| {
        let names = [&market.slug, &market.condition, &market.question];
        patterns.is_empty() || patterns.iter().any(|text| names.iter().any(|name| matches(text, name)))
    };
    let listed = markets.iter().filter(meant).flat_map(|market| market.listed(filters)).collect();
    let listing = Listing { listed, bad: Vec::new() };
    listing.select(&["*".to_owned()], filters, now)
}

impl Market {
    /// Its tokens, with the category and the series that the filters ask for, where it has several.
    fn listed(&self, filters: &SymbolFilters) -> impl Iterator<Item = Listed> {
        let choose = |words: &[String], has: &[String]| {
            let asked = has.iter().find(|one| words.iter().any(|word| word.eq_ignore_ascii_case(one)));
            asked.or(has.first()).cloned()
        };
        let category = choose(&filters.category, &self.categories);
        let series = choose(&filters.series, &self.series);
        self.tokens.iter().map(move |token| Listed {
            category: category.clone(),
            series: series.clone(),
            ..token.clone()
        })
    }
}

/// What REST says about the state of a market: four flags and no word.
struct State {
    active: bool,
    closed: bool,
    archived: bool,
    orders: bool,
}

impl State {
    fn word(&self) -> &'static str {
        match self {
            Self { archived: true, .. } => "archived",
            Self { closed: true, .. } => "closed",
            Self { active: true, .. } => "active",
            _ => "inactive",
        }
    }

    fn is_tradable(&self) -> bool {
        self.active && self.orders && !self.closed && !self.archived
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GammaMarket {
    condition_id: String,
    #[serde(default)]
    slug: String,
    #[serde(default)]
    question: String,
    category: Option<String>,
    #[serde(default)]
    tags: Option<Vec<Tag>>,
    #[serde(default)]
    events: Option<Vec<Event>>,
    /// JSON in a string; absent in markets without an order book.
    clob_token_ids: Option<String>,
    /// JSON in a string.
    outcomes: Option<String>,
    #[serde(default)]
    active: Option<bool>,
    #[serde(default)]
    closed: Option<bool>,
    #[serde(default)]
    archived: Option<bool>,
    accepting_orders: Option<bool>,
    enable_order_book: Option<bool>,
    start_date: Option<String>,
    end_date: Option<String>,
    volume_num: Option<Decimal>,
    order_price_min_tick_size: Option<Decimal>,
    order_min_size: Option<Decimal>,
}

#[derive(Deserialize)]
struct Tag {
    label: Option<String>,
    slug: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    slug: Option<String>,
    series_slug: Option<String>,
    #[serde(default)]
    series: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct ClobMarket {
    condition_id: String,
    #[serde(default)]
    question: String,
    #[serde(default)]
    market_slug: String,
    active: bool,
    closed: bool,
    #[serde(default)]
    archived: bool,
    accepting_orders: bool,
    enable_order_book: bool,
    minimum_order_size: Option<Decimal>,
    minimum_tick_size: Option<Decimal>,
    end_date_iso: Option<String>,
    tags: Option<Vec<String>>,
    tokens: Vec<ClobToken>,
}

#[derive(Deserialize)]
struct ClobToken {
    token_id: String,
    outcome: Option<String>,
}

fn gamma_market(row: &str) -> Result<Option<Market>, String> {
    let words = |error: serde_json::Error| shown(&error.to_string());
    let row: GammaMarket = serde_json::from_str(row).map_err(words)?;
    let inside = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map_or(Ok(Vec::new()), serde_json::from_str::<Vec<String>>).map_err(words)
    };
    let (ids, outcomes) = (inside(&row.clob_token_ids)?, inside(&row.outcomes)?);
    if ids.is_empty() {
        return Ok(None);
    }
    let state = State {
        active: row.active.unwrap_or(false),
        closed: row.closed.unwrap_or(false),
        archived: row.archived.unwrap_or(false),
        orders: row.accepting_orders.unwrap_or(true) && row.enable_order_book.unwrap_or(true),
    };
    let tags = row.tags.iter().flatten().flat_map(|tag| [&tag.label, &tag.slug]);
    let categories = row.category.iter().chain(tags.flatten()).cloned().collect::<Vec<_>>();
    let slugs = row.events.iter().flatten().flat_map(|event| {
        let series = event.series.iter().flatten().flat_map(|series| &series.slug);
        event.series_slug.iter().chain(series).chain(&event.slug)
    });
    let series = slugs.cloned().collect::<Vec<_>>();
    let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let mut tokens = Vec::with_capacity(ids.len());
    for (at, id) in ids.iter().enumerate() {
        let instrument = Instrument {
            base: outcomes.get(at).cloned(),
            status: Some(state.word().to_owned()),
            price_increment: row.order_price_min_tick_size,
            size_min: row.order_min_size,
            ..Instrument::default()
        };
        let symbol = Symbol::new(id).map_err(|error| error.to_string())?;
        tokens.push(Listed {
            title: Some(row.question.clone()),
            category: categories.first().cloned(),
            series: series.first().cloned(),
            opens: time(&row.start_date),
            closes: time(&row.end_date),
            volume: row.volume_num,
            ..Listed::new(symbol, state.is_tradable(), instrument)
        });
    }
    let Ok(Named::Condition) = named(&row.condition_id) else {
        return Err("its conditionId is none".to_owned());
    };
    let (condition, slug, question) = (row.condition_id, row.slug, row.question);
    Ok(Some(Market { condition, slug, question, categories, series, tokens }))
}

/// The name of a row that is no market.
fn name(row: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Slug {
        slug: String,
    }
    serde_json::from_str::<Slug>(row.get()).map_or_else(|_| shown(row.get()), |named| shown(&named.slug))
}

fn unread(cause: serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, "read markets").because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITION: &str = "0x8bdeac60c92d3bc494792fd334ca181b0cf70355f23dca4098d558280b554c81";

    fn row(slug: &str, tokens: &str, more: &str) -> String {
        format!(
            r#"{{"conditionId":"{CONDITION}","slug":"{slug}","question":"Will {slug} be?","clobTokenIds":"{tokens}",
            "outcomes":"[\"Yes\",\"No\"]","active":true,"acceptingOrders":true,"enableOrderBook":true{more}}}"#
        )
    }

    fn page() -> Page {
        let rows = [
            row("rain-may", r#"[\"11\",\"12\"]"#, r#","closed":false,"volumeNum":990364.2674220031"#),
            row(
                "sun-june",
                r#"[\"21\",\"22\"]"#,
                r#","endDate":"2026-12-31T00:00:00Z","tags":[{"label":"Weather","slug":"weather"}],
                "events":[{"slug":"sun","seriesSlug":"sunny"}],"orderPriceMinTickSize":0.001"#,
            ),
            row("snow-may", r#"[\"31\"]"#, r#","closed":true"#),
            row("bad-tokens", "oops", ""),
            r#"{"slug":"odd"}"#.to_owned(),
            format!(r#"{{"conditionId":"{CONDITION}","slug":"no-book","clobTokenIds":""}}"#),
        ];
        let body = format!(r#"{{"markets":[{}],"next_cursor":"a+b="}}"#, rows.join(","));
        parse_page(body.as_bytes()).unwrap()
    }

    fn meant(patterns: &[&str], filters: &SymbolFilters) -> Vec<String> {
        let patterns: Vec<_> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let now = "2026-12-30T00:00:00Z".parse().unwrap();
        let symbols = select(&page().markets, &patterns, filters, now).unwrap();
        symbols.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_tells_its_markets_and_what_could_not_be_read() {
        let page = page();
        assert_eq!(page.markets.len(), 3);
        assert_eq!(page.bad.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["bad-tokens", "odd"]);
        assert_eq!(page.next.as_deref(), Some("a+b="));
        let token = &page.markets[1].tokens[1];
        assert_eq!(token.instrument.base.as_deref(), Some("No"));
        assert_eq!(token.instrument.price_increment, "0.001".parse().ok());
        assert!(parse_page(b"{}").is_err() && parse_page(b"<html>").is_err());
        assert_eq!(parse_page(b"[]").unwrap(), Page::default());
    }

    #[test]
    fn patterns_mean_slugs_and_questions_and_filters_hold_all_at_once() {
        let none = SymbolFilters::default();
        assert_eq!(meant(&["*-may"], &none), ["11", "12"]);
        assert_eq!(meant(&["Will sun*", "0x8*"], &none), ["11", "12", "21", "22"]);
        let words = |word: &str| vec![word.to_owned()];
        let weather = SymbolFilters { category: words("WEATHER"), ..SymbolFilters::default() };
        assert_eq!(meant(&[], &weather), ["21", "22"]);
        assert_eq!(meant(&["rain*"], &weather), [""; 0]);
        let sunny = SymbolFilters { series: words("sun"), ..SymbolFilters::default() };
        assert_eq!(meant(&[], &sunny), ["21", "22"]);
        let traded =
            SymbolFilters { volume_min: "990364.2674220031".parse().ok(), ..SymbolFilters::default() };
        assert_eq!(meant(&[], &traded), ["11", "12"]);
        let closed = SymbolFilters { status: words("closed"), ..SymbolFilters::default() };
        assert_eq!(meant(&[], &closed), ["31"]);
        let soon =
            SymbolFilters { close_within: Some(Duration::from_secs(86_400)), ..SymbolFilters::default() };
        assert_eq!(meant(&[], &soon), ["21", "22"]);
        let path = page_path(&soon, Timestamp::from_nanos(0), Some("a+b="));
        assert!(
            path.ends_with("&closed=false&end_date_max=1970-01-02T00:00:01Z&after_cursor=a%2Bb%3D"),
            "{path}"
        );
    }

    #[test]
    fn a_text_names_a_token_a_condition_a_slug_or_a_pattern() {
        let kinds = ["123", CONDITION, "rain-in-may", "rain*"].map(|text| named(text).unwrap());
        assert_eq!(kinds, [Named::Token, Named::Condition, Named::Slug, Named::Pattern]);
        for text in ["", "a/b", "a?b", "ö"] {
            assert!(named(text).unwrap_err().hint_text().is_some(), "{text}");
        }
    }

    #[test]
    fn a_market_of_the_order_book_is_read() {
        let body = format!(
            r#"{{"condition_id":"{CONDITION}","market_slug":"s","question":"Q","active":true,"closed":false,
            "accepting_orders":true,"enable_order_book":true,"minimum_tick_size":0.01,"minimum_order_size":5,
            "tokens":[{{"token_id":"1","outcome":"Yes"}},{{"token_id":"2","outcome":"No"}}],"tags":null}}"#
        );
        let market = parse_clob_market(body.as_bytes()).unwrap();
        assert!(market.tokens.iter().all(|token| token.tradable) && market.tokens.len() == 2);
        assert!(parse_clob_market(b"{}").is_err());
    }
}
