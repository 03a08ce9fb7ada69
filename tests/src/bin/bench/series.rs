//! One thing measured again and again.

use std::time::Duration;

use serde::Serialize;

/// Values of one kind, in the order they were measured.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// The summary of a series.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) samples: usize,
}

impl Series {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            values: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// In milliseconds.
    pub(crate) fn push_time(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1e3);
    }

    pub(crate) fn median(&self) -> f64 {
        self.part(1, 2)
    }

    pub(crate) fn lower_quartile(&self) -> f64 {
        self.part(1, 4)
    }

    /// The value below which `part` of `whole` lie; the larger neighbour where two would do.
    fn part(&self, part: usize, whole: usize) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let at = values.len() * part / whole;
        values.get(at).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn measure(&self) -> Measure {
        Measure {
            name: self.name.clone(),
            unit: self.unit,
            median: self.median(),
            low: self.values.iter().copied().fold(f64::INFINITY, f64::min),
            high: self
                .values
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max),
            samples: self.values.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_lower_quartile_do_not_depend_on_the_order() {
        let mut series = Series::new("a", "ms");
        for value in [7.0, 1.0, 5.0, 3.0, 8.0, 2.0, 6.0, 4.0] {
            series.push(value);
        }
        let measure = series.measure();
        let found = (
            series.lower_quartile(),
            measure.median,
            measure.low,
            measure.high,
        );
        assert_eq!(found, (3.0, 5.0, 1.0, 8.0));
    }
}
