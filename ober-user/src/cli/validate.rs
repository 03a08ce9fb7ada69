//! `validate`.

use std::path::Path;

use serde::Serialize;

use super::{
    Error, Json, Outcome,
    screen::{Screen, Tone},
};
use crate::{
    config::{self, Config, Problem},
    haproxy,
};

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let checked = check(path).await;
    if json.json {
        screen.json(&Verdict::of(&checked))?;
        return checked.map(|_| Outcome::Done);
    }
    let config = checked?;
    let good = screen.paint("valid", Tone::Good);
    screen.line(format_args!(
        "{}: {good}: instance {}, {} on {}, {}, {}",
        path.display(),
        config.node.instance,
        many(config.services.len(), "service"),
        config.node.interfaces.join(", "),
        many(config.workers.cpus.len(), "worker"),
        many(config.lists.len(), "list"),
    ))?;
    Ok(Outcome::Done)
}

async fn check(path: &Path) -> Result<Config, Error> {
    let config = Config::load(path)?;
    haproxy::rehearse(&config).await?;
    Ok(config)
}

fn many(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

#[derive(Serialize)]
struct Verdict {
    valid: bool,
    problems: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    help: Vec<String>,
}

impl Verdict {
    fn of(checked: &Result<Config, Error>) -> Self {
        let problems = match checked {
            Ok(_) => vec![],
            Err(Error::Config(config::Error::Invalid(report))) => {
                report.0.iter().map(Fault::of).collect()
            }
            Err(other) => vec![Fault {
                file: None,
                line: None,
                column: None,
                message: other.to_string(),
                help: vec![],
            }],
        };
        Self {
            valid: problems.is_empty(),
            problems,
        }
    }
}

impl Fault {
    fn of(problem: &Problem) -> Self {
        Self {
            file: Some(problem.file.display().to_string()),
            line: problem.place.as_ref().map(|place| place.line),
            column: problem.place.as_ref().map(|place| place.column),
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}
