//! Writes the lines `bind`: the sockets of a listener and their TLS.

use std::path::Path;

use super::{
    Error,
    text::{Lines, Words, quote},
    variable,
};
use crate::{
    config::{
        Listener, Service, paths,
        sections::tls::{Termination, Terms, Version},
    },
    haproxy::sockets::Key,
};

pub(super) fn binds(
    lines: &mut Lines,
    service: &Service,
    listener: &Listener,
    keys: &[Key],
    run: &Path,
) -> Result<(), Error> {
    let ours = |key: &Key| key.service == service.name && key.port == listener.port;
    for (index, _) in keys.iter().enumerate().filter(|(_, key)| ours(key)) {
        let mut line = Words::new(format_args!("bind \"fd@${{{}}}\"", variable(index)));
        if let Some(tls) = listener.protocol.termination() {
            let list = paths::certificate_list(run, &service.name, listener.port);
            let list = quote("path", &list.display().to_string())?;
            line.add(format_args!("ssl crt-list {list}"));
            termination(&mut line, tls)?;
        }
        lines.add(line);
    }
    Ok(())
}

fn termination(line: &mut Words, tls: &Termination) -> Result<(), Error> {
    terms(line, &tls.terms)?;
    if !tls.tickets {
        line.add("no-tls-tickets");
    }
    if !tls.alpn.is_empty() {
        line.add(format_args!("alpn {}", quote_list(&tls.alpn)?));
    }
    Ok(())
}

/// A list of plain words is not quoted.
fn quote_list(words: &[String]) -> Result<String, Error> {
    let list = words.join(",");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,".contains(letter);
    if list.chars().all(plain) {
        return Ok(list);
    }
    quote("protocol of ALPN", &list)
}

/// Versions and ciphers, for `bind` and `server`. Leaves out what the section `global` has already.
pub(super) fn terms(line: &mut Words, terms: &Terms) -> Result<(), Error> {
    if terms.min != Version::V12 {
        line.add(format_args!("ssl-min-ver {}", version(terms.min)));
    }
    if let Some(max) = terms.max {
        line.add(format_args!("ssl-max-ver {}", version(max)));
    }
    if let Some(ciphers) = &terms.ciphers {
        line.add(format_args!("ciphers {}", quote("cipher list", ciphers)?));
    }
    if let Some(suites) = &terms.suites {
        line.add(format_args!(
            "ciphersuites {}",
            quote("cipher suites", suites)?
        ));
    }
    Ok(())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::V10 => "TLSv1.0",
        Version::V11 => "TLSv1.1",
        Version::V12 => "TLSv1.2",
        Version::V13 => "TLSv1.3",
    }
}
