//! The certificate of a service: a file, issued by ACME, or later.

use super::{Talk, key, list, service, something};
use crate::{
    cli::Error,
    config::{self, edit::Key},
    system::file,
};

const HTTPS: &str = "443";
const HTTP: &str = "80";
const FILE: &str = "/etc/ober/s3.pem";

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

pub(super) fn of(talk: &mut Talk<'_>, name: &str, service: &Key) -> Result<(), Error> {
    let listeners = service.below("listeners");
    let (now, secure) = as_it_is(talk, &listeners);
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
    let chosen = talk.ask.choose(&prompt, &words, 0)?;
    let https = listeners.below(secure.as_deref().unwrap_or(HTTPS));
    match from.get(chosen) {
        Some(Origin::File) => of_file(talk, &https),
        Some(Origin::Acme) => issued(talk, &listeners, &https),
        Some(Origin::Later) => later(talk, &listeners, &https),
        Some(Origin::AsItIs) | None => Ok(()),
    }
}

/// What is written, in words, and the port with a certificate.
fn as_it_is(talk: &Talk<'_>, listeners: &Key) -> (Option<String>, Option<String>) {
    let ports = talk.view.names(listeners);
    let said = |port: &String| {
        let at = listeners.below(port);
        let file = talk.view.text(&at.below("certificate"));
        let files = talk.view.texts(&at.below("certificates"));
        let acme = talk.view.texts(&at.below("acme"));
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

fn of_file(talk: &mut Talk<'_>, https: &Key) -> Result<(), Error> {
    let base = config::base(talk.original.path());
    let there = |path: &str| {
        let read = file::read(&base.join(path), file::Kind::Certificate).map(drop);
        read.map_err(|error| format!("read {path}: {error}"))
    };
    let path = talk.ask.line(&super::Line {
        prompt: "File with chain and key",
        default: FILE.to_owned(),
        check: &there,
    })?;
    talk.set(&https.below("certificate"), path.into())?;
    drop_key(talk, &https.below("acme"))
}

fn issued(talk: &mut Talk<'_>, listeners: &Key, https: &Key) -> Result<(), Error> {
    let names = talk.several("Names that the certificate is for", &[], &|name| {
        something(name, "a name")
    })?;
    if talk.view.get(&key(&["acme"])).is_none() {
        let prompt = "Do you agree to the terms of service of Let's Encrypt (https://letsencrypt.org/repository)?";
        if !talk.ask.agree(prompt, false)? {
            talk.say("Nothing is issued without: this service gets HTTP on port 80 alone.");
            return later(talk, listeners, https);
        }
        let mail = talk.line("Address of mail that it may write to", "", &service::mail)?;
        talk.set(&key(&["acme", "terms_agreed"]), true.into())?;
        talk.set(
            &key(&["acme", "contact"]),
            list(&[format!("mailto:{mail}")]),
        )?;
    }
    talk.set(&https.below("acme"), list(&names))?;
    drop_key(talk, &https.below("certificate"))?;
    let http = listeners.below(HTTP);
    if talk.now().get(&http).is_none() {
        // The authority asks there.
        talk.set(&http.below("access"), service::OPEN.into())?;
        talk.set(&http.below("redirect_https"), true.into())?;
    }
    Ok(())
}

fn later(talk: &mut Talk<'_>, listeners: &Key, https: &Key) -> Result<(), Error> {
    drop_key(talk, https)?;
    let http = listeners.below(HTTP);
    drop_key(talk, &http.below("redirect_https"))?;
    if talk.now().get(&http.below("access")).is_none() {
        talk.set(&http.below("access"), service::OPEN.into())?;
    }
    Ok(())
}

fn drop_key(talk: &mut Talk<'_>, key: &Key) -> Result<(), Error> {
    if talk.now().get(key).is_some() {
        talk.unset(key)?;
    }
    Ok(())
}
