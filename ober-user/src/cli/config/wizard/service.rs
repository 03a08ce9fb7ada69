//! Services: VIPs, servers, certificate, and who may use them.

use super::{
    answer::{address, each, something},
    certificate, clients, key, list, probe,
    session::Session,
};
use crate::{cli::Error, config::edit::Key, diagnose::finding::Verdict};

/// The first service and its backend.
const SERVICE: &str = "s3";
const BACKEND: &str = "rgw";

pub(super) async fn all(session: &mut Session<'_>) -> Result<(), Error> {
    let services = key(&["services"]);
    let mut names = session.view.names(&services);
    if names.is_empty() {
        names.push(SERVICE.to_owned());
    }
    let mut backends = Vec::new();
    for name in names {
        let service = services.below(&name);
        if let Some(path) = session.original.elsewhere(&service.below("vips")) {
            let words = format!(
                "service {name} is in {} and is not asked about",
                path.display()
            );
            session.say(&words);
            continue;
        }
        vips(session, &name, &service.below("vips"))?;
        let backend = backend(session, &service.below("backend"))?;
        // Services may share one.
        if !backends.contains(&backend) {
            servers(session, &backend).await?;
            backends.push(backend);
        }
        certificate::of(session, &name, &service)?;
        clients::of(session, &name, &service)?;
    }
    Ok(())
}

fn vips(session: &mut Session<'_>, name: &str, key: &Key) -> Result<(), Error> {
    let default = session.view.texts(key);
    let prompt = format!("VIPs of service {name} (addresses)");
    let answer = session.several(&prompt, &default, &each("an address", &address))?;
    session.set(key, list(&answer))
}

fn backend(session: &mut Session<'_>, key: &Key) -> Result<String, Error> {
    if let Some(name) = session.view.text(key) {
        return Ok(name);
    }
    session.set(key, BACKEND.into())?;
    Ok(BACKEND.to_owned())
}

async fn servers(session: &mut Session<'_>, backend: &str) -> Result<(), Error> {
    let backend_key = key(&["backends", backend]);
    let servers = backend_key.below("servers");
    // Such a backend may have no servers of its own.
    let finds_more = session.view.get(&backend_key.below("discover")).is_some();
    let prompt = format!("Servers of backend {backend} (hostlist, such as rgw[01-08]:7480)");
    loop {
        let default = session.view.texts(&servers);
        let answer = session.several(&prompt, &default, &|parts| {
            if finds_more {
                return Ok(());
            }
            something(&parts.concat(), "a hostlist")
        })?;
        if !answer.is_empty() {
            session.set(&servers, list(&answer))?;
        }
        if are_wanted(session, backend).await? {
            return Ok(());
        }
    }
}

/// Asks each server at once, and the operator whether to go on.
async fn are_wanted(session: &mut Session<'_>, backend: &str) -> Result<bool, Error> {
    let findings = match probe::ask(&session.view, backend, session.original.path()).await {
        Ok(findings) => findings,
        Err(error) => {
            session.say(&error.line());
            // It may be nothing that an answer to this question changes.
            return session.ask.agree("Go on with these servers?", false);
        }
    };
    for finding in &findings {
        session.say(&probe::words(finding));
    }
    if findings.iter().all(|it| it.verdict != Verdict::Failed) {
        return Ok(true);
    }
    session.ask.agree("Go on with these servers?", true)
}
