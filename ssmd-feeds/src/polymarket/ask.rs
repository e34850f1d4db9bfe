//! Asks REST what there is: pages of Gamma's listing, single markets by slug and condition, and books one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ssmd_core::environment::{FeedSpec, SymbolFilters};
use ssmd_core::{Clock, Error, ErrorKind, Result, Symbol, Wanted};
use tokio::sync::watch;

use super::universe::{self, Market, Named, Page};
use super::{CLOB, REST};
use crate::http::{Http, HttpOptions};
use crate::listing::{AskListing, Channels, Listing};
use crate::venue::OpenContext;
use crate::ws::{Asides, AskUniverse};

/// Pages of one listing: ten times what the venue has of open markets. More are an error, never a shorter listing.
const PAGES_MAX: usize = 5_000;
/// The venue allows 300 requests for markets in ten seconds.
const SPACING: Duration = Duration::from_millis(50);

/// What asks one venue.
struct Asker {
    gamma: Http,
    clob: Http,
    clock: Arc<dyn Clock>,
    filters: SymbolFilters,
    /// The tokens of markets that were found by their name.
    found: Mutex<BTreeMap<String, Vec<Symbol>>>,
}

fn http(spec: &FeedSpec, context: &OpenContext, address: &str) -> Result<Http> {
    let mut options = HttpOptions::new(spec.rest.as_deref().unwrap_or(address));
    options.allow_plaintext = spec.allow_plaintext;
    options.spacing = SPACING;
    Http::new(options, &context.tls, Arc::clone(&context.clock))
}

impl Asker {
    fn new(spec: &FeedSpec, context: &OpenContext) -> Result<Self> {
        let (gamma, clob) = (http(spec, context, REST)?, http(spec, context, CLOB)?);
        let (clock, filters) = (Arc::clone(&context.clock), spec.filters.clone());
        Ok(Self { gamma, clob, clock, filters, found: Mutex::default() })
    }

    /// All markets, as far as the venue can narrow them down.
    async fn all(&self) -> Result<Page> {
        let (mut all, mut seen) = (Page::default(), BTreeSet::new());
        let now = self.clock.now();
        while seen.len() < PAGES_MAX {
            let path = universe::page_path(&self.filters, now, all.next.as_deref());
            let page = universe::parse_page(&self.gamma.get(&path).await?)?;
            all.markets.extend(page.markets);
            all.bad.extend(page.bad);
            all.next = page.next;
            let Some(next) = &all.next else { return Ok(all) };
            if !seen.insert(next.clone()) {
                return Err(Error::new(ErrorKind::Invalid, "list markets").detail("the pages go in a circle"));
            }
        }
        Err(Error::new(ErrorKind::Full, "list markets").detail("too many pages").with("pages_max", PAGES_MAX))
    }

    /// The tokens of one market. One that is not listed any more has those it had; one that never was stands for itself:
    /// it is no token, so every connection shows it as refused, and everything else is recorded.
    async fn one(&self, text: &str, named: Named) -> Result<Vec<Symbol>> {
        let found = self.look_up(text, named).await;
        let mut known = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok(tokens) => {
                known.insert(text.to_owned(), tokens.clone());
                Ok(tokens)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(feed = "polymarket", symbol = %text, %error, "a market is not listed");
                known.get(text).map_or_else(|| Ok(vec![Symbol::new(text)?]), |tokens| Ok(tokens.clone()))
            }
            Err(error) => Err(error.with("symbol", text)),
        }
    }

    async fn look_up(&self, text: &str, named: Named) -> Result<Vec<Symbol>> {
        let market: Option<Market> = match named {
            Named::Token | Named::Pattern => return Ok(vec![Symbol::new(text)?]),
            Named::Condition => {
                let body = self.clob.get(&universe::condition_path(text)).await;
                Some(universe::parse_clob_market(&body?)?)
            }
            Named::Slug => universe::parse_market(&self.gamma.get(&universe::slug_path(text)).await?)?,
        };
        let tokens = market.map(|market| market.tokens).unwrap_or_default();
        if tokens.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "list market").detail("it has no tokens"));
        }
        Ok(tokens.into_iter().map(|token| token.symbol).collect())
    }
}

