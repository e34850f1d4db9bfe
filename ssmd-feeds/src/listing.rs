//! What a venue lists, and which of it a document means: the same for every venue.
//!
//! Owns the way from names, patterns and filters to [`Wanted`]. It knows no venue: each one reads its own listing into
//! a [`Listing`] and says which of its channels are of symbols.

use std::collections::BTreeMap;
use std::sync::Arc;

use ssmd_core::environment::{FeedSpec, SymbolDepth, SymbolFilters};
use ssmd_core::record::Instrument;
use ssmd_core::{
    BoxFuture, Channel, Clock, Decimal, Error, ErrorKind, Result, Symbol, Timestamp, Topic, Wanted,
};

use crate::http::{Http, HttpOptions};
use crate::pattern::{is_pattern, matches};
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::AskUniverse;

/// One thing that a venue lists. What is `None` the venue does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name, as messages about it have it.
    pub symbol: Symbol,
    /// What people call it.
    pub title: Option<String>,
    /// Whether orders can be placed on it, of whatever kind.
    pub tradable: bool,
    /// The venue's word for what it is about: `Economics`.
    pub category: Option<String>,
    /// The venue's name of the series it belongs to: `KXBTCD`.
    pub series: Option<String>,
    /// When trading begins.
    pub opens: Option<Timestamp>,
    /// When trading ends.
    pub closes: Option<Timestamp>,
    /// What was traded, in the venue's unit.
    pub volume: Option<Decimal>,
    /// What it is.
    pub instrument: Instrument,
}

impl Listed {
    /// One of which no more than its name is known.
    pub fn new(symbol: Symbol, tradable: bool, instrument: Instrument) -> Self {
        let (title, category, series) = (None, None, None);
        let (opens, closes, volume) = (None, None, None);
        Self { symbol, title, tradable, category, series, opens, closes, volume, instrument }
    }

    /// Whether it is meant by all of `filters`; without a filter on the status, by what can be traded.
    fn fits(&self, filters: &SymbolFilters, now: Timestamp) -> bool {
        let one_of = |words: &[String], word: Option<&String>| {
            words.is_empty()
                || word.is_some_and(|word| words.iter().any(|one| one.eq_ignore_ascii_case(word)))
        };
        let closes_soon =
            |within| self.closes.is_some_and(|closes| closes >= now && closes.since(now) <= within);
        (!filters.status.is_empty() || self.tradable)
            && one_of(&filters.status, self.instrument.status.as_ref())
            && one_of(&filters.category, self.category.as_ref())
            && one_of(&filters.series, self.series.as_ref())
            && filters.close_within.is_none_or(closes_soon)
            && filters.volume_min.is_none_or(|least| self.volume.is_some_and(|volume| volume >= least))
    }
}

/// All that a venue lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// What could be read.
    pub listed: Vec<Listed>,
    /// Rows that could not be read: their name, as far as there is one, and why. They are no reason to lose the others.
    pub bad: Vec<(String, String)>,
}

impl Listing {
    /// The symbols that are meant: names as they are written, whatever is listed; and all that is listed, fits the
    /// filters and matches a pattern, in which `*` stands for any text. Filters without a pattern mean `*`. Sorted,
    /// each one once.
    ///
    /// # Errors
    /// `Invalid` for a text that can be no symbol.
    pub fn select(&self, symbols: &[String], filters: &SymbolFilters, now: Timestamp) -> Result<Vec<Symbol>> {
        let (patterns, names): (Vec<_>, Vec<_>) = symbols.iter().partition(|text| is_pattern(text));
        let everything = patterns.is_empty() && !filters.is_empty();
        let mut meant = names.into_iter().map(|name| Symbol::new(name)).collect::<Result<Vec<_>>>()?;
        let fitting = self.listed.iter().filter(|listed| {
            let name = listed.symbol.as_str();
            (everything || patterns.iter().any(|pattern| matches(pattern, name))) && listed.fits(filters, now)
        });
        meant.extend(fitting.map(|listed| listed.symbol.clone()));
        meant.sort();
        meant.dedup();
        Ok(meant)
    }
}

