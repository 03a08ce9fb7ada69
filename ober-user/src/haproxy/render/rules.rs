//! Access rules that the XDP program does not decide.

use super::{
    Error, paths,
    route::{HOST, one_of},
    text::{Lines, quote},
};
use crate::config::Rule;

/// Rules by address only. `when` is `connection`, or `session` when the PROXY protocol gives the address.
pub(super) fn of_connections(lines: &mut Lines, rules: &[Rule], when: &str) -> Result<(), Error> {
    if !rules.iter().all(Rule::by_address) {
        return Ok(());
    }
    for (number, rule) in rules.iter().enumerate() {
        let verdict = if rule.allow { "accept" } else { "reject" };
        let condition = condition(lines, number, rule)?;
        let when_met = if condition.is_empty() { "" } else { " if " };
        lines.add(format!("tcp-request {when} {verdict}{when_met}{condition}"));
    }
    Ok(())
}

/// Rules of which at least one depends on the request: all of them wait for it. `http-request allow` would skip later
/// rules of other kinds too, so the verdict is kept in a variable.
pub(super) fn of_requests(lines: &mut Lines, rules: &[Rule]) -> Result<(), Error> {
    if rules.iter().all(Rule::by_address) {
        return Ok(());
    }
    if rules.iter().any(|rule| rule.path.is_some()) {
        paths::readings(lines);
    }
    for (number, rule) in rules.iter().enumerate() {
        let verdict = if rule.allow { "allow" } else { "deny" };
        let condition = condition(lines, number, rule)?;
        lines.add(format!(
            "http-request set-var(txn.access) str({verdict}) if !{{ var(txn.access) -m found }} {condition}"
        ));
    }
    lines.add("http-request deny deny_status 403 if { var(txn.access) -m str deny }");
    Ok(())
}

/// The condition of a rule; empty for a rule about every client.
fn condition(lines: &mut Lines, number: usize, rule: &Rule) -> Result<String, Error> {
    let mut parts = Vec::new();
    parts.extend(rule.who.map(|net| format!("{{ src {net} }}")));
    if let Some(path) = &rule.path {
        let name = format!("rule{number}:path");
        parts.push(paths::begins(lines, &name, path, rule.allow)?);
    }
    if !rule.hosts.is_empty() {
        let name = format!("rule{number}:host");
        one_of(lines, &name, HOST, &rule.hosts)?;
        parts.push(name);
    }
    if !rule.methods.is_empty() {
        let methods: Result<Vec<String>, Error> = rule
            .methods
            .iter()
            .map(|method| quote("method", method))
            .collect();
        parts.push(format!("{{ method -m str -- {} }}", methods?.join(" ")));
    }
    Ok(parts.join(" "))
}
