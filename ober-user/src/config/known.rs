//! Which keys there are, by the schema.

use serde_json::Value;

use super::{edit::Key, schema::schema, text::error::suggestion};

/// Why there is no such key; `None`: there is.
pub fn unknown(key: &Key) -> Option<String> {
    let schema = schema();
    below(&schema, &schema, "", key.parts())
}

/// Is it a table whose keys an operator names, such as `backends`? Every file may have some of them.
pub fn is_named_freely(key: &Key) -> bool {
    let schema = schema();
    let mut at = resolved(&schema, &schema);
    for part in key.parts() {
        let Some(next) = at.pointer("/properties").and_then(|it| it.get(part)) else {
            return false;
        };
        at = resolved(&schema, next);
    }
    at.get("additionalProperties").is_some_and(Value::is_object)
}

/// [`unknown`] for the parts of a key below the key of the name `above`, whose schema is `at`.
fn below(schema: &Value, at: &Value, above: &str, parts: &[String]) -> Option<String> {
    let (first, rest) = parts.split_first()?;
    let at = resolved(schema, at);
    if let Some(element) = at.get("items") {
        let after = |length: usize| {
            below(
                schema,
                element,
                above,
                parts.get(length..).unwrap_or_default(),
            )
        };
        // Names may have dots too: what follows one tells where it ends.
        if (1..parts.len()).any(|length| after(length).is_none()) {
            return None;
        }
        return after(name_length(parts));
    }
    let known = at.get("properties").and_then(Value::as_object);
    if let Some(found) = known.and_then(|known| known.get(first)) {
        return below(schema, found, first, rest);
    }
    if let Some(any) = at.get("additionalProperties").filter(|it| it.is_object()) {
        return below(schema, any, first, rest);
    }
    let Some(known) = known else {
        return Some(format!("`{above}` has a value and no keys below it"));
    };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let suggestion = suggestion(first, &names);
    Some(format!("unknown key `{first}`; {suggestion}"))
}

/// How many parts name an element of a list: an IPv4 address has dots.
fn name_length(parts: &[String]) -> usize {
    let numbers = parts.iter().take_while(|it| it.parse::<u8>().is_ok());
    if numbers.count() >= 4 { 4 } else { 1 }
}

/// The schema that is meant: behind a reference, and without `null`.
fn resolved<'s>(schema: &'s Value, at: &'s Value) -> &'s Value {
    let choices = at.get("anyOf").and_then(Value::as_array);
    let mut choices = choices.into_iter().flatten();
    let at = choices.find(|it| it.get("$ref").is_some()).unwrap_or(at);
    let name = at.get("$ref").and_then(Value::as_str);
    let found = name.and_then(|name| schema.pointer(name.trim_start_matches('#')));
    found.unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_whose_keys_an_operator_names_are_told_from_others() {
        let is = |key: &str| is_named_freely(&key.parse().unwrap());
        assert!(is("backends") && is("lists") && is("bgp.communities"));
        assert!(!is("bgp") && !is("services") && !is("node.routers") && !is("none"));
    }

    #[test]
    fn a_key_is_known_wherever_it_stands_and_a_misspelt_one_gets_the_nearest_name() {
        for known in [
            "bgp.as",
            "bgp.neighbours.192.0.2.254.password",
            "bgp.neighbours.\"2001:db8::1\".as",
            "services.s3.listeners.443.tls.min_version",
            "services.1.routes.2.hosts",
            "backends.any.check.tls.verify",
            "acme.dns.zone",
            "bgp.communities.mine",
            "lists.more",
            "vrrp",
            "vrrp.nodes.a.example.org.min_ttl",
        ] {
            assert_eq!(unknown(&known.parse().unwrap()), None, "{known}");
        }
        for (typed, why) in [
            ("bpg.as", "unknown key `bpg`; did you mean `bgp`?"),
            (
                "bgp.neighbours.192.0.2.254.pasword",
                "unknown key `pasword`; did you mean `password`?",
            ),
            (
                "services.s3.listeners.443.tls.min_versoin",
                "unknown key `min_versoin`; did you mean `min_version`?",
            ),
            ("acme.dns.zoen", "unknown key `zoen`; did you mean `zone`?"),
            ("bgp.as.more", "`as` has a value and no keys below it"),
        ] {
            assert_eq!(unknown(&typed.parse().unwrap()).as_deref(), Some(why));
        }
    }
}
