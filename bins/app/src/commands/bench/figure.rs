//! One measured figure beside its limit, for people and for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

use super::ground::Ground;

/// Everything that one run measured. `docs/benchmarks.md` describes the fields; they are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    cores: usize,
    /// Tasks that wanted a core in the minute before, of this machine.
    load: f64,
    folder: String,
    filesystem: String,
    soak: bool,
    /// What was measured.
    pub(super) figures: Vec<Figure>,
}

impl Report {
    /// Nothing measured yet.
    pub(super) fn new(ground: &Ground) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: ground.load(),
            folder: ground.folder().display().to_string(),
            filesystem: ground.filesystem().to_owned(),
            soak: ground.soak(),
            figures: Vec::new(),
        }
    }

    /// Where it was measured, in a line.
    pub(super) fn head(&self) -> String {
        let Self { version, cores, load, folder, filesystem, .. } = self;
        format!("ssmd {version}, {cores} cores with a load of {load:.2}, {folder} on {filesystem}")
    }
}

/// On which side of its limit a figure must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bound {
    /// No more than the limit.
    Most,
    /// No less than the limit.
    Least,
    /// Nothing was promised.
    None,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    id: &'static str,
    value: f64,
    unit: &'static str,
    bound: Bound,
    limit: Option<f64>,
    /// Whether it is on the right side.
    pub(super) ok: bool,
    beside: BTreeMap<&'static str, f64>,
}

impl Figure {
    /// A figure that must not be above its limit.
    pub(super) fn most(id: &'static str, value: f64, limit: f64, unit: &'static str) -> Self {
        let ok = value <= limit;
        Self { id, value, unit, bound: Bound::Most, limit: Some(limit), ok, beside: BTreeMap::new() }
    }

    /// A figure that must not be below its limit.
    pub(super) fn least(id: &'static str, value: f64, limit: f64, unit: &'static str) -> Self {
        let ok = value >= limit;
        Self { id, value, unit, bound: Bound::Least, limit: Some(limit), ok, beside: BTreeMap::new() }
    }

    /// A figure without a limit.
    pub(super) fn plain(id: &'static str, value: f64, unit: &'static str) -> Self {
        Self { id, value, unit, bound: Bound::None, limit: None, ok: true, beside: BTreeMap::new() }
    }

    /// With a number that was measured beside it, and explains it.
    pub(super) fn beside(mut self, name: &'static str, value: f64) -> Self {
        self.beside.insert(name, value);
        self
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.bound {
            Bound::Most => "≤",
            Bound::Least => "≥",
            Bound::None => " ",
        };
        let ok = if self.ok { "ok  " } else { "MISS" };
        let (value, limit) = (number(self.value), self.limit.map(number).unwrap_or_default());
        write!(f, "{ok} {:<28} {value:>11} {sign} {limit:<9} {:<10}", self.id, self.unit)?;
        let mut beside = String::new();
        for (name, value) in &self.beside {
            write!(beside, "  {name} {}", number(*value))?;
        }
        f.write_str(&beside)
    }
}

/// Three digits that count, or a whole number with its thousands apart.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return crate::status::grouped(value.round() as u64);
    }
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

/// The value in the middle.
pub(super) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of all lies; 0 of none.
pub(super) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (share * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_limits() {
        let most = Figure::most("x", 2.0, 2.0, "µs").beside("bare", 1234.4);
        assert_eq!(
            most.to_string(),
            "ok   x                                   2.00 ≤ 2.00      µs          bare 1,234"
        );
        assert!(!Figure::least("x", 1.9, 2.0, "µs").ok);
        let plain = Figure::plain("x", 2.0, "µs");
        assert!(plain.ok && plain.to_string().trim_end().ends_with("2.00             µs"), "{plain}");
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<_> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.99), 99.0);
        assert_eq!(quantile(&mut values, 1.0), 100.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
