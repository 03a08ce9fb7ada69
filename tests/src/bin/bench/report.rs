//! Figures, their targets, and how they are written down.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::{
    cells::{Case, MANY, Scenario, Subject},
    packets::Family,
};

/// All rounds of one program in one scenario; nanoseconds per packet of each chunk.
#[derive(Default)]
pub(crate) struct Rounds {
    pub(crate) floor: Vec<Vec<f64>>,
    pub(crate) whole: Vec<Vec<f64>>,
}

/// What a cell came to, nanoseconds per packet.
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

/// A figure that must not exceed a limit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) figure: f64,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
    pub(crate) held: bool,
}

impl Target {
    pub(crate) fn at_most(name: String, figure: f64, limit: f64, unit: &'static str) -> Self {
        let held = figure <= limit;
        Self {
            name,
            figure,
            limit,
            unit,
            held,
        }
    }
}

/// Everything measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
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
        let theirs = rows
            .iter()
            .find(|other| other.subject == Subject::XdpFilter && other.key == row.key);
        if let Some(theirs) = theirs {
            let limit = if row.key.flows == 1 { 0.6 } else { 0.15 };
            let name = format!("{} / xdp-filter", row.scenario);
            let ratio = row.figure.net / theirs.figure.net;
            targets.push(Target::at_most(name, ratio, limit, "times"));
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
    /// The tables, as Markdown.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        writeln!(
            text,
            "| scenario | program | ns per packet, median [min-max] | empty program | net |"
        )?;
        writeln!(text, "|---|---|---|---|---|")?;
        for Row {
            scenario,
            subject,
            figure,
            ..
        } in &self.rows
        {
            let program = match subject {
                Subject::Ober => "ober",
                Subject::XdpFilter => "xdp-filter",
            };
            let Figure {
                median,
                low,
                high,
                floor,
                net,
            } = figure;
            writeln!(
                text,
                "| {scenario} | {program} | {median:.1} [{low:.1}-{high:.1}] | {floor:.1} | {net:.1} |"
            )?;
        }
        writeln!(text, "\n| target | figure | at most | |\n|---|---|---|---|")?;
        for Target {
            name,
            figure,
            limit,
            unit,
            held,
        } in &self.targets
        {
            let held = if *held { "held" } else { "MISSED" };
            writeln!(
                text,
                "| {name} | {figure:.2} {unit} | {limit} {unit} | {held} |"
            )?;
        }
        let held = self.targets.iter().filter(|target| target.held).count();
        writeln!(text, "\ntargets held: {held} of {}", self.targets.len())?;
        Ok(text)
    }
}
