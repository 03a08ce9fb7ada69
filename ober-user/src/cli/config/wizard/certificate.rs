//! The certificate of a service: a file, issued by ACME, or later.

use toml_edit::Value;

use super::{
    answer::{each, mail, something},
    clients, key, list,
    session::Session,
};
use crate::{
    cli::Error,
    config::{self, edit::Key},
    system::file,
};

const HTTPS: &str = "443";
const HTTP: &str = "80";
const FILE: &str = "/etc/ober/s3.pem";
const UNISSUED: &str = "Without that nothing is issued, and nothing was changed: choose again.";
/// The keys that say where a certificate comes from.
const CERTIFICATES: [&str; 3] = ["certificate", "certificates", "acme"];
/// The keys of a listener that ends TLS.
const OF_TLS: [&str; 6] = [
    "certificate",
    "certificates",
    "acme",
    "tls",
    "hsts",
    "protocol",
];

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    AsItIs,
    File,
    Acme,
    Later,
}

impl Origin {
    fn words(self) -> &'static str {
        match self {
            Self::AsItIs => "",
            Self::File => "a file with chain and key (PEM)",
            Self::Acme => "issued and renewed by itself (ACME, such as Let's Encrypt)",
            Self::Later => "later: HTTP on port 80 alone",
        }
    }
}

/// Asks until there is a way to go: nothing is changed for one that the operator then does not want.
pub(super) fn of(session: &mut Session<'_>, name: &str, service: &Key) -> Result<(), Error> {
    while !answered(session, name, service)? {}
    Ok(())
}

fn answered(session: &mut Session<'_>, name: &str, service: &Key) -> Result<bool, Error> {
    let listeners = service.below("listeners");
    let (now, secure) = as_it_is(session, &listeners);
    let mut from = vec![Origin::File, Origin::Acme, Origin::Later];
    if now.is_some() {
        from.insert(0, Origin::AsItIs);
    }
    let words: Vec<String> = from
        .iter()
        .map(|it| match (it, &now) {
            (Origin::AsItIs, Some(now)) => now.clone(),
            _ => it.words().to_owned(),
        })
        .collect();
    let prompt = format!("Certificate of service {name}");
    let chosen = session.ask.choose(&prompt, &words, 0)?;
    let https = listeners.below(secure.as_deref().unwrap_or(HTTPS));
    match from.get(chosen) {
        Some(Origin::File) => of_file(session, &listeners, &https),
        Some(Origin::Acme) => issued(session, &listeners, &https),
        Some(Origin::Later) => later(session, &listeners, &https),
        Some(Origin::AsItIs) | None => Ok(true),
    }
}

/// What is written, in words, and the port with a certificate.
fn as_it_is(session: &Session<'_>, listeners: &Key) -> (Option<String>, Option<String>) {
    let ports = session.view.names(listeners);
    let said = |port: &String| {
        let at = listeners.below(port);
        let file = session.view.text(&at.below("certificate"));
        let files = session.view.texts(&at.below("certificates"));
        let acme = session.view.texts(&at.below("acme"));
        let words = match (file, files.is_empty(), acme.is_empty()) {
            (Some(file), ..) => file,
            (None, false, _) => files.join(", "),
            (None, true, false) => format!("issued for {}", acme.join(", ")),
            (None, true, true) => return None,
        };
        Some((format!("as it is: {words}"), port.clone()))
    };
    match ports.iter().find_map(said) {
        Some((words, port)) => (Some(words), Some(port)),
        None if ports.is_empty() => (None, None),
        None => (Some("as it is: none".to_owned()), None),
    }
}

fn of_file(session: &mut Session<'_>, listeners: &Key, https: &Key) -> Result<bool, Error> {
    if speaks_otherwise(session, https, &["https", "tls"]) {
        return Ok(false);
    }
    let base = config::base(session.original.path());
    let there = |path: &str| {
        something(path, "a file")?;
        let read = file::read(&base.join(path), file::Kind::Certificate).map(drop);
        read.map_err(|error| format!("read {path}: {error}"))
    };
    let certificate = https.below("certificate");
    let before = session.view.text(&certificate);
    let path = session.ask.line(&super::ask::Line {
        prompt: "File with chain and key",
        default: before.unwrap_or_else(|| FILE.to_owned()),
        check: &there,
    })?;
    certified(session, listeners, https, ("certificate", path.into()))
}

/// Gives the listener its certificate by this key alone.
fn certified(
    session: &mut Session<'_>,
    listeners: &Key,
    https: &Key,
    (chosen, value): (&str, Value),
) -> Result<bool, Error> {
    let is_new = session.view.get(https).is_none();
    session.set(&https.below(chosen), value)?;
    for other in CERTIFICATES.iter().filter(|it| **it != chosen) {
        session.unset(&https.below(other))?;
    }
    if is_new {
        clients::guard(session, listeners, https)?;
    }
    Ok(true)
}

