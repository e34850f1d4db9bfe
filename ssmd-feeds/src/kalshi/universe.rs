//! What can be traded, as REST lists it page by page. Pure functions, but for [`Rolling`], which asks.
//!
//! Markets open and close all the time, most of them at the hour. So the listing is kept, and a market is tradable from
//! a few seconds before it opens: when that is so for the next one is told to whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::environment::FeedSpec;
use ssmd_core::record::Instrument;
use ssmd_core::{BoxFuture, Clock, Decimal, Error, ErrorKind, Result, Symbol, Timestamp};
use tokio::sync::Mutex;

use super::numbers::Time;
use crate::decoding::shown;
use crate::http::Http;
use crate::listing::{Listed, Listing};
use crate::ws::Subscriptions;

/// The path of every REST endpoint.
pub(crate) const REST_PATH: &str = "/trade-api/v2";
/// Markets on a page: the most that the venue gives.
const PAGE: usize = 1_000;
/// More pages of one question are an error: a listing must be complete, and the venue has some thirty.
const PAGES_MAX: usize = 200;
/// With more series than this, the whole venue is asked at once.
const SERIES_MAX: usize = 20;
/// How long before it opens a market is subscribed. A market that opens says nothing about it.
pub const LEAD: Duration = Duration::from_secs(5);
/// How long after its closing time a market is kept, for what the venue says last.
const LINGER: Duration = Duration::from_secs(60);
/// How old a listing of one page may be; one of many pages may be older in proportion.
const FRESH: Duration = Duration::from_secs(30);
/// A listing is never older than this, if the venue answers.
const FRESH_MAX: Duration = Duration::from_secs(15 * 60);
/// A listing that is older than this is worth less than an error.
const STALE: Duration = Duration::from_secs(3_600);
/// The wait after the venue did not list.
const RETRY: Duration = Duration::from_secs(15);

/// The venue's words for questions, and for the states that answers have.
const STATES: [(&str, &[&str]); 5] = [
    ("unopened", &["initialized"]),
    ("open", &["active"]),
    ("paused", &["inactive"]),
    ("closed", &["closed", "determined", "disputed", "amended"]),
    ("settled", &["settled", "finalized"]),
];

/// One page of markets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// What could be read, and what could not.
    pub listing: Listing,
    /// What asks for the next page; `None` for the last.
    pub cursor: Option<String>,
}

/// Reads the body of `markets`.
///
/// # Errors
/// `Invalid` if it is no page of markets.
pub fn parse_markets(body: &[u8]) -> Result<Page> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        markets: Vec<&'a RawValue>,
        cursor: Option<String>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "read markets").because(cause))?;
    let mut page = Page { cursor: answer.cursor.filter(|cursor| !cursor.is_empty()), ..Page::default() };
    for row in answer.markets {
        match market(row) {
            Ok(listed) => page.listing.listed.push(listed),
            Err(why) => page.listing.bad.push((name(row), why)),
        }
    }
    Ok(page)
}

/// Reads the body of `series`: the series and the category of each.
///
/// # Errors
/// `Invalid` if it is no list of series.
pub fn parse_series(body: &[u8]) -> Result<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Answer {
        series: Vec<Series>,
    }
    #[derive(Deserialize)]
    struct Series {
        ticker: String,
        #[serde(default)]
        category: String,
    }
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "read series").because(cause))?;
    Ok(answer.series.into_iter().map(|series| (series.ticker, series.category)).collect())
}

#[derive(Deserialize)]
struct Row {
    ticker: String,
    #[serde(default)]
    event_ticker: String,
    title: Option<String>,
    yes_sub_title: Option<String>,
    status: String,
    #[serde(default)]
    open_time: Time,
    #[serde(default)]
    close_time: Time,
    volume_fp: Option<Decimal>,
    volume: Option<Decimal>,
    #[serde(default)]
    price_ranges: Vec<PriceRange>,
}

#[derive(Deserialize)]
struct PriceRange {
    step: Option<Decimal>,
}

fn market(row: &RawValue) -> Result<Listed, String> {
    let row: Row = serde_json::from_str(row.get()).map_err(|error| shown(&error.to_string()))?;
    let symbol = Symbol::new(&row.ticker).map_err(|error| error.to_string())?;
    let event = if row.event_ticker.is_empty() { &row.ticker } else { &row.event_ticker };
    let series = event.split('-').next().map(str::to_owned);
    let title = match (row.title, row.yes_sub_title.filter(|text| !text.is_empty())) {
        (Some(title), Some(outcome)) => Some(format!("{title} {outcome}")),
        (title, outcome) => title.or(outcome),
    };
    // A grid may be finer at its ends: every price is a multiple of the finest step.
    let price_increment = row.price_ranges.iter().filter_map(|range| range.step).min();
    Ok(Listed {
        symbol,
        title,
        tradable: matches!(row.status.as_str(), "active" | "inactive"),
        category: None,
        series,
        opens: row.open_time.any(),
        closes: row.close_time.any(),
        volume: row.volume_fp.or(row.volume),
        instrument: Instrument {
            quote: Some("USD".to_owned()),
            status: Some(row.status),
            price_increment,
            ..Instrument::default()
        },
    })
}

