//! Checks the dependencies for advisories, in a copy of the `RustSec` database, because CI reaches the package registry only.
//! Without a copy it says so.

use crate::shell::{cargo, command, read, run, target};
use anyhow::{Context, Result, ensure};
use ober_programs::GIT;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The variable with the path of the copy: a clone of <https://github.com/RustSec/advisory-db>.
const VARIABLE: &str = "OBER_ADVISORIES";
/// Where the copy is looked for otherwise, below cargo's home.
const DIRECTORY: &str = "advisory-db";

/// A copy that is older than this does not know what was found since.
const OLD: Duration = Duration::from_hours(24 * 30);

/// Fails for an advisory and for an unreadable copy; not when there is no copy.
pub(crate) fn check() -> Result<()> {
    let now = UNIX_EPOCH.elapsed().context("read the clock")?;
    let copy = find(env::var_os(VARIABLE).map(PathBuf::from), usual())?;
    let dated = copy.map(date).transpose()?;
    println!("{}", report(dated.as_ref(), now));
    let Some(Copy { place, .. }) = dated else {
        return Ok(());
    };
    let work = target().join("advisories");
    ask(&place, &work, |settings| {
        let mut deny = cargo();
        deny.args(["deny", "--config"]).arg(settings);
        run(deny.args(["check", "advisories"]))
    })
}

/// A copy of the database.
#[derive(Debug)]
struct Copy {
    place: PathBuf,
    /// The day of its last change, for a person.
    day: String,
    /// The same since 1970.
    changed: Duration,
}

fn usual() -> PathBuf {
    ober_programs::cargo_home().join(DIRECTORY)
}

/// The copy that the variable names, which must be there; otherwise the one at the usual place, if there is one.
fn find(named: Option<PathBuf>, usual: PathBuf) -> Result<Option<PathBuf>> {
    let Some(named) = named else {
        return Ok(Some(usual).filter(|copy| copy.is_dir()));
    };
    ensure!(
        named.is_absolute() && named.is_dir(),
        "{VARIABLE} names {}, which is no directory by its whole path",
        named.display()
    );
    Ok(Some(named))
}

fn date(place: PathBuf) -> Result<Copy> {
    let mut git = command(&GIT);
    git.arg("-C")
        .arg(&place)
        .args(["log", "-1", "--format=%cs %ct"]);
    let said = read(&mut git);
    let said =
        said.with_context(|| format!("ask the age of the advisories at {}", place.display()))?;
    let words = said.trim().split_once(' ');
    let (day, seconds) = words.with_context(|| format!("read a date from {said:?}"))?;
    let seconds = seconds
        .parse()
        .with_context(|| format!("read a time from {said:?}"))?;
    Ok(Copy {
        day: day.to_owned(),
        changed: Duration::from_secs(seconds),
        place,
    })
}

/// What is checked, and by how good a copy. `now`: since 1970.
fn report(copy: Option<&Copy>, now: Duration) -> String {
    let Some(Copy {
        place,
        day,
        changed,
    }) = copy
    else {
        return format!(
            "advisories: NOT CHECKED, there is no copy of the database: clone RustSec's advisory-db to {}, or name a \
             clone in {VARIABLE}",
            usual().display()
        );
    };
    let age = now.saturating_sub(*changed);
    let place = place.display();
    if age > OLD {
        let days = age.as_secs() / Duration::from_hours(24).as_secs();
        return format!(
            "advisories: of {day}, {place}: OLD, later ones are not known for {days} days; `git -C {place} pull`"
        );
    }
    format!("advisories: of {day}, {place}")
}

/// Writes the settings that lead cargo-deny to the copy, and has it check.
fn ask(copy: &Path, work: &Path, deny: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fs::create_dir_all(work).with_context(|| format!("make {}", work.display()))?;
    let settings = work.join("deny.toml");
    fs::write(&settings, configuration(copy, &work.join("copies")))
        .with_context(|| format!("write {}", settings.display()))?;
    deny(&settings)
}

/// cargo-deny clones from the copy as it would over the network.
fn configuration(copy: &Path, clones: &Path) -> String {
    format!(
        "[graph]\nall-features = true\n\n[advisories]\ndb-urls = [\"file://{}\"]\ndb-path = \"{}\"\n\
         git-fetch-with-cli = true\nunmaintained = \"workspace\"\nyanked = \"allow\"\n",
        copy.display(),
        clones.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_found_at_its_usual_place_or_where_the_variable_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let [usual, named] = ["usual", "named"].map(|name| dir.path().join(name));
        let found = |name: Option<&PathBuf>| find(name.cloned(), usual.clone());
        assert_eq!(found(None).unwrap(), None);
        fs::create_dir(&usual).unwrap();
        assert_eq!(found(None).unwrap(), Some(usual.clone()));
        // A copy that is named and missing is a mistake, and no reason to check another one or none.
        let refused = found(Some(&named)).unwrap_err().to_string();
        assert!(refused.contains("OBER_ADVISORIES"), "{refused}");
        fs::create_dir(&named).unwrap();
        assert_eq!(found(Some(&named)).unwrap(), Some(named));
        let relative = Path::new(".").to_owned();
        assert!(found(Some(&relative)).is_err());
    }

    #[test]
    fn without_a_copy_the_report_is_not_checked_and_an_old_copy_is_called_old() {
        let day = Duration::from_hours(24);
        let now = 20_000 * day;
        let copy = |age| Copy {
            place: "/copy".into(),
            day: "2024-10-04".to_owned(),
            changed: now.saturating_sub(age),
        };
        let none = report(None, now);
        assert!(none.starts_with("advisories: NOT CHECKED"), "{none}");
        for good in [Duration::ZERO, OLD] {
            let said = report(Some(&copy(good)), now);
            assert_eq!(said, "advisories: of 2024-10-04, /copy");
        }
        let old = report(Some(&copy(OLD + day)), now);
        for words in ["of 2024-10-04", "OLD", "31 days", "`git -C /copy pull`"] {
            assert!(old.contains(words), "{old}");
        }
        // A clock that goes wrong makes no copy old.
        let ahead = report(Some(&copy(Duration::ZERO)), now.saturating_sub(day));
        assert!(!ahead.contains("OLD"), "{ahead}");
    }

    #[test]
    fn an_advisory_fails_the_check_and_a_clean_answer_passes_it() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        let copy = Path::new("/copy of mine");
        let mut read = String::new();
        ask(copy, &work, |settings| {
            read = fs::read_to_string(settings)?;
            Ok(())
        })
        .unwrap();
        let clones = work.join("copies");
        for line in [
            "db-urls = [\"file:///copy of mine\"]".to_owned(),
            format!("db-path = \"{}\"", clones.display()),
        ] {
            assert!(read.lines().any(|it| it == line), "{line} is not in {read}");
        }
        let found = ask(copy, &work, |_| anyhow::bail!("RUSTSEC-2024-0001"));
        assert_eq!(found.unwrap_err().to_string(), "RUSTSEC-2024-0001");
    }
}
