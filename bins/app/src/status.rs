//! How a running recorder is doing: what the control socket answers, the live view draws and the summary prints.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use ssmd_core::{BookAudit, FeedName, Result, Timestamp};
use ssmd_feeds::capture::ShareFigures;
use ssmd_transport::log;

use crate::folder::Folder;
use crate::reload::VersionStatus;

/// One process. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `up`, `connector` or `archiver`; `none` for what files tell where nothing runs.
    pub role: String,
    /// The version of ssmd.
    pub version: String,
    /// The environment's name.
    pub environment: String,
    /// The version of the environment that runs; null for an archiver, which runs that of the recorder beside it.
    #[serde(default)]
    pub environment_version: Option<VersionStatus>,
    /// The document that it was started with, and reads again; null without one.
    #[serde(default)]
    pub document: Option<String>,
    /// Why the document as it is now is not what runs.
    #[serde(default)]
    pub document_refused: Option<String>,
    /// Whether it does all that it should.
    #[serde(default)]
    pub healthy: bool,
    /// If it does not, why.
    #[serde(default)]
    pub problems: Vec<String>,
    /// When it started, ns since the epoch.
    pub started: Timestamp,
    /// Seconds since then.
    pub seconds: f64,
    /// Whether it is draining, and will end when it has.
    #[serde(default)]
    pub stopping: bool,
    /// Where it serves /health and /metrics.
    pub listen: Option<String>,
    /// The archive.
    pub store: String,
    /// Each feed.
    pub feeds: Vec<FeedStatus>,
}

/// One feed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Its name.
    pub feed: String,
    /// Connections that are open now.
    pub sessions: u64,
    /// The shares that its symbols are split into, in the order of the document; one where none are declared, and
    /// none before the venue has said what there is.
    #[serde(default)]
    pub shards: Vec<ShardStatus>,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// Frames received since the start.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames received in the last second.
    pub frames_per_second: f64,
    /// Known holes since the start.
    pub gaps: u64,
    /// Those of them that were found today, UTC.
    #[serde(default)]
    pub gaps_today: u64,
    /// Frames that a full log did not take; each stretch is a gap.
    pub overflowed: u64,
    /// Topics that are wanted; null while the venue has not said what is meant.
    #[serde(default)]
    pub subscriptions_wanted: Option<u64>,
    /// Why the venue did not say what there is when it was asked last; null if it did.
    #[serde(default)]
    pub listing_error: Option<String>,
    /// Topics that are wanted and not confirmed by the venue.
    pub subscriptions_missing: u64,
    /// What the venue refused, with its words.
    pub refused: Vec<String>,
    /// Records decoded since the start.
    pub records: u64,
    /// Frames of an unknown type.
    pub unknown: u64,
    /// Frames that are not of the documented form.
    pub malformed: u64,
    /// Seconds since one of these came last; null if none has.
    #[serde(default)]
    pub undecoded_seconds: Option<f64>,
    /// Why it is not recorded, or not decoded, any more; null while it is.
    #[serde(default)]
    pub failed: Option<String>,
    /// Book updates whose integrity check passed.
    pub books_verified: u64,
    /// Book updates whose integrity check failed.
    pub books_failed: u64,
    /// The last number that is durable in the log.
    pub durable: u64,
    /// The last number that a commit covers.
    pub archived: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Seconds from the receipt of the last frame to its being durable.
    pub lag_seconds: f64,
    /// Seconds from the venue's time of frames to their receipt, by both clocks: of the connection where that is
    /// most, the median of the last second in which data came. `None` before the first.
    #[serde(default)]
    pub receive_lag_seconds: Option<f64>,
    /// Age in seconds of the oldest durable entry that no commit covers.
    #[serde(default)]
    pub archive_lag_seconds: f64,
    /// Durable entries that the shared journal does not have yet; null without one.
    #[serde(default)]
    pub relay_behind: Option<u64>,
    /// Age in seconds of the oldest of them.
    #[serde(default)]
    pub relay_lag_seconds: Option<f64>,
    /// Latest values that are not in the cache yet; null without one.
    #[serde(default)]
    pub cache_behind: Option<u64>,
    /// Objects written to the archive since the start.
    pub objects: u64,
    /// Bytes written to the archive since the start, compressed.
    pub archived_bytes: u64,
    /// Commits made since the start.
    pub commits: u64,
}

