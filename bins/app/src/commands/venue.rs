//! Venues as they are: channels, limits, and what they list.

use std::sync::Arc;

use ssmd_core::environment::{Environment, FeedSpec, SymbolFilters};
use ssmd_core::{Clock, Decimal, FeedName, Result, SystemClock};
use ssmd_feeds::listing::{Listed, Listing};
use ssmd_feeds::{Dialer, OpenContext, Subscriptions, VENUES, VenueInfo};

use crate::cli::FeedShow;
use crate::environment;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::status::grouped;

/// Prints every venue.
pub(super) fn print_all(out: &mut Out) -> std::result::Result<(), Stopped> {
    VENUES.iter().try_for_each(|venue| print(venue, out))
}

/// Prints one venue, or what it lists.
pub(super) async fn show(args: &FeedShow) -> Outcome {
    let name: FeedName = args.name.parse()?;
    let venue = ssmd_feeds::venue(&name)?;
    let mut out = Out::new();
    if args.universe {
        let listed = universe(venue, &name, args).await?;
        if args.json {
            out.json(&listed.iter().map(row).collect::<Vec<_>>())?;
        } else {
            print_listed(&listed, &mut out)?;
        }
    } else if args.json {
        out.json(&describe(venue))?;
    } else {
        print(venue, &mut out)?;
        out.line(format_args!("  documented at {}", venue.docs))?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// What the venue lists now, as far as it is asked for; by name.
async fn universe(
    venue: &'static VenueInfo,
    name: &FeedName,
    args: &FeedShow,
) -> std::result::Result<Vec<Listed>, Stopped> {
    let spec = spec(venue, name, args)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let tls = ssmd_feeds::tls::client_config(None)?;
    let context = OpenContext {
        dial: Arc::new(Dialer::new(Arc::clone(&tls), spec.allow_plaintext)),
        tls,
        clock: Arc::clone(&clock),
        subscriptions: Subscriptions::default(),
    };
    let Listing { mut listed, bad } = (venue.listing)(&spec, &context)?().await?;
    for (row, why) in bad {
        eprintln!("warning: what is listed as {row} was left out: {why}");
    }
    if !args.all {
        listed.retain(|listed| listed.tradable);
    }
    if !args.symbols.is_empty() {
        let every = Listing { listed: listed.clone(), bad: Vec::new() };
        let meant = every.select(&args.symbols, &SymbolFilters::default(), clock.now())?;
        listed.retain(|listed| meant.binary_search(&listed.symbol).is_ok());
    }
    listed.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    Ok(listed)
}

/// The feed as the document has it, or as it is without one.
fn spec(venue: &VenueInfo, name: &FeedName, args: &FeedShow) -> std::result::Result<FeedSpec, Stopped> {
    let declared = match &args.config {
        Some(word) => {
            environment::resolve(Some(word))?.1.environment.feeds.into_iter().find(|feed| feed.name == *name)
        }
        None => None,
    };
    let builtin = || -> Result<Option<FeedSpec>> {
        Ok(Environment::builtin(&venue.words)?.feeds.into_iter().find(|feed| feed.name == *name))
    };
    let spec = match declared {
        Some(spec) => Some(spec),
        None => builtin()?,
    };
    let mut spec = spec.ok_or_else(|| {
        ssmd_core::Error::new(ssmd_core::ErrorKind::Bug, "show feed").detail("the built-in document lacks it")
    })?;
    if args.rest.is_some() {
        spec.rest.clone_from(&args.rest);
    }
    Ok(spec)
}

fn print(venue: &VenueInfo, out: &mut Out) -> std::result::Result<(), Stopped> {
    let key = match venue.words.keys {
        [] => "needs no key".to_owned(),
        keys => format!("needs {}", keys.join(" and ")),
    };
    out.line(format_args!("{}: {} ({key})", venue.words.name, venue.summary))?;
    out.line(format_args!("  {}  {}", venue.url, venue.rest.unwrap_or("")))?;
    for channel in venue.words.channels {
        let options = match venue.words.options(channel).as_slice() {
            [] => String::new(),
            options => format!(" [:{}]", options.join("|")),
        };
        out.line(format_args!("  {:<19} {}{options}", channel.name, channel.summary))?;
    }
    let limits = &venue.limits;
    let age = limits.session_age.map_or(String::new(), |age| format!(" of at most {} s", age.as_secs()));
    out.line(format_args!(
        "  limits: {} topics on a connection, {} connections{age}, {} connects in {} s",
        grouped(limits.topics_per_session.get() as u64),
        grouped(limits.sessions.get() as u64),
        limits.connects,
        limits.connects_window.as_secs(),
    ))
}

/// A venue, for programs.
pub(super) fn describe(venue: &VenueInfo) -> serde_json::Value {
    let channels: Vec<_> = venue
        .words
        .channels
        .iter()
        .map(|channel| {
            serde_json::json!({
                "name": channel.name,
                "summary": channel.summary,
                "options": venue.words.options(channel),
                "default_option": channel.default_option,
            })
        })
        .collect();
    serde_json::json!({
        "name": venue.words.name,
        "summary": venue.summary,
        "url": venue.url,
        "rest": venue.rest,
        "needs_key": !venue.words.keys.is_empty(),
        "keys": venue.words.keys,
        "docs": venue.docs,
        "channels": channels,
        "limits": {
            "topics_per_session": venue.limits.topics_per_session,
            "sessions": venue.limits.sessions,
            "session_age_seconds": venue.limits.session_age.map(|age| age.as_secs()),
            "connects": venue.limits.connects,
            "connects_window_seconds": venue.limits.connects_window.as_secs(),
        },
    })
}

fn print_listed(listed: &[Listed], out: &mut Out) -> std::result::Result<(), Stopped> {
    let width = listed.iter().map(|listed| listed.symbol.as_str().chars().count()).max().unwrap_or(0);
    for one in listed {
        let instrument = &one.instrument;
        let pair = match (&instrument.base, &instrument.quote) {
            (Some(base), Some(quote)) => format!("{base}/{quote}"),
            _ => String::new(),
        };
        let step = |name: &str, step: Option<Decimal>| step.map(|step| format!("{name} step {step}"));
        let parts = [
            (!one.tradable).then(|| "not tradable".to_owned()),
            instrument.status.clone(),
            (!pair.is_empty()).then_some(pair),
            step("price", instrument.price_increment),
            step("size", instrument.size_increment),
            one.category.clone(),
            one.series.clone(),
            one.closes.map(|closes| format!("closes {closes}")),
            one.title.clone(),
        ];
        let shown: Vec<_> = parts.into_iter().flatten().collect();
        out.line(format!("{:<width$}  {}", one.symbol.as_str(), shown.join(", ")).trim_end())?;
    }
    if listed.is_empty() {
        out.line("nothing is listed")?;
    }
    Ok(())
}

/// The same as JSON; what the venue does not say is null.
fn row(listed: &Listed) -> serde_json::Value {
    serde_json::json!({
        "symbol": listed.symbol,
        "tradable": listed.tradable,
        "title": listed.title,
        "category": listed.category,
        "series": listed.series,
        "opens": listed.opens,
        "closes": listed.closes,
        "volume": listed.volume,
        "instrument": listed.instrument,
    })
}
