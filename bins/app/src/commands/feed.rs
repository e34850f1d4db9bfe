//! `ssmd feed list`.

use ssmd_feeds::{VENUES, VenueInfo};

use crate::exit::Exit;
use crate::output::{Out, Outcome};

/// Prints the venues, their channels and their limits.
pub(super) fn list(json: bool) -> Outcome {
    let mut out = Out::new();
    if json {
        out.json(&VENUES.iter().copied().map(describe).collect::<Vec<_>>())?;
    } else {
        for venue in VENUES {
            let key = if venue.words.keys.is_empty() { "needs no key" } else { "needs a key" };
            out.line(format_args!("{}: {} ({key})", venue.words.name, venue.summary))?;
            out.line(format_args!("  {}  {}", venue.url, venue.rest.unwrap_or("")))?;
            for channel in venue.words.channels {
                let options = match venue.words.options(channel).as_slice() {
                    [] => String::new(),
                    options => format!(" [:{}]", options.join("|")),
                };
                out.line(format_args!("  {:<11} {}{options}", channel.name, channel.summary))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn describe(venue: &VenueInfo) -> serde_json::Value {
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
        "docs": venue.docs,
        "channels": channels,
        "limits": {
            "topics_per_session": venue.limits.topics_per_session,
            "connects": venue.limits.connects,
            "connects_window_seconds": venue.limits.connects_window.as_secs(),
        },
    })
}