/// Asks a venue what it lists.
pub type AskListing = Arc<dyn Fn() -> BoxFuture<'static, Result<Listing>> + Send + Sync>;

/// The channels of a feed.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    of_symbols: Vec<Channel>,
    of_venue: Vec<Channel>,
    /// Channels of those symbols of which more or less of the book is wanted.
    of_some: BTreeMap<Symbol, Vec<Channel>>,
}

/// What a channel is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Each of its topics has a symbol.
    Symbols,
    /// It is one topic, of the whole venue.
    Venue,
    /// It is no topic: the venue sends it by itself.
    Nothing,
}

impl Channels {
    /// The channels of `spec`, as `about` tells them apart; `example` shows what a symbol looks like.
    ///
    /// # Errors
    /// What `about` refuses; `Invalid` if there is a channel of symbols and nothing names one, or for a symbol without
    /// a book where nothing else is left.
    pub(crate) fn new(
        spec: &FeedSpec,
        example: &str,
        about: impl Fn(&Channel) -> Result<About>,
    ) -> Result<Self> {
        let mut channels = Self { of_symbols: Vec::new(), of_venue: Vec::new(), of_some: BTreeMap::new() };
        for channel in &spec.channels {
            match about(channel)? {
                About::Symbols => channels.of_symbols.push(channel.clone()),
                About::Venue => channels.of_venue.push(channel.clone()),
                About::Nothing => {}
            }
        }
        let none = spec.symbols.is_empty() && spec.filters.is_empty();
        if !channels.of_symbols.is_empty() && none {
            return Err(Error::new(ErrorKind::Invalid, "open feed")
                .detail("no symbols")
                .with("feed", &spec.name)
                .hint(format!("name symbols such as {example}, or `*` for all")));
        }
        let book = crate::vocabulary().feed(spec.name.as_str()).and_then(|words| words.book);
        for (symbol, detail) in &spec.details {
            let Some(depth) = detail.depth else { continue };
            let of_symbol = deep(&channels.of_symbols, book, depth)
                .map_err(|error| error.with("feed", &spec.name).with("symbol", symbol))?;
            if of_symbol != channels.of_symbols {
                channels.of_some.insert(Symbol::new(symbol)?, of_symbol);
            }
        }
        Ok(channels)
    }

    /// Every channel of symbols for each of `symbols`, and those of the venue.
    pub(crate) fn wanted(&self, symbols: &[Symbol]) -> Wanted {
        let (special, usual): (Vec<_>, Vec<_>) =
            symbols.iter().cloned().partition(|symbol| self.of_some.contains_key(symbol));
        let mut wanted = Wanted::product(&self.of_symbols, &usual);
        for symbol in special {
            let channels = self.of_some.get(&symbol).map_or(&[][..], Vec::as_slice);
            wanted.0.extend(Wanted::product(channels, &[symbol]).0);
        }
        let of_venue = self.of_venue.iter().map(|channel| Topic { channel: channel.clone(), symbol: None });
        wanted.0.extend(of_venue);
        wanted
    }
}

/// The channels of a symbol of which so much of the book is wanted. Where no channel is the book alone, it comes with
/// another one: then it can be had, and not left out.
fn deep(channels: &[Channel], book: Option<&str>, depth: SymbolDepth) -> Result<Vec<Channel>> {
    let is_book = |channel: &&Channel| Some(channel.name.as_ref()) == book;
    let mut without: Vec<_> = channels.iter().filter(|channel| !is_book(channel)).cloned().collect();
    match (depth, book) {
        (SymbolDepth::L1, None) => Err(Error::new(ErrorKind::Invalid, "open feed")
            .detail("the venue tells books together with everything else, so `l1` cannot be had")),
        (SymbolDepth::L1, Some(_)) if without.is_empty() => Err(Error::new(ErrorKind::Invalid, "open feed")
            .detail("the book is the only channel, so `l1` leaves nothing")
            .hint("add a channel of best prices, or leave the symbol out")),
        (SymbolDepth::L1, Some(_)) => Ok(without),
        (SymbolDepth::Levels(levels), Some(book)) => {
            without.push(format!("{book}:{levels}").parse()?);
            Ok(without)
        }
        (SymbolDepth::L2, Some(book)) if !channels.iter().any(|channel| is_book(&channel)) => {
            without.push(book.parse()?);
            Ok(without)
        }
        _ => Ok(channels.to_vec()),
    }
}

