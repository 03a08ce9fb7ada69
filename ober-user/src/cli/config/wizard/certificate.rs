//! The certificate of a service: a file, issued by ACME, or later.

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
    let is_new = session.view.get(https).is_none();
    session.set(&certificate, path.into())?;
    session.unset(&https.below("acme"))?;
    if is_new {
        clients::guard(session, listeners, https)?;
    }
    Ok(true)
}

fn issued(session: &mut Session<'_>, listeners: &Key, https: &Key) -> Result<bool, Error> {
    if speaks_otherwise(session, https, &["https", "tls"]) {
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
    let is_new = session.view.get(https).is_none();
    session.set(&acme, list(&names))?;
    session.unset(&https.below("certificate"))?;
    if is_new {
        clients::guard(session, listeners, https)?;
    }
    Ok(true)
}

/// The account with the authority.
enum Account {
    IsThere,
    /// With this address of mail.
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
    let answer = session.line("Address of mail that it may write to", "", &mail)?;
    Ok(Account::New(answer))
}

/// Can the authority ask on port 80? Makes it so, where the operator agrees.
fn answers_authority(
    session: &mut Session<'_>,
    listeners: &Key,
    https: &Key,
) -> Result<bool, Error> {
    if session.view.text(&key(&["acme", "challenge"])).as_deref() == Some("dns-01") {
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
        let prompt = "The authority asks on port 80, which is for some clients only. Open it to every client, and send every \
                      request there to HTTPS, which gets its clients?";
        if !session.ask.agree(prompt, false)? {
            session.say(UNISSUED);
            return Ok(false);
        }
        clients::carry(session, &http, https)?;
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
    let is_guarded = ["access", "rules"].map(|it| session.view.get(&http.below(it)).is_some());
    if is_guarded == [false, false] {
        session.set(&http.below("access"), clients::OPEN.into())?;
    }
    Ok(true)
}
