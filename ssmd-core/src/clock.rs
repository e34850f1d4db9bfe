//! Time: UTC nanoseconds with the unit in the type, and the [`Clock`] that is the only place it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{BoxFuture, Error, ErrorKind, Result};

/// A moment in UTC, in nanoseconds since 1970-01-01T00:00:00Z (years 1677 to 2262).
///
/// Venue time and receive time are both `Timestamp`s and are never merged into one field.
/// Serialized as an integer of nanoseconds; printed as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after the epoch, or `None` outside the years this type can hold.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match millis.checked_mul(1_000_000) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The UTC date it falls on.
    pub fn day(self) -> Day {
        Day(self.0.div_euclid(NANOS_PER_DAY) as i32)
    }

    /// The UTC hour of the day, 0 to 23.
    pub fn hour(self) -> u8 {
        (self.0.rem_euclid(NANOS_PER_DAY) / NANOS_PER_HOUR) as u8
    }

    /// The UTC minute of the hour, 0 to 59.
    pub fn minute(self) -> u8 {
        (self.0.rem_euclid(NANOS_PER_HOUR) / NANOS_PER_MINUTE) as u8
    }

    /// Later by `by`, stopping at the end of what the type can hold.
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` it is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_nanos)
    }
}

const NANOS_PER_MINUTE: i64 = 60_000_000_000;
const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MINUTE;
const NANOS_PER_DAY: i64 = 24 * NANOS_PER_HOUR;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0);
        match jiff::Timestamp::from_nanosecond(nanos) {
            Ok(time) => write!(f, "{time:.9}"),
            Err(_) => write!(f, "{nanos}ns"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339 with any offset and up to nine digits of fraction.
    fn from_str(text: &str) -> Result<Self> {
        let time: jiff::Timestamp = text.parse().map_err(|cause| invalid_time(text).because(cause))?;
        i64::try_from(time.as_nanosecond()).map(Self).map_err(|_| invalid_time(text))
    }
}

fn invalid_time(text: &str) -> Error {
    let shown: String = text.chars().take(64).collect();
    Error::new(ErrorKind::Invalid, "read timestamp").with("text", shown)
}

/// A UTC date: the unit of every job. Printed and read as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The day `days` days after 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// The moment at which it begins.
    pub fn start(self) -> Timestamp {
        Timestamp(i64::from(self.0).saturating_mul(NANOS_PER_DAY))
    }

    /// The day after.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    fn date(self) -> Option<Date> {
        let epoch = Date::constant(1970, 1, 1);
        epoch.checked_add(jiff::Span::new().try_days(self.0).ok()?).ok()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.date() {
            Some(date) => write!(f, "{date}"),
            None => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let shown: String = text.chars().take(32).collect();
            Error::new(ErrorKind::Invalid, "read day")
                .with("text", shown)
                .hint("write a UTC date as YYYY-MM-DD")
        };
        if text.len() != "YYYY-MM-DD".len() {
            return Err(invalid());
        }
        let date: Date = text.parse().map_err(|cause| invalid().because(cause))?;
        let days =
            Date::constant(1970, 1, 1).until(date).map_err(|cause| invalid().because(cause))?.get_days();
        Ok(Self(days))
    }
}

impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The only source of time, so that a backtest, a simulation and a test can have a time of their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock in UTC. It may step, forwards and backwards.
    fn now(&self) -> Timestamp;

    /// Monotonic time since a moment that is fixed for this clock. It never goes back.
    fn elapsed(&self) -> Duration;

    /// Waits for `duration` of this clock's monotonic time. Dropping the future cancels the wait.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] counts from now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when it is told to: for backtests, simulations and tests.
///
/// Clones share the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Manual>>);

#[derive(Debug)]
struct Manual {
    now: Timestamp,
    elapsed: Duration,
    /// Sleepers by deadline; the number keeps those of one deadline apart and in order.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    slept: u64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Manual {
            now,
            elapsed: Duration::ZERO,
            sleepers: BTreeMap::new(),
            slept: 0,
        })))
    }

    /// Moves both times forward and wakes every sleeper whose deadline passed, earliest first.
    pub fn advance(&self, by: Duration) {
        let mut manual = self.lock();
        manual.now = manual.now.saturating_add(by);
        manual.elapsed = manual.elapsed.saturating_add(by);
        let after_now = (manual.elapsed + Duration::from_nanos(1), 0);
        let later = manual.sleepers.split_off(&after_now);
        let due = std::mem::replace(&mut manual.sleepers, later);
        drop(manual);
        for sleeper in due.into_values() {
            // A sleeper that was dropped no longer waits.
            let _ = sleeper.send(());
        }
    }

    /// Moves forward to `to`, waking sleepers; does nothing if `to` is not later than now.
    pub fn advance_to(&self, to: Timestamp) {
        let by = to.since(self.now());
        self.advance(by);
    }

    /// Steps the wall clock, as an operator or NTP may; monotonic time and sleepers do not notice.
    pub fn step(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// The monotonic time at which the next sleeper wakes, if anyone sleeps.
    pub fn next_wake(&self) -> Option<Duration> {
        self.lock().sleepers.keys().next().map(|(deadline, _)| *deadline)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Manual> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        if duration.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let mut manual = self.lock();
        let deadline = (manual.elapsed.saturating_add(duration), manual.slept);
        manual.slept += 1;
        manual.sleepers.insert(deadline, wake);
        Box::pin(async move {
            if woken.await.is_err() {
                // The clock is gone, so its time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_what_they_print() {
        for text in ["2026-08-01T02:53:53.646219Z", "1969-12-31T23:59:59.999999999Z", "2026-09-25T17:49:00Z"]
        {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        }
        let time: Timestamp = "2026-08-01T04:53:53.646219+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-08-01T02:53:53.646219000Z");
        assert_eq!((time.hour(), time.minute()), (2, 53));
        for text in ["", "2026-13-01T00:00:00Z", "9999-01-01T00:00:00Z", "yesterday"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn days_are_utc_dates() {
        let day: Day = "2026-08-01".parse().unwrap();
        assert_eq!(day.to_string(), "2026-08-01");
        assert_eq!(day.start().day(), day);
        assert_eq!(Timestamp::from_nanos(day.start().nanos() - 1).day().next(), day);
        assert_eq!(Timestamp::from_nanos(-1).day().to_string(), "1969-12-31");
        for text in ["2026-8-1", "2026-02-30", "2026-08-01T00:00:00Z", ""] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_their_time_has_come() {
        let clock = ManualClock::new(Timestamp::from_nanos(0));
        let (early, late) = (clock.sleep(Duration::from_secs(1)), clock.sleep(Duration::from_secs(2)));
        assert_eq!(clock.next_wake(), Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        early.await;
        clock.step(Timestamp::from_nanos(5));
        assert_eq!(clock.next_wake(), Some(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(1));
        late.await;
        assert_eq!(clock.now(), Timestamp::from_nanos(1_000_000_005));
        assert_eq!(clock.elapsed(), Duration::from_secs(2));
    }
}
