//! The servers of a backend, each asked once while the operator waits.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    config::{
        self, Config, Env, Error,
        edit::{Key, View},
    },
    diagnose::{
        finding::{Finding, Verdict},
        trial::{self, Part, Request},
    },
};

const PATIENCE: Duration = Duration::from_secs(3);
/// Without the files of a daemon, so that what counts are the servers that were answered.
const NOWHERE: &str = "/run/ober/.nowhere";

/// What each server answered.
pub(super) async fn ask(view: &View, backend: &str, main: &Path) -> Result<Vec<Finding>, Error> {
    let base = config::base(main);
    let config = Config::parse(&text(view, backend), &base, &Env::current()?)?;
    let request = Request {
        parts: vec![Part::Backends],
        patience: PATIENCE,
        expiry: Duration::ZERO,
    };
    Ok(trial::run(&config, None, &request).await)
}

/// A configuration that has this backend alone, with the check that it would have.
fn text(view: &View, backend: &str) -> String {
    let get = |parts: &[&str]| view.get(&Key::of(parts.iter().copied())).cloned();
    let table = |value: Option<Value>| value.unwrap_or_else(|| json!({}));
    let probe = json!({
        "node": { "interfaces": ["lo"], "state": NOWHERE, "run": NOWHERE },
        "resolve": table(get(&["resolve"])),
        "backends": { backend: table(get(&["backends", backend])) },
        "services": [{
            "name": "probe",
            "vips": ["192.0.2.1"],
            "backend": backend,
            "listeners": [{ "port": 80, "access": "open" }],
        }],
    });
    toml::to_string(&probe).unwrap_or_default()
}

/// One line about a server.
pub(super) fn words(finding: &Finding) -> String {
    let sign = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    };
    format!("  {sign:<7}  {}: {}", finding.object, finding.reason)
}