/// The name of a row that is no market.
fn name(row: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        ticker: String,
    }
    serde_json::from_str::<Named>(row.get()).map_or_else(|_| shown(row.get()), |named| shown(&named.ticker))
}

/// Which questions a document needs answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    /// The venue's words for the states that are asked for.
    states: Vec<&'static str>,
    /// Those that are named, or with which every pattern begins; `None` for any.
    series: Option<BTreeSet<String>>,
    categories: Vec<String>,
}

impl Plan {
    fn new(spec: &FeedSpec) -> Self {
        let filters = &spec.filters;
        let states = STATES.iter().filter(|(asked, answers)| {
            let is_meant = |word: &String| {
                word.eq_ignore_ascii_case(asked) || answers.iter().any(|one| word.eq_ignore_ascii_case(one))
            };
            match filters.status.is_empty() {
                true => ["unopened", "open", "paused"].contains(asked),
                false => filters.status.iter().any(is_meant),
            }
        });
        let patterns = spec.symbols.iter().filter(|text| text.contains('*'));
        let of_pattern = |text: &String| Some(text.split('*').next()?.split_once('-')?.0.to_owned());
        let of_patterns: Option<BTreeSet<String>> = patterns.map(of_pattern).collect();
        let named: BTreeSet<String> = filters.series.iter().map(|name| name.to_ascii_uppercase()).collect();
        let series = if named.is_empty() { of_patterns } else { Some(named) };
        Self {
            states: states.map(|(asked, _)| *asked).collect(),
            series: series.filter(|series| !series.is_empty()),
            categories: filters.category.clone(),
        }
    }
}

/// A listing that is kept, and what is so of it as time goes on.
pub(super) struct Rolling {
    rest: Arc<Rest>,
    clock: Arc<dyn Clock>,
    subscriptions: Subscriptions,
    state: Mutex<State>,
}

/// Who asks the venue.
struct Rest {
    http: Http,
    plan: Plan,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    asking: Option<Asking>,
}