/// Asks for everything that can be traded, and for what the filters of `spec` name beside it.
pub(super) fn listing(spec: &FeedSpec, context: &OpenContext) -> Result<AskListing> {
    let asker = Arc::new(Asker::new(spec, context)?);
    Ok(Arc::new(move || {
        let asker = Arc::clone(&asker);
        Box::pin(async move {
            let Page { markets, bad, .. } = asker.all().await?;
            Ok(Listing { listed: markets.into_iter().flat_map(|market| market.tokens).collect(), bad })
        })
    }))
}

/// What a feed wants: its tokens at once, or, where anything else is named, what the venue lists at the time.
pub(super) fn universe(spec: &FeedSpec, context: &OpenContext, channels: Channels) -> Result<AskUniverse> {
    let named = spec.symbols.iter().map(|text| Ok((text.clone(), universe::named(text)?)));
    let (patterns, named): (Vec<_>, Vec<_>) =
        named.collect::<Result<Vec<_>>>()?.into_iter().partition(|(_, named)| *named == Named::Pattern);
    let all = !patterns.is_empty() || !spec.filters.is_empty();
    if !all && named.iter().all(|(_, named)| *named == Named::Token) {
        let tokens = named.iter().map(|(text, _)| Symbol::new(text)).collect::<Result<Vec<_>>>()?;
        let wanted = channels.wanted(&tokens);
        return Ok(Arc::new(move || Box::pin(std::future::ready(Ok(wanted.clone())))));
    }
    let patterns: Vec<_> = patterns.into_iter().map(|(text, _)| text).collect();
    let asked = Arc::new((Asker::new(spec, context)?, channels, patterns, named));
    Ok(Arc::new(move || {
        let asked = Arc::clone(&asked);
        Box::pin(async move {
            let (asker, channels, patterns, named) = &*asked;
            let mut tokens = Vec::new();
            for (text, named) in named {
                tokens.extend(asker.one(text, *named).await?);
            }
            if all {
                tokens.extend(asker.choose(patterns).await?);
            }
            Ok::<Wanted, Error>(channels.wanted(&tokens))
        })
    }))
}

impl Asker {
    async fn choose(&self, patterns: &[String]) -> Result<Vec<Symbol>> {
        let page = self.all().await?;
        for (name, why) in &page.bad {
            tracing::warn!(feed = "polymarket", market = %name, %why, "a listed market was left out");
        }
        universe::select(&page.markets, patterns, &self.filters, self.clock.now())
    }
}

/// What REST says of the books of each connection: of one token after another, round and round.
pub(super) fn books(spec: &FeedSpec, context: &OpenContext, every: Duration) -> Result<Asides> {
    let (http, clock) = (http(spec, context, CLOB)?, Arc::clone(&context.clock));
    Ok(Arc::new(move |wanted| {
        let round = Round { http: http.clone(), clock: Arc::clone(&clock), every, wanted, last: None };
        let next = |mut round: Round| async move {
            let book = round.next().await;
            Some((book, round))
        };
        stream::unfold(round, next).boxed()
    }))
}

struct Round {
    http: Http,
    clock: Arc<dyn Clock>,
    every: Duration,
    wanted: watch::Receiver<Arc<Wanted>>,
    /// Whose book was asked for last.
    last: Option<Symbol>,
}

impl Round {
    async fn next(&mut self) -> Bytes {
        loop {
            self.clock.sleep(self.every).await;
            self.last = self.after();
            let Some(token) = &self.last else { continue };
            match self.http.get(&universe::book_path(token.as_str())).await {
                Ok(body) => return body,
                // What has closed has no book.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::debug!(feed = "polymarket", symbol = %token, "rest has no book");
                }
                Err(error) => {
                    tracing::warn!(feed = "polymarket", symbol = %token, %error, "a book was not compared with rest");
                }
            }
        }
    }

    /// The token whose turn it is.
    fn after(&self) -> Option<Symbol> {
        let wanted = self.wanted.borrow();
        let mut tokens = wanted.0.iter().filter_map(|topic| topic.symbol.as_ref());
        let next = tokens.clone().find(|token| Some(*token) > self.last.as_ref());
        next.or_else(|| tokens.next()).cloned()
    }
}
