//! When an environment runs, and when its market is open.

use super::codes::Code;
use super::problem::{Draft, Log};
use super::schema::WEEKDAYS;
use super::section::Section;
use super::spec::{ScheduleSpec, Window};

const DAY_MINUTES: u16 = 24 * 60;
const WEEK_MINUTES: usize = 7 * DAY_MINUTES as usize;

/// Reads `spec.schedule`.
pub(super) fn read(spec: &Section<'_, '_>, log: &mut Log<'_>) -> Option<ScheduleSpec> {
    let section = spec.section("schedule", log)?;
    section.require("startup", "teardown", log);
    section.require("teardown", "startup", log);
    section.require("days", "startup", log);
    let running = window(&section, ("startup", "teardown"), log);
    let hours = section.section("market_hours", log);
    let market_hours = hours.as_ref().and_then(|hours| window(hours, ("open", "close"), log));
    if let (Some(running), Some(open), Some(hours)) = (running, market_hours, &hours)
        && !running.overlaps(open)
    {
        let message = "nothing runs while the market is open";
        let expected = "hours of which some lie between `startup` and `teardown`";
        log.add(Draft::new(Code::NeverRuns, hours.span(), message).expected(expected));
    }
    let timezone = section.zone("timezone", log).unwrap_or_else(|| "UTC".to_owned());
    Some(ScheduleSpec { timezone, running, market_hours })
}

fn window(section: &Section<'_, '_>, (from, to): (&str, &str), log: &mut Log<'_>) -> Option<Window> {
    let (start, end) = (section.time_of_day(from, log), section.time_of_day(to, log));
    let days = match section.words("days", WEEKDAYS, log) {
        Some(words) => std::array::from_fn(|day| words.contains(&WEEKDAYS[day])),
        None => [true; 7],
    };
    let (start, end) = (start?, end?);
    if start == end {
        let at = section.value(to).map_or_else(|| section.span(), |node| node.span);
        let message = format!(
            "{} and {} are both {start}: nothing lies between",
            section.shown(from),
            section.shown(to)
        );
        log.add(Draft::new(Code::NeverRuns, at, message).expected("two times of day"));
    }
    Some(Window { start, end, days })
}

impl Window {
    /// Whether some minute of the week lies in both.
    fn overlaps(self, other: Self) -> bool {
        let (mine, theirs) = (self.minutes(), other.minutes());
        mine.iter().zip(&theirs).any(|(a, b)| *a && *b)
    }

    /// Every minute of the week, and whether it lies within.
    fn minutes(self) -> Vec<bool> {
        let mut minutes = vec![false; WEEK_MINUTES];
        let length = (self.end.minutes() + DAY_MINUTES - self.start.minutes()) % DAY_MINUTES;
        for day in (0..7).filter(|day| self.days[*day]) {
            let start = day * usize::from(DAY_MINUTES) + usize::from(self.start.minutes());
            for minute in start..start + usize::from(length) {
                minutes[minute % WEEK_MINUTES] = true;
            }
        }
        minutes
    }

    /// The words for its days; empty if it is every day.
    pub(super) fn words(self) -> Vec<&'static str> {
        match self.days {
            days if days == [true; 7] => Vec::new(),
            days => WEEKDAYS.iter().zip(days).filter(|(_, on)| *on).map(|(word, _)| *word).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::TimeOfDay;
    use super::*;

    fn window(start: u16, end: u16, days: [bool; 7]) -> Window {
        Window { start: TimeOfDay(start * 60), end: TimeOfDay(end * 60), days }
    }

    #[test]
    fn windows_overlap_also_over_midnight_and_over_the_week() {
        let every = [true; 7];
        let only = |day: usize| std::array::from_fn(|at| at == day);
        assert!(window(9, 16, every).overlaps(window(15, 20, every)));
        assert!(!window(9, 16, every).overlaps(window(16, 20, every)));
        assert!(window(22, 4, every).overlaps(window(3, 5, every)));
        assert!(window(22, 4, only(6)).overlaps(window(3, 5, only(0))));
        assert!(!window(22, 4, only(5)).overlaps(window(3, 5, only(0))));
    }
}
