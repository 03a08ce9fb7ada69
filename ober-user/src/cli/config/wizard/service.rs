//! Services: VIPs, servers, certificate, and who may use them.

use super::{Talk, address, certificate, key, list, probe, something};
use crate::{
    cli::Error,
    config::{
        FRONTEND_HTTP,
        edit::{Key, View},
    },
    diagnose::finding::Verdict,
};

/// The first service and its backend.
const SERVICE: &str = "s3";
const BACKEND: &str = "rgw";
/// The word for no list of clients.
pub(super) const OPEN: &str = "open";

pub(super) async fn all(talk: &mut Talk<'_>) -> Result<(), Error> {
    let services = key(&["services"]);
    let mut names = talk.view.names(&services);
    if names.is_empty() {
        names.push(SERVICE.to_owned());
    }
    for name in names {
        let service = services.below(&name);
        if let Some(path) = talk.original.elsewhere(&service.below("vips")) {
            let words = format!(
                "service {name} is in {} and is not asked about",
                path.display()
            );
            talk.say(&words);
            continue;
        }
        one(talk, &name, &service).await?;
    }
    Ok(())
}

async fn one(talk: &mut Talk<'_>, name: &str, service: &Key) -> Result<(), Error> {
    vips(talk, name, &service.below("vips"))?;
    let key = service.below("backend");
    let backend = talk.view.text(&key).unwrap_or_else(|| BACKEND.to_owned());
    talk.set(&key, backend.as_str().into())?;
    servers(talk, &backend).await?;
    certificate::of(talk, name, service)?;
    clients(talk, name, service)
}

fn vips(talk: &mut Talk<'_>, name: &str, key: &Key) -> Result<(), Error> {
    let default = talk.view.texts(key);
    let prompt = format!("VIPs of service {name} (addresses)");
    let answer = talk.several(&prompt, &default, &address)?;
    talk.set(key, list(&answer))
}

async fn servers(talk: &mut Talk<'_>, backend: &str) -> Result<(), Error> {
    let key = key(&["backends", backend, "servers"]);
    let mut default = talk.view.texts(&key);
    let prompt = format!("Servers of backend {backend} (hostlist, such as rgw[01-08]:7480)");
    loop {
        let answer = talk.several(&prompt, &default, &|_| Ok(()))?;
        talk.set(&key, list(&answer))?;
        if answered(talk, backend).await? {
            return Ok(());
        }
        default = answer;
    }
}

/// Asks each server at once, and the operator whether to go on.
async fn answered(talk: &mut Talk<'_>, backend: &str) -> Result<bool, Error> {
    let findings = match probe::ask(&talk.now(), backend, talk.original.path()).await {
        Ok(findings) => findings,
        Err(error) => {
            talk.say(&error.line());
            return Ok(false);
        }
    };
    for finding in &findings {
        talk.say(&probe::words(finding));
    }
    if findings.iter().all(|it| it.verdict != Verdict::Failed) {
        return Ok(true);
    }
    talk.ask.agree("Go on with these servers?", true)
}

/// The ports of a service, and the list of clients that each has.
fn accesses(view: &View, service: &Key) -> Vec<(Key, Option<String>)> {
    let all = service.below("listeners");
    let ports = view.names(&all).into_iter();
    ports
        .map(|port| {
            let listener = all.below(&port);
            let access = view.text(&listener.below("access"));
            (listener, access)
        })
        .collect()
}

/// Who may use the service.
fn clients(talk: &mut Talk<'_>, name: &str, service: &Key) -> Result<(), Error> {
    let now = talk.now();
    let ports = accesses(&now, service);
    let guarded = ports
        .iter()
        .any(|(port, _)| now.get(&port.below("rules")).is_some());
    let mut lists: Vec<&String> = ports.iter().filter_map(|(_, it)| it.as_ref()).collect();
    lists.retain(|it| *it != OPEN);
    lists.dedup();
    if guarded || lists.len() > 1 {
        talk.say("Its listeners have several lists or rules, which stay as they are.");
        return Ok(());
    }
    let before = lists.first().map(|it| (*it).clone());
    let list_name = before.clone().unwrap_or_else(|| FRONTEND_HTTP.to_owned());
    let sources = key(&["lists", &list_name, "sources"]);
    let default = match &before {
        Some(_) => talk.view.texts(&sources),
        None => vec![OPEN.to_owned()],
    };
    let hint = if before.is_some() && default.is_empty() {
        "; nothing: as `acl sync` fills it"
    } else {
        ""
    };
    let prompt = format!("Clients of service {name} (hostlist, or `open` for everybody{hint})");
    let answer = talk.several(&prompt, &default, &|_| Ok(()))?;
    if answer == default {
        return Ok(());
    }
    let open = answer == [OPEN];
    if !open {
        talk.set(&sources, list(&answer))?;
    }
    for (port, access) in ports {
        let listed = access.is_some_and(|it| it != OPEN);
        // Everybody may be told to use HTTPS, and an authority must be able to ask.
        let redirects = now.text(&port.below("redirect_https")).as_deref() == Some("true");
        if open && listed {
            talk.set(&port.below("access"), OPEN.into())?;
        } else if !open && before.is_none() && !redirects {
            talk.set(&port.below("access"), list_name.as_str().into())?;
        }
    }
    Ok(())
}

pub(super) fn mail(text: &str) -> Result<(), String> {
    something(text, "an address of mail")?;
    if text.contains('@') {
        return Ok(());
    }
    Err(format!("`{text}` is no address of mail"))
}