/// What a feed wants: its names at once, or, where a pattern or a filter stands among them, what the venue lists at
/// the time.
///
/// # Errors
/// `Invalid` for a text that can be no symbol, and what the venue's [`VenueInfo::listing`] refuses.
pub(crate) fn universe(
    venue: &'static VenueInfo,
    spec: &FeedSpec,
    context: &OpenContext,
    channels: Channels,
) -> Result<AskUniverse> {
    let named = Listing::default().select(&spec.symbols, &spec.filters, Timestamp::from_nanos(0))?;
    if spec.filters.is_empty() && !spec.symbols.iter().any(|text| is_pattern(text)) {
        let wanted = channels.wanted(&named);
        return Ok(Arc::new(move || Box::pin(std::future::ready(Ok(wanted.clone())))));
    }
    let ask = (venue.listing)(spec, context)?;
    let asker = Arc::new(Asker {
        venue: venue.words.name,
        channels,
        symbols: spec.symbols.clone(),
        filters: spec.filters.clone(),
        clock: Arc::clone(&context.clock),
    });
    Ok(Arc::new(move || {
        let (asker, listing) = (Arc::clone(&asker), ask());
        Box::pin(async move { asker.choose(&listing.await?) })
    }))
}

struct Asker {
    venue: &'static str,
    channels: Channels,
    symbols: Vec<String>,
    filters: SymbolFilters,
    clock: Arc<dyn Clock>,
}

impl Asker {
    fn choose(&self, listing: &Listing) -> Result<Wanted> {
        for (name, why) in &listing.bad {
            tracing::warn!(feed = self.venue, symbol = %name, %why, "what is listed so was left out");
        }
        Ok(self.channels.wanted(&listing.select(&self.symbols, &self.filters, self.clock.now())?))
    }
}

/// The client that asks a venue's REST address as `spec` has it.
///
/// # Errors
/// `Invalid` for an address that cannot be.
pub(crate) fn http(spec: &FeedSpec, context: &OpenContext, address: &str) -> Result<Http> {
    let mut options = HttpOptions::new(spec.rest.as_deref().unwrap_or(address));
    options.allow_plaintext = spec.allow_plaintext;
    Http::new(options, &context.tls, Arc::clone(&context.clock))
}

