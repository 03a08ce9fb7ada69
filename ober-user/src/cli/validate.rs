//! `validate`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{
    Error, Json, Outcome, client,
    instance::{self, whereabouts},
    screen::{self, Screen, Tone, many},
};
use crate::{
    api::{Question, Reply, status::Fallback},
    certificates::copies,
    config::{self, Config, Problem, Remark, Texts},
    haproxy::{self, version::Program},
    system::file,
};

/// How long `validate` waits for the daemon, whose answer is not needed to judge the files.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(path: &Path, json: Json, screen: &mut Screen) -> Result<Outcome, Error> {
    let checked = check(path).await;
    let instead = instead(path).await;
    if json.json {
        screen.json(&Verdict::of(&checked, instead, path))?;
        return checked.map(|_| Outcome::Done);
    }
    if let Some(Fallback { snapshot, .. }) = instead {
        let words = format_args!(
            "the daemon uses snapshot {snapshot} of the history, since the files could not be used at its start; \
             `ober-user reload` puts good ones in force"
        );
        let line = screen.paint(words, Tone::Bad);
        screen.line(line)?;
    }
    let checked = checked?;
    let config = &checked.config;
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
    screen.line(&checked.program)?;
    for remark in checked.remarks(path) {
        let warning = screen.paint("warning", Tone::Bad);
        screen.line(format_args!("{warning}: {remark}"))?;
    }
    Ok(Outcome::Done)
}

/// Refuses a configuration that `validate` refuses; its warnings go to standard error.
pub(super) async fn approve(path: &Path) -> Result<(), Error> {
    let checked = check(path).await?;
    for remark in checked.remarks(path) {
        screen::warn(remark);
    }
    Ok(())
}

/// A valid configuration.
struct Checked {
    config: Config,
    program: Program,
    /// The certificates that clients refuse today.
    out_of_date: Vec<Remark>,
}

impl Checked {
    fn remarks(&self, path: &Path) -> Vec<Remark> {
        let mut remarks = warnings(&self.config, path);
        remarks.extend_from_slice(&self.out_of_date);
        remarks
    }
}

/// What is valid but unwise, and what does not exist yet.
fn warnings(config: &Config, path: &Path) -> Vec<Remark> {
    let mut remarks = config.remarks(path);
    let slurm = config.resolve.slurm_conf.as_deref();
    if let Some(Err(error)) = slurm.map(|path| file::open(path, file::Kind::Slurm)) {
        remarks.push(Remark {
            about: "resolve.slurm_conf".to_owned(),
            words: error.to_string(),
            advice: "until it can be read, names that it may define keep the addresses they have"
                .to_owned(),
        });
    }
    remarks
}

/// What the daemon uses in place of these files, if one runs and does not use them.
async fn instead(path: &Path) -> Option<Fallback> {
    let at = whereabouts(path).await.ok()?;
    let asked = client::ask_at(&at, Question::Status);
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    match answer {
        Ok(Ok(Reply::Status(status))) => status.configuration?.fallback,
        Ok(_) | Err(_) => None,
    }
}

async fn check(path: &Path) -> Result<Checked, Error> {
    let config = instance::load(path).await?;
    let judged = haproxy::validate(&config).await;
    judged.map_err(|error| at_its_line(error, path))?;
    let program = haproxy::version::probe(&config.workers.haproxy)
        .await
        .map_err(|error| at_its_line(error, path))?;
    let dates = haproxy::out_of_date(&config).await?.into_iter();
    let out_of_date = dates.map(|(file, dates)| Remark {
        about: file.display().to_string(),
        words: dates.to_string(),
        advice: "clients refuse it; put a valid certificate there".to_owned(),
    });
    Ok(Checked {
        out_of_date: out_of_date.collect(),
        config,
        program,
    })
}

/// A file or program that the configuration names and that cannot be used is a mistake in the configuration.
fn at_its_line(error: haproxy::Error, main: &Path) -> Error {
    let files: Vec<PathBuf> = match &error {
        haproxy::Error::Certificates(copies::Error::File(file)) => vec![file.path().to_owned()],
        haproxy::Error::Certificates(copies::Error::Empty { places, .. }) => {
            places.iter().map(PathBuf::from).collect()
        }
        haproxy::Error::Missing { .. }
        | haproxy::Error::NoHaproxy { .. }
        | haproxy::Error::TooOld { .. }
        | haproxy::Error::NotBuilt { .. } => vec![],
        _ => return error.into(),
    };
    let Ok(texts) = Texts::read(main) else {
        return error.into();
    };
    let message = error.to_string();
    let report = if files.is_empty() {
        texts.blame("haproxy", &|_: &Path| true, message)
    } else {
        let is_meant = |written: &Path| files.iter().any(|file| file.starts_with(written));
        texts.blame("certificate", &is_meant, message)
    };
    Error::Config(config::Error::Invalid(report))
}

#[derive(Serialize)]
struct Verdict {
    valid: bool,
    /// `None`: HAProxy was not asked, since the configuration has problems.
    haproxy: Option<Program>,
    problems: Vec<Fault>,
    /// What is valid but unwise, and what does not exist yet.
    warnings: Vec<Warning>,
    /// What the daemon uses in place of these files.
    instead: Option<Fallback>,
}

#[derive(Serialize)]
struct Warning {
    /// A key, a file or a program.
    about: String,
    message: String,
    help: String,
}

impl From<Remark> for Warning {
    fn from(remark: Remark) -> Self {
        Self {
            about: remark.about,
            message: remark.words,
            help: remark.advice,
        }
    }
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
    fn of(checked: &Result<Checked, Error>, instead: Option<Fallback>, path: &Path) -> Self {
        let valid = checked.as_ref().ok();
        let warnings = valid.into_iter().flat_map(|it| it.remarks(path));
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
            haproxy: valid.map(|it| it.program.clone()),
            problems,
            warnings: warnings.map(Warning::from).collect(),
            instead,
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
