//! The lines `bind`: the sockets of a listener and the TLS on them.

use super::{
    Error,
    text::{Lines, quote},
    variable,
};
use crate::{
    config::{
        Listener, Service,
        tls::{Termination, Terms, Version},
    },
    haproxy::sockets::Key,
};

pub(super) fn binds(
    lines: &mut Lines,
    service: &Service,
    listener: &Listener,
    keys: &[Key],
) -> Result<(), Error> {
    let tls = listener
        .protocol
        .termination()
        .map(termination)
        .transpose()?;
    let tls = tls.unwrap_or_default();
    let ours = |key: &Key| key.service == service.name && key.port == listener.port;
    for (index, _) in keys.iter().enumerate().filter(|(_, key)| ours(key)) {
        lines.add(format_args!("bind \"fd@${{{}}}\"{tls}", variable(index)));
    }
    Ok(())
}

fn termination(tls: &Termination) -> Result<String, Error> {
    let pem = quote("certificate", &tls.certificate.display().to_string())?;
    let mut text = format!(" ssl crt {pem}{}", terms(&tls.terms)?);
    if !tls.tickets {
        text += " no-tls-tickets";
    }
    if !tls.alpn.is_empty() {
        text += &format!(" alpn {}", quote_list(&tls.alpn)?);
    }
    Ok(text)
}

/// A list of plain words stays as it is.
fn quote_list(words: &[String]) -> Result<String, Error> {
    let list = words.join(",");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,".contains(letter);
    if list.chars().all(plain) {
        return Ok(list);
    }
    quote("protocol of ALPN", &list)
}

/// Versions and ciphers, for `bind` and `server` alike. Silent about what the section `global` says already.
pub(super) fn terms(terms: &Terms) -> Result<String, Error> {
    let mut text = String::new();
    if terms.min != Version::V12 {
        text += &format!(" ssl-min-ver {}", version(terms.min));
    }
    if let Some(max) = terms.max {
        text += &format!(" ssl-max-ver {}", version(max));
    }
    if let Some(ciphers) = &terms.ciphers {
        text += &format!(" ciphers {}", quote("cipher list", ciphers)?);
    }
    if let Some(suites) = &terms.suites {
        text += &format!(" ciphersuites {}", quote("cipher suites", suites)?);
    }
    Ok(text)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::V10 => "TLSv1.0",
        Version::V11 => "TLSv1.1",
        Version::V12 => "TLSv1.2",
        Version::V13 => "TLSv1.3",
    }
}