/// One share of a feed's symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// The part of its subjects behind the feed's name; null without one.
    pub category: Option<String>,
    /// Its connections that are open now.
    pub sessions: u64,
    /// Those that should be: one for each that hears the same, more where the venue's limits ask for them.
    pub sessions_wanted: u64,
    /// Its symbols.
    pub symbols: u64,
}

impl From<ShareFigures> for ShardStatus {
    fn from(figures: ShareFigures) -> Self {
        let ShareFigures { category, sessions, sessions_wanted, symbols } = figures;
        Self { category, sessions, sessions_wanted, symbols }
    }
}

/// One book of a feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedBook {
    /// The feed's name.
    pub feed: String,
    /// What became of it.
    #[serde(flatten)]
    pub book: BookAudit,
}
/// A recorder whose disk is slower than this cannot keep up.
const LAG_SECONDS_MAX: f64 = 5.0;
/// So long after a frame that was not understood somebody should look at what the venue says.
const UNDECODED_SECONDS_MAX: f64 = 10.0 * 60.0;
/// A shared journal that is further behind is away, or too slow; the log keeps all.
const RELAY_LAG_SECONDS_MAX: f64 = 60.0;
/// An archive that is further behind than this does not do its work; a segment is sealed long before.
const ARCHIVE_LAG_SECONDS_MAX: f64 = 15.0 * 60.0;

impl FeedStatus {
    /// A feed of which nothing is known.
    pub(crate) fn named(feed: &FeedName) -> Self {
        Self { feed: feed.to_string(), ..Self::default() }
    }

    /// What the files of a log tell, while another process writes it or nobody.
    ///
    /// # Errors
    /// As for [`log::inspect`].
    pub(crate) fn of_log(folder: &Folder, feed: &FeedName) -> Result<Self> {
        let inspection = log::inspect(&folder.log(feed))?;
        Ok(Self {
            durable: inspection.durable,
            archived: inspection.covered,
            log_bytes: inspection.bytes,
            ..Self::named(feed)
        })
    }

    /// What a process of this role does not do for the feed that it should.
    fn problems(&self, role: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut problem = |is: bool, what: String| {
            if is {
                problems.push(format!("{}: {what}", self.feed));
            }
        };
        if !matches!(role, "archiver" | "cache") {
            problem(self.sessions == 0, "no connection".to_owned());
            for (at, shard) in self.shards.iter().enumerate().filter(|_| self.sessions > 0) {
                let none = shard.sessions == 0 && shard.sessions_wanted > 0;
                problem(none, format!("no connection of share {}", at + 1));
            }
            if let Some(failed) = &self.failed {
                problem(true, failed.clone());
            }
            let unknown = self.subscriptions_wanted.is_none();
            let listing = match &self.listing_error {
                Some(error) if unknown => format!("the venue has not said what there is: {error}"),
                Some(error) => format!("what there is is as it was known before: {error}"),
                None => "the venue has not said what there is".to_owned(),
            };
            problem(unknown || self.listing_error.is_some(), listing);
            let undecoded = self.undecoded_seconds.filter(|seconds| *seconds <= UNDECODED_SECONDS_MAX);
            if let Some(seconds) = undecoded {
                let frames = plural(self.unknown + self.malformed, "frame");
                problem(
                    true,
                    format!("{frames} in a form that is not known, kept raw, the last {seconds:.0} s ago"),
                );
            }
            let refused = self.refused.len() as u64;
            let missing = self.subscriptions_missing.saturating_sub(refused);
            problem(missing > 0, format!("{} not confirmed", plural(missing, "subscription")));
            problem(refused > 0, format!("{} refused by the venue", plural(refused, "subscription")));
            let lag = self.lag_seconds;
            problem(lag > LAG_SECONDS_MAX, format!("frames are durable only {lag:.0} s after their receipt"));
            let lag = self.relay_lag_seconds.unwrap_or(0.0);
            problem(lag > RELAY_LAG_SECONDS_MAX, format!("the shared journal is {lag:.0} s behind"));
        }
        if !matches!(role, "connector" | "cache") {
            let lag = self.archive_lag_seconds;
            problem(lag > ARCHIVE_LAG_SECONDS_MAX, format!("the archive is {lag:.0} s behind"));
        }
        problems
    }