/// Asks for a listing that is one answer, the body of `path`.
pub(crate) fn one_answer(http: Http, path: &'static str, read: fn(&[u8]) -> Result<Listing>) -> AskListing {
    Arc::new(move || {
        let http = http.clone();
        Box::pin(async move { read(&http.get(path).await?) })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn listing() -> Listing {
        let listed = |name: &str, tradable, category: &str, closes: i64, volume: &str| Listed {
            category: Some(category.to_owned()),
            series: name.split('-').next().map(str::to_owned),
            closes: Some(Timestamp::from_nanos(closes)),
            volume: volume.parse().ok(),
            ..Listed::new(
                Symbol::new(name).unwrap(),
                tradable,
                Instrument {
                    status: Some(if tradable { "open" } else { "closed" }.to_owned()),
                    ..Instrument::default()
                },
            )
        };
        Listing {
            listed: vec![
                listed("A-1", true, "Economics", 1_000, "10"),
                listed("A-2", false, "Economics", 500, "20"),
                listed("B-1", true, "Weather", 3_000, "0.5"),
            ],
            bad: Vec::new(),
        }
    }

    fn names(symbols: &[&str], filters: &SymbolFilters) -> Vec<String> {
        let symbols: Vec<_> = symbols.iter().map(|text| (*text).to_owned()).collect();
        let meant = listing().select(&symbols, filters, Timestamp::from_nanos(600)).unwrap();
        meant.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn patterns_mean_what_can_be_traded_and_names_mean_themselves() {
        let none = SymbolFilters::default();
        assert_eq!(names(&["*"], &none), ["A-1", "B-1"]);
        assert_eq!(names(&["A*", "A-2", "C", "A-1"], &none), ["A-1", "A-2", "C"]);
        assert_eq!(names(&["C*"], &none), [""; 0]);
        assert_eq!(names(&[], &none), [""; 0]);
        assert!(listing().select(&[String::new()], &none, Timestamp::from_nanos(0)).is_err());
    }

    #[test]
    fn symbols_have_as_much_of_the_book_as_is_said_of_them() {
        let spec = |channels: &str, symbols: &str, feed: &str| {
            let text = format!(
                "{{ apiVersion: ssmd/v1, kind: Environment, metadata: {{ name: dev }}, spec: {{ feeds: {{ {feed}: {{
                   channels: {channels}, symbols: {symbols} }} }} }} }}"
            );
            let environment = ssmd_core::environment::Environment::parse(
                text.as_bytes(),
                "test.yaml",
                &crate::vocabulary(),
            );
            environment.unwrap_or_else(|problems| panic!("{problems}")).feeds.remove(0)
        };
        let wanted = |channels: &str, symbols: &str, feed: &str| {
            let spec = spec(channels, symbols, feed);
            let names: Vec<_> = spec.symbols.iter().map(|name| Symbol::new(name).unwrap()).collect();
            let channels = Channels::new(&spec, "X", |_| Ok(About::Symbols))?;
            Ok::<_, Error>(channels.wanted(&names).0.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let symbols =
            "[A/USD, { name: B/USD, depth: l1 }, { name: C/USD, depth: 100 }, { name: D/USD, depth: l2 },
                        { name: E/USD, internal: E }]";
        assert_eq!(
            wanted("[trade, \"book:25\"]", symbols, "kraken").unwrap(),
            [
                "book:25 A/USD",
                "book:25 D/USD",
                "book:25 E/USD",
                "book:100 C/USD",
                "trade A/USD",
                "trade B/USD",
                "trade C/USD",
                "trade D/USD",
                "trade E/USD"
            ]
            .into_iter()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
        );
        assert_eq!(
            wanted("[trade]", "[{ name: PF_X, depth: l2 }, PF_Y]", "kraken-futures").unwrap(),
            ["book PF_X", "trade PF_X", "trade PF_Y"]
        );
        assert_eq!(
            wanted("[trade, orderbook_delta]", "[{ name: K, depth: l1 }]", "kalshi").unwrap(),
            ["trade K"]
        );
        let refused = |channels: &str, feed: &str| {
            wanted(channels, "[{ name: X, depth: l1 }]", feed).unwrap_err().report()
        };
        assert!(refused("[book]", "kraken").contains("leaves nothing"));
        assert!(refused("[market]", "polymarket").contains("cannot be had"));
    }

    #[test]
    fn filters_hold_all_at_once_and_only_for_what_is_not_named() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let economics = SymbolFilters { category: words(&["economics"]), ..SymbolFilters::default() };
        assert_eq!(names(&[], &economics), ["A-1"]);
        assert_eq!(names(&["B-1"], &economics), ["A-1", "B-1"]);
        assert_eq!(names(&["B*"], &economics), [""; 0]);
        let closed = SymbolFilters { status: words(&["closed", "open"]), series: words(&["A"]), ..economics };
        assert_eq!(names(&["*"], &closed), ["A-1", "A-2"]);
        let soon =
            SymbolFilters { close_within: Some(Duration::from_nanos(400)), ..SymbolFilters::default() };
        assert_eq!(names(&[], &soon), ["A-1"]);
        let soon = SymbolFilters { status: words(&["closed"]), ..soon };
        assert_eq!(names(&[], &soon), [""; 0], "what has closed closes no more");
        let traded = SymbolFilters { volume_min: "0.51".parse().ok(), ..SymbolFilters::default() };
        assert_eq!(names(&[], &traded), ["A-1"]);
    }
}
