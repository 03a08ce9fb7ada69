//! The findings of `test` and `doctor`, as a table or JSON.

use super::{
    Error, Json, Outcome,
    screen::{Cell, Screen, Tone},
};
use crate::diagnose::finding::{Finding, Report, Verdict};

/// The answer is no when anything failed.
pub(super) fn show(report: &Report, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    if json.json {
        screen.json(report)?;
    } else {
        table(report, screen)?;
    }
    Ok(match report.verdict {
        Verdict::Ok | Verdict::Warning => Outcome::Done,
        Verdict::Failed => Outcome::No,
    })
}

fn table(report: &Report, screen: &mut Screen) -> Result<(), Error> {
    let rows: Vec<_> = report.findings.iter().map(row).collect();
    screen.table(&["part", "object", "verdict", "reason"], &rows)?;
    let advised: Vec<_> = report
        .findings
        .iter()
        .filter_map(|finding| Some((finding, finding.advice.as_ref()?)))
        .collect();
    if !advised.is_empty() {
        screen.line("")?;
    }
    for (finding, advice) in advised {
        let object = screen.paint(
            format_args!("{} {}", finding.part, finding.object),
            Tone::Strong,
        );
        let advice = screen.paint(advice, Tone::Plain);
        screen.line(format_args!("{object}: {advice}"))?;
    }
    let count = |verdict| {
        let same = report.findings.iter().filter(|it| it.verdict == verdict);
        same.count()
    };
    let (ok, warnings, failed) = (
        count(Verdict::Ok),
        count(Verdict::Warning),
        count(Verdict::Failed),
    );
    screen.line("")?;
    screen.line(format_args!(
        "{ok} ok, {warnings} warnings, {failed} failed"
    ))?;
    Ok(())
}

fn row(finding: &Finding) -> Vec<Cell> {
    let tone = match finding.verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Warning => Tone::Strong,
        Verdict::Failed => Tone::Bad,
    };
    vec![
        Cell::text(finding.part),
        Cell::text(&finding.object),
        Cell::toned(finding.verdict.name(), tone),
        Cell::text(&finding.reason),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::Paper;

    #[test]
    fn each_finding_and_its_advice_get_a_line_and_a_failed_finding_sets_the_exit_status() {
        let findings = vec![
            Finding::ok("bgp", "192.0.2.1", "AS 65000"),
            Finding::failed("bfd", "192.0.2.1", "not heard").advice("turn it on"),
        ];
        let paper = Paper::default();
        let mut screen = Screen::plain(paper.clone());
        let json = Json { json: false };
        let mut report = Report::new(false, findings);
        let outcome = show(&report, json, &mut screen).unwrap();
        assert_eq!(outcome, Outcome::No);
        assert_eq!(
            paper.text(),
            "\
part  object     verdict  reason
bgp   192.0.2.1  ok       AS 65000
bfd   192.0.2.1  failed   not heard

bfd 192.0.2.1: turn it on

1 ok, 0 warnings, 1 failed
"
        );
        report.findings.pop();
        let report = Report::new(false, report.findings);
        assert_eq!(show(&report, json, &mut screen).unwrap(), Outcome::Done);
    }
}
