//! Which keys there are, by the schema.

use serde_json::Value;

use super::{edit::Key, schema::schema, text::error::suggestion};

/// Why there is no such key; `None`: there is.
pub fn unknown(key: &Key) -> Option<String> {
    let schema = schema();
    below(&schema, &schema, "", key.parts())
}

/// The same for the parts of a key below the key of the name `above`, whose schema is `at`.
fn below(schema: &Value, at: &Value, above: &str, parts: &[String]) -> Option<String> {
    let (first, rest) = parts.split_first()?;
    let at = resolved(schema, at);
    if let Some(element) = at.get("items") {
        let behind = parts.get(name_length(parts)..).unwrap_or_default();
        return below(schema, element, above, behind);
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
