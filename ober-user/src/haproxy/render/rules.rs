//! Access rules that the XDP program does not decide.

use super::{
    Error,
    text::{Lines, quote},
};
use crate::config::Rule;

/// By address alone. `when` is `connection`, or `session` when the PROXY protocol tells the address.
pub(super) fn of_connections(lines: &mut Lines, rules: &[Rule], when: &str) -> Result<(), Error> {
    if !rules.iter().all(Rule::by_address) {
        return Ok(());
    }
    for rule in rules {
        let verdict = if rule.allow { "accept" } else { "reject" };
        lines.add(format!("tcp-request {when} {verdict}{}", condition(rule)?));
    }
    Ok(())
}

/// As soon as one looks at the request, all of them wait for it. `http-request allow` would end the rules behind it too,
/// so the verdict is kept first.
pub(super) fn of_requests(lines: &mut Lines, rules: &[Rule]) -> Result<(), Error> {
    if rules.iter().all(Rule::by_address) {
        return Ok(());
    }
    for rule in rules {
        let verdict = if rule.allow { "allow" } else { "deny" };
        let open = " if !{ var(txn.access) -m found }";
        let condition = condition(rule)?.replacen(" if", open, 1);
        let condition = if condition.is_empty() {
            open.to_owned()
        } else {
            condition
        };
        lines.add(format!(
            "http-request set-var(txn.access) str({verdict}){condition}"
        ));
    }
    lines.add("http-request deny deny_status 403 if { var(txn.access) -m str deny }");
    Ok(())
}

/// ` if ...`, or nothing for a rule about everybody.
fn condition(rule: &Rule) -> Result<String, Error> {
    let mut parts = Vec::new();
    parts.extend(rule.who.map(|net| format!("{{ src {net} }}")));
    if let Some(path) = &rule.path {
        parts.push(format!(
            "{{ path,url_dec -m beg -- {} }}",
            quote("path", path)?
        ));
    }
    if !rule.methods.is_empty() {
        let methods: Result<Vec<String>, Error> = rule
            .methods
            .iter()
            .map(|method| quote("method", method))
            .collect();
        parts.push(format!("{{ method -m str -- {} }}", methods?.join(" ")));
    }
    if parts.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(" if {}", parts.join(" ")))
}
