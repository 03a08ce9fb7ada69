//! Figures, their targets, and how they are written down.

use std::fmt;

use serde::Serialize;

use crate::{
    cells::{Case, MANY, Scenario, Subject},
    packets::Family,
    series::Measure,
};

/// All rounds of one program in one scenario; nanoseconds per packet of each chunk.
#[derive(Default)]
pub(crate) struct Rounds {
    pub(crate) floor: Vec<Vec<f64>>,
    pub(crate) whole: Vec<Vec<f64>>,
}

/// The result of a cell, nanoseconds per packet.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figure {
    /// Median of the rounds' median chunks, with the wrapper's share.
    pub(crate) median: f64,
    /// The quickest round's median chunk.
    pub(crate) low: f64,
    /// The slowest round's median chunk.
    pub(crate) high: f64,
    /// The empty program's quietest chunk.
    pub(crate) floor: f64,
    /// Quietest chunk less the empty program's.
    pub(crate) net: f64,
}

impl Rounds {
    pub(crate) fn figure(&self) -> Figure {
        let mut medians: Vec<f64> = self.whole.iter().map(|round| median(round)).collect();
        medians.sort_by(f64::total_cmp);
        let quietest = |rounds: &[Vec<f64>]| {
            rounds
                .iter()
                .flatten()
                .copied()
                .fold(f64::INFINITY, f64::min)
        };
        let floor = quietest(&self.floor);
        Figure {
            median: median(&medians),
            low: medians.first().copied().unwrap_or(f64::NAN),
            high: medians.last().copied().unwrap_or(f64::NAN),
            floor,
            net: quietest(&self.whole) - floor,
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A measured row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) subject: Subject,
    #[serde(flatten)]
    pub(crate) figure: Figure,
    #[serde(skip)]
    pub(crate) key: Scenario,
}

/// On which side of its limit a figure must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtMost,
    AtLeast,
}

/// A figure that must keep to a limit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) figure: f64,
    pub(crate) bound: Bound,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
    pub(crate) held: bool,
    /// The same figure against another subject, which no limit is set for.
    pub(crate) beside: Option<Beside>,
}

/// A figure compared with another subject's.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Beside {
    pub(crate) subject: &'static str,
    pub(crate) figure: f64,
}

impl Target {
    pub(crate) fn at_most(name: String, figure: f64, limit: f64, unit: &'static str) -> Self {
        Self {
            name,
            figure,
            bound: Bound::AtMost,
            limit,
            unit,
            held: figure <= limit,
            beside: None,
        }
    }

    /// Adds the comparison with another subject.
    pub(crate) fn beside(self, subject: &'static str, figure: f64) -> Self {
        let beside = Some(Beside { subject, figure });
        Self { beside, ..self }
    }

    pub(crate) fn at_least(name: String, figure: f64, limit: f64, unit: &'static str) -> Self {
        Self {
            bound: Bound::AtLeast,
            held: figure >= limit,
            ..Self::at_most(name, figure, limit, unit)
        }
    }
}

/// The results of a part of the bench.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    pub(crate) measures: Vec<Measure>,
    pub(crate) targets: Vec<Target>,
}

/// Everything measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The packet path.
    pub(crate) rows: Vec<Row>,
    /// Lists and requests.
    pub(crate) measures: Vec<Measure>,
    pub(crate) targets: Vec<Target>,
}

impl fmt::Display for Beside {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "; {:.2} of {}", self.figure, self.subject)
    }
}

/// The targets of the packet path.
pub(crate) fn packet_targets(rows: &[Row]) -> Vec<Target> {
    let mut targets = Vec::new();
    for row in rows.iter().filter(|row| row.subject == Subject::Ober) {
        if let Some(limit) = limit(&row.key) {
            targets.push(Target::at_most(
                row.scenario.clone(),
                row.figure.net,
                limit,
                "ns",
            ));
        }
        let against = |subject| {
            let mut rows = rows.iter();
            let theirs = rows.find(|other| other.subject == subject && other.key == row.key)?;
            Some(row.figure.net / theirs.figure.net)
        };
        if let Some(ratio) = against(Subject::XdpFilter) {
            let limit = if row.key.flows == 1 { 0.6 } else { 0.15 };
            let name = format!("{} / xdp-filter", row.scenario);
            let beside = against(Subject::XdpFilterDefault).map(|figure| Beside {
                subject: Subject::XdpFilterDefault.name(),
                figure,
            });
            targets.push(Target {
                beside,
                ..Target::at_most(name, ratio, limit, "times")
            });
        }
    }
    targets
}

/// Nanoseconds net of the empty program. A sweep of denied sources is compared with xdp-filter only.
fn limit(scenario: &Scenario) -> Option<f64> {
    match (scenario.case, scenario.family) {
        (Case::NotOurs, _) => Some(6.0),
        (Case::Listed | Case::Steered, _) => Some(30.0),
        (Case::Denied(_), _) if scenario.flows == MANY => None,
        (Case::Denied(_), Family::Ipv4) => Some(16.0),
        (Case::Denied(_), Family::Ipv6) => Some(60.0),
    }
}

impl Report {
    pub(crate) fn of(part: Part) -> Self {
        let mut report = Self::default();
        report.join(part);
        report
    }

    pub(crate) fn join(&mut self, part: Part) {
        self.measures.extend(part.measures);
        self.targets.extend(part.targets);
    }

    fn write_rows(&self, out: &mut impl fmt::Write) -> fmt::Result {
        writeln!(
            out,
            "| scenario | program | ns per packet, median [min-max] | empty program | net |\n|---|---|---|---|---|"
        )?;
        for row in &self.rows {
            let program = row.subject.name();
            let Figure {
                median,
                low,
                high,
                floor,
                net,
            } = row.figure;
            writeln!(
                out,
                "| {} | {program} | {median:.1} [{low:.1}-{high:.1}] | {floor:.1} | {net:.1} |",
                row.scenario
            )?;
        }
        writeln!(out)
    }

    fn write_measures(&self, out: &mut impl fmt::Write) -> fmt::Result {
        writeln!(out, "| what | median [min-max] | samples |\n|---|---|---|")?;
        for Measure {
            name,
            unit,
            median,
            low,
            high,
            samples,
        } in &self.measures
        {
            writeln!(
                out,
                "| {name} | {median:.1} [{low:.1}-{high:.1}] {unit} | {samples} |"
            )?;
        }
        writeln!(out)
    }

    fn write_targets(&self, out: &mut impl fmt::Write) -> fmt::Result {
        writeln!(out, "| target | figure | limit | |\n|---|---|---|---|")?;
        for Target {
            name,
            figure,
            bound,
            limit,
            unit,
            held,
            beside,
        } in &self.targets
        {
            let held = if *held { "held" } else { "MISSED" };
            let limit = match bound {
                Bound::AtMost => format!("at most {limit}"),
                Bound::AtLeast => format!("at least {limit:.3}"),
            };
            writeln!(
                out,
                "| {name} | {figure:.2} {unit} | {limit} {unit} | {held}{} |",
                beside.as_ref().map(Beside::to_string).unwrap_or_default()
            )?;
        }
        let held = self.targets.iter().filter(|target| target.held).count();
        writeln!(out, "\ntargets held: {held} of {}", self.targets.len())
    }
}

/// The tables, as Markdown.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.rows.is_empty() {
            self.write_rows(out)?;
        }
        if !self.measures.is_empty() {
            self.write_measures(out)?;
        }
        self.write_targets(out)
    }
}