/// When the venue was asked, and what it will answer: the whole listing, and how many pages it was.
type Asking = (Timestamp, BoxFuture<'static, Result<(Listing, usize)>>);

struct Kept {
    listing: Listing,
    at: Timestamp,
    fresh_until: Timestamp,
}

impl Rolling {
    pub(super) fn new(
        http: Http,
        spec: &FeedSpec,
        clock: Arc<dyn Clock>,
        subscriptions: Subscriptions,
    ) -> Self {
        let rest = Arc::new(Rest { http, plan: Plan::new(spec) });
        Self { rest, clock, subscriptions, state: Mutex::default() }
    }

    /// What is listed, as it is now; asks the venue where that is not known any more. What is known and about to change
    /// is told in time, however long the answer takes: then it is waited for by the next call.
    pub(super) async fn listing(&self) -> Result<Listing> {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        if state.kept.as_ref().is_none_or(|kept| now >= kept.fresh_until) {
            self.ask(&mut state).await?;
        }
        let Some(kept) = &state.kept else { return Ok(Listing::default()) };
        let now = self.clock.now();
        self.subscriptions.set_changes_at(next_change(&kept.listing, now).min(kept.fresh_until));
        Ok(as_of(&kept.listing, now))
    }

    /// Waits until the venue answers, or what is known of it changes.
    async fn ask(&self, State { kept, asking }: &mut State) -> Result<()> {
        let now = self.clock.now();
        let known = kept.as_ref().filter(|kept| now.since(kept.at) < STALE);
        let changes_in = known.map(|kept| next_change(&kept.listing, now).since(now));
        let changed = async {
            match changes_in {
                Some(wait) => self.clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let (at, answer) = asking.get_or_insert_with(|| (now, Box::pin(Arc::clone(&self.rest).ask())));
        let (at, answer) = tokio::select! {
            biased;
            answer = answer => (*at, answer),
            () = changed => return Ok(()),
        };
        *asking = None;
        let now = self.clock.now();
        match answer {
            Ok((mut listing, pages)) => {
                self.subscriptions.set_listed(Ok(()));
                if let Some(before) = kept.as_ref() {
                    keep_what_has_just_closed(&mut listing, &before.listing, now);
                }
                let fresh = (FRESH * u32::try_from(pages).unwrap_or(u32::MAX)).min(FRESH_MAX);
                *kept = Some(Kept { listing, at, fresh_until: at.saturating_add(fresh) });
            }
            Err(error) => match kept.as_mut().filter(|kept| now.since(kept.at) < STALE) {
                Some(kept) => {
                    self.subscriptions.set_listed(Err(&error));
                    tracing::warn!(%error, "the listing is as it was known before");
                    kept.fresh_until = now.saturating_add(RETRY);
                }
                None => return Err(error),
            },
        }
        Ok(())
    }
}

impl Rest {
    /// The whole listing, and how many pages it was.
    async fn ask(self: Arc<Self>) -> Result<(Listing, usize)> {
        let (mut listing, mut pages) = (Listing::default(), 0);
        let categories = self.categories().await?;
        let series = match (&self.plan.series, self.plan.categories.is_empty()) {
            (Some(named), true) => Some(named.clone()),
            (Some(named), false) => {
                Some(named.iter().filter(|name| categories.contains_key(*name)).cloned().collect())
            }
            (None, true) => None,
            (None, false) => Some(categories.keys().cloned().collect::<BTreeSet<_>>()),
        };
        for state in &self.plan.states {
            match series.as_ref().filter(|series| series.len() <= SERIES_MAX) {
                Some(series) => {
                    for name in series {
                        let question = format!("status={state}&series_ticker={}", encoded(name));
                        pages += self.pages(&question, &mut listing).await?;
                    }
                }
                None => {
                    // Markets made of others are many more than all the rest.
                    let question = format!("status={state}&mve_filter=exclude");
                    pages += self.pages(&question, &mut listing).await?;
                }
            }
        }
        for listed in &mut listing.listed {
            let category = listed.series.as_ref().and_then(|series| categories.get(series));
            listed.category = category.cloned();
        }
        Ok((listing, pages.max(1)))
    }

    /// The category of every series of those that are wanted.
    async fn categories(&self) -> Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for category in &self.plan.categories {
            let body = self.get(&format!("/series?category={}", encoded(category))).await?;
            all.extend(parse_series(&body)?);
        }
        Ok(all)
    }

    async fn pages(&self, question: &str, listing: &mut Listing) -> Result<usize> {
        let mut cursor: Option<String> = None;
        for number in 1..=PAGES_MAX {
            let more =
                cursor.as_deref().map_or_else(String::new, |text| format!("&cursor={}", encoded(text)));
            let body = self.get(&format!("/markets?limit={PAGE}&{question}{more}")).await?;
            let page = parse_markets(&body)?;
            listing.listed.extend(page.listing.listed);
            listing.bad.extend(page.listing.bad);
            match page.cursor {
                None => return Ok(number),
                Some(next) if cursor.as_ref() == Some(&next) => break,
                Some(next) => cursor = Some(next),
            }
        }
        Err(Error::new(ErrorKind::Full, "ask markets")
            .detail("the listing does not end")
            .with("question", question)
            .with("pages_max", PAGES_MAX))
    }

    async fn get(&self, path_and_query: &str) -> Result<Bytes> {
        self.http.get(&format!("{REST_PATH}{path_and_query}")).await
    }
}

/// Adds what is not listed any more since its time was over a moment ago: the venue has last words about it.
fn keep_what_has_just_closed(listing: &mut Listing, before: &Listing, now: Timestamp) {
    let known: BTreeSet<&Symbol> = listing.listed.iter().map(|listed| &listed.symbol).collect();
    let lingers = |closes: Timestamp| closes <= now && now < closes.saturating_add(LINGER);
    let closed = before.listed.iter().filter(|listed| listed.closes.is_some_and(lingers));
    let missing: Vec<Listed> = closed.filter(|listed| !known.contains(&listed.symbol)).cloned().collect();
    listing.listed.extend(missing);
}

/// The listing as it is at `now`: what is about to open can be traded, what has closed cannot.
fn as_of(listing: &Listing, now: Timestamp) -> Listing {
    let mut listing = listing.clone();
    for listed in &mut listing.listed {
        let soon = listed.instrument.status.as_deref() == Some("initialized")
            && listed.opens.is_some_and(|opens| before(opens) <= now);
        let over = listed.closes.is_some_and(|closes| closes.saturating_add(LINGER) <= now);
        listed.tradable = (listed.tradable || soon) && !over;
    }
    listing
}

/// When [`as_of`] will first differ from what it is at `now`.
fn next_change(listing: &Listing, now: Timestamp) -> Timestamp {
    let far = now.saturating_add(FRESH_MAX);
    let times = listing.listed.iter().flat_map(|listed| {
        let opens = listed.opens.map(before);
        [opens, listed.closes.map(|closes| closes.saturating_add(LINGER))].into_iter().flatten()
    });
    times.filter(|at| *at > now).min().unwrap_or(far).min(far)
}

/// When a market that opens then is subscribed.
fn before(opens: Timestamp) -> Timestamp {
    let lead = i64::try_from(LEAD.as_nanos()).unwrap_or(0);
    Timestamp::from_nanos(opens.nanos().saturating_sub(lead))
}

/// Text as part of a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut query, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                query.push(char::from(byte));
            }
            _ => query.push_str(&format!("%{byte:02X}")),
        }
        query
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"cursor":"abc=","markets":[
        {"ticker":"KXBTC15M-26JUL191145-45","event_ticker":"KXBTC15M-26JUL191145","title":"BTC up?","yes_sub_title":"",
         "status":"active","open_time":"2026-07-19T15:30:00Z","close_time":"2026-07-19T15:45:00Z","volume_fp":"12.50",
         "price_ranges":[{"start":"0.0000","end":"0.1000","step":"0.0010"},{"start":"0.1000","end":"0.9000","step":"0.0100"}]},
        {"ticker":"KXBTC15M-26JUL191200-00","status":"initialized","open_time":"2026-07-19T15:45:00Z",
         "close_time":"2026-07-19T16:00:00Z","volume":3},
        {"ticker":"KXODD-1","status":7},9]}"#;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn pages_are_read_row_by_row() {
        let page = parse_markets(BODY).unwrap();
        assert_eq!(page.cursor.as_deref(), Some("abc="));
        let [first, second] = page.listing.listed.as_slice() else { panic!("{page:?}") };
        assert_eq!((first.series.as_deref(), second.series.as_deref()), (Some("KXBTC15M"), Some("KXBTC15M")));
        assert_eq!(first.instrument.price_increment.unwrap().to_string(), "0.0010");
        assert_eq!(
            (first.volume.unwrap().to_string(), second.volume.unwrap().to_string()),
            ("12.50".to_owned(), "3".to_owned())
        );
        let bad: Vec<_> = page.listing.bad.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(bad, ["KXODD-1", "9"]);
        assert_eq!(parse_markets(br#"{"markets":[],"cursor":""}"#).unwrap().cursor, None);
        for body in [&b"{}"[..], b"<html>", b"", b"[]"] {
            assert_eq!(parse_markets(body).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn markets_come_before_they_open_and_go_after_they_have_closed() {
        let listing = parse_markets(BODY).unwrap().listing;
        let tradable = |now| as_of(&listing, at(now)).listed.iter().map(|l| l.tradable).collect::<Vec<_>>();
        assert_eq!(tradable("2026-07-19T15:44:54Z"), [true, false]);
        assert_eq!(next_change(&listing, at("2026-07-19T15:44:54Z")), at("2026-07-19T15:44:55Z"));
        assert_eq!(tradable("2026-07-19T15:44:55Z"), [true, true]);
        assert_eq!(next_change(&listing, at("2026-07-19T15:44:55Z")), at("2026-07-19T15:46:00Z"));
        assert_eq!(tradable("2026-07-19T15:46:00Z"), [false, true]);
    }

    #[test]
    fn what_has_just_closed_stays_for_a_while_though_it_is_not_listed_any_more() {
        let before = parse_markets(BODY).unwrap().listing;
        let after = |now| {
            let mut listing = Listing::default();
            keep_what_has_just_closed(&mut listing, &before, at(now));
            listing.listed.into_iter().map(|listed| listed.symbol.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(after("2026-07-19T15:44:59Z"), [""; 0], "what vanishes before its time is gone");
        assert_eq!(after("2026-07-19T15:45:00Z"), ["KXBTC15M-26JUL191145-45"]);
        assert_eq!(after("2026-07-19T15:46:00Z"), [""; 0]);
    }

    #[test]
    fn only_what_is_needed_is_asked() {
        let mut spec = crate::kalshi::tests::spec(&["KXBTC15M-*", "KXETH-26*", "X"]);
        let series =
            |spec: &FeedSpec| Plan::new(spec).series.map(|names| names.into_iter().collect::<Vec<_>>());
        assert_eq!(series(&spec).unwrap(), ["KXBTC15M", "KXETH"]);
        assert_eq!(Plan::new(&spec).states, ["unopened", "open", "paused"]);
        spec.symbols.push("KX*".to_owned());
        assert_eq!(series(&spec), None);
        spec.filters.series = vec!["kxbtcd".to_owned()];
        spec.filters.status = vec!["Active".to_owned(), "settled".to_owned()];
        assert_eq!(series(&spec).unwrap(), ["KXBTCD"]);
        assert_eq!(Plan::new(&spec).states, ["open", "settled"]);
        assert_eq!(encoded("Science & co=/é"), "Science%20%26%20co%3D%2F%C3%A9");
    }
}