    /// Whether everything that is durable is archived.
    pub fn is_archived(&self) -> bool {
        self.archived >= self.durable
    }

    /// What a process of this role does with the feed, for people: what it heard, how good that is, what it archived.
    pub fn lines(&self, role: &str) -> Vec<String> {
        let mut lines = Vec::new();
        if role == "cache" {
            let behind = grouped(self.cache_behind.unwrap_or_default());
            return vec![format!(
                "{} records, {behind} latest values not in the cache yet",
                grouped(self.records)
            )];
        }
        if !matches!(role, "archiver" | "none") {
            lines.push(format!(
                "{} frames ({}), {:.0}/s, lag {:.1} ms, log {}",
                grouped(self.frames),
                bytes(self.bytes),
                self.frames_per_second,
                self.lag_seconds * 1000.0,
                bytes(self.log_bytes),
            ));
            lines.push(self.quality());
            lines.extend(self.shares());
        }
        if role != "connector" {
            let (archived, durable) = (grouped(self.archived), grouped(self.durable));
            let mut line = format!("archived {archived} of {durable} entries");
            if role != "none" {
                // Writing to a `String` cannot fail.
                let _ = write!(line, " in {}", plural(self.commits, "commit"));
            }
            lines.push(line);
        }
        lines
    }

    /// How each share is doing, where there are several.
    fn shares(&self) -> Vec<String> {
        let line = |(at, shard): (usize, &ShardStatus)| {
            let ShardStatus { category, sessions, sessions_wanted, symbols } = shard;
            let name = category.as_ref().map_or_else(String::new, |category| format!(" ({category})"));
            let symbols = plural(*symbols, "symbol");
            let connections = match sessions_wanted {
                0 => String::new(),
                wanted => format!(", {sessions} of {}", plural(*wanted, "connection")),
            };
            format!("share {}{name}: {symbols}{connections}", at + 1)
        };
        let several = self.shards.len() > 1;
        self.shards.iter().enumerate().filter(|_| several).map(line).collect()
    }

    fn quality(&self) -> String {
        let mut line = format!(
            "{} books verified, {} failed, {} ({} today)",
            grouped(self.books_verified),
            grouped(self.books_failed),
            plural(self.gaps, "gap"),
            grouped(self.gaps_today),
        );
        if self.reconnects > 0 {
            line = line + ", " + &plural(self.reconnects, "reconnect");
        }
        for (count, what) in [
            (self.overflowed, "frames not kept"),
            (self.unknown, "unknown"),
            (self.malformed, "malformed"),
            (self.subscriptions_missing, "subscriptions missing"),
        ] {
            if count > 0 {
                // Writing to a `String` cannot fail.
                let _ = write!(line, ", {} {what}", grouped(count));
            }
        }
        if let (Some(behind), Some(lag)) = (self.relay_behind, self.relay_lag_seconds) {
            // Writing to a `String` cannot fail.
            let _ = write!(line, ", shared journal {} entries ({lag:.0} s) behind", grouped(behind));
        }
        line
    }
}

impl Status {
    /// Says whether everything is as it should be. What is stopping has other duties.
    pub(crate) fn judge(&mut self) {
        self.problems.clear();
        if !self.stopping {
            self.problems.extend(self.feeds.iter().flat_map(|feed| feed.problems(&self.role)));
        }
        if self.document_refused.is_some() {
            self.problems.push("the document as it is now is not what runs".to_owned());
        }
        self.healthy = self.problems.is_empty();
    }

    /// How long it has run, as hours, minutes and seconds.
    pub fn uptime(&self) -> String {
        let seconds = self.seconds as u64;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

/// `1 commit`, `2 commits`.
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes, for people.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_234_567), "1.2 MB");
    }
}