fn issued(session: &mut Session<'_>, listeners: &Key, https: &Key) -> Result<bool, Error> {
    // A service of bytes, as one of `tls` is, cannot have port 80 for the authority's requests.
    let these: &[&str] = if asks_by_name(session) {
        &["https", "tls"]
    } else {
        &["https"]
    };
    if speaks_otherwise(session, https, these) {
        return Ok(false);
    }
    let acme = https.below("acme");
    let before = session.view.texts(&acme);
    let names = session.several(
        "Names that the certificate is for",
        &before,
        &each("a name", &|_| Ok(())),
    )?;
    let account = account(session)?;
    if matches!(account, Account::Refused) || !answers_authority(session, listeners, https)? {
        return Ok(false);
    }
    if let Account::New(mail) = account {
        session.set(&key(&["acme", "terms_agreed"]), true.into())?;
        let mail = format!("mailto:{mail}");
        session.set(&key(&["acme", "contact"]), list(&[mail]))?;
    }
    certified(session, listeners, https, ("acme", list(&names)))
}

/// The account with the authority.
enum Account {
    IsThere,
    /// With this mail address.
    New(String),
    Refused,
}

fn account(session: &mut Session<'_>) -> Result<Account, Error> {
    if session.view.get(&key(&["acme"])).is_some() {
        return Ok(Account::IsThere);
    }
    let prompt = "Do you agree to the terms of service of Let's Encrypt (https://letsencrypt.org/repository)?";
    if !session.ask.agree(prompt, false)? {
        session.say(UNISSUED);
        return Ok(Account::Refused);
    }
    let answer = session.line("Mail address that it may write to", "", &mail)?;
    Ok(Account::New(answer))
}

/// Does the authority look at records of names, and not at port 80?
fn asks_by_name(session: &Session<'_>) -> bool {
    let challenge = session.view.text(&key(&["acme", "challenge"]));
    challenge.as_deref() == Some("dns-01")
}

/// Can the authority ask on port 80? Makes it so, where the operator agrees.
fn answers_authority(
    session: &mut Session<'_>,
    listeners: &Key,
    https: &Key,
) -> Result<bool, Error> {
    if asks_by_name(session) {
        return Ok(true);
    }
    let http = listeners.below(HTTP);
    let access = session.view.text(&http.below("access"));
    let has_rules = session.view.get(&http.below("rules")).is_some();
    if session.view.get(&http).is_some() {
        if speaks_otherwise(session, &http, &["http"]) {
            return Ok(false);
        }
        if access.as_deref() == Some(clients::OPEN) && !has_rules {
            return Ok(true);
        }
        let prompt = "The authority asks on port 80, which is for some clients only. Open it to every client? HTTPS, where it \
                      has none of its own, gets the clients of port 80, and requests on port 80 are sent there";
        if !session.ask.agree(prompt, false)? {
            session.say(UNISSUED);
            return Ok(false);
        }
        if !clients::is_guarded(&session.view, https) {
            clients::carry(session, &http, https)?;
        }
    }
    session.unset(&http.below("rules"))?;
    session.set(&http.below("access"), clients::OPEN.into())?;
    session.set(&http.below("redirect_https"), true.into())?;
    Ok(true)
}

/// Does the listener speak another protocol than these? Then it is left alone, and the operator learns why.
fn speaks_otherwise(session: &mut Session<'_>, listener: &Key, these: &[&str]) -> bool {
    let protocol = session.view.text(&listener.below("protocol"));
    let Some(protocol) = protocol.filter(|it| !these.contains(&it.as_str())) else {
        return false;
    };
    let words = format!(
        "`{listener}` has `protocol = \"{protocol}\"`, which these questions do not change: `ober-user config edit` does"
    );
    session.say(&words);
    true
}

/// HTTP takes over: what was for some clients stays so.
fn later(session: &mut Session<'_>, listeners: &Key, https: &Key) -> Result<bool, Error> {
    let http = listeners.below(HTTP);
    let redirect = http.below("redirect_https");
    if session.view.get(&http).is_none() || session.view.get(&redirect).is_some() {
        session.unset(&redirect)?;
        clients::carry(session, https, &http)?;
    }
    if *https == http {
        OF_TLS
            .iter()
            .try_for_each(|it| session.unset(&https.below(it)))?;
    } else {
        session.unset(https)?;
    }
    if !clients::is_guarded(&session.view, &http) {
        session.set(&http.below("access"), clients::OPEN.into())?;
    }
    Ok(true)
}
