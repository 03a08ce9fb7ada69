//! What a configuration takes from the process and the machine, and `${NAME}` in its strings.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use crate::{
    config::Error,
    system::{account::Accounts, file},
};

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The environment of a configuration. Not `Debug`: variables may be secrets.
#[derive(Clone, Default)]
pub struct Env {
    /// For `${NAME}`, and `PATH` to find HAProxy.
    pub variables: BTreeMap<String, String>,
    /// CPUs that workers may be pinned to, in order.
    pub cpus: Vec<u32>,
    /// Accounts that workers and programs may run as.
    pub accounts: Accounts,
}

impl Env {
    /// The environment of this process.
    pub fn current() -> Result<Self, Error> {
        let path = Path::new(ONLINE);
        let online = file::kernel_text(path).map_err(|source| Error::Cpus {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            variables: variables(),
            cpus: cpu_list(&online),
            accounts: Accounts::current(),
        })
    }
}

/// The variables of this process that are UTF-8.
pub(crate) fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads the kernel's notation, `0-3,8`. Unreadable parts are left out.
fn cpu_list(text: &str) -> Vec<u32> {
    let ranges = text.trim().split(',').filter_map(|item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// Inserts the variables. `$${` stands for `${` itself; any other `$` is kept.
pub(crate) fn substitute<'t>(
    text: &'t str,
    variables: &BTreeMap<String, String>,
) -> Result<Cow<'t, str>, String> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            result.push_str(before);
            result.push_str("${");
            rest = after;
            continue;
        }
        result.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(unclosed)?;
        result.push_str(lookup(name, variables)?);
        rest = after;
    }
    result.push_str(rest);
    Ok(Cow::Owned(result))
}

fn lookup<'v>(name: &str, variables: &'v BTreeMap<String, String>) -> Result<&'v str, String> {
    let mut letters = name.chars();
    let starts = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !starts || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Err(format!("`{name}` is no name of an environment variable"));
    }
    let value = variables.get(name);
    value
        .map(String::as_str)
        .ok_or_else(|| format!("environment variable `{name}` is not set"))
}

fn unclosed() -> String {
    "`${` without `}`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(text: &str) -> Result<String, String> {
        let variables = [("A", "one"), ("_b2", "${A}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        substitute(text, &variables.into()).map(Cow::into_owned)
    }

    #[test]
    fn variables_are_substituted_once_and_a_doubled_dollar_escapes_the_brace() {
        for (text, result) in [
            ("plain", "plain"),
            ("a$b$", "a$b$"),
            ("${A}", "one"),
            ("<${A}${A}>", "<oneone>"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$${A}-${A}", "${A}-one"),
            ("${_b2}", "${A}"),
        ] {
            assert_eq!(put(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn an_unset_variable_is_never_read_as_empty() {
        assert_eq!(
            put("${NO}").unwrap_err(),
            "environment variable `NO` is not set"
        );
        assert_eq!(put("x${A").unwrap_err(), "`${` without `}`");
        assert_eq!(
            put("${}").unwrap_err(),
            "`` is no name of an environment variable"
        );
        assert_eq!(
            put("${A:-x}").unwrap_err(),
            "`A:-x` is no name of an environment variable"
        );
    }

    #[test]
    fn the_kernels_list_of_cpus_is_read() {
        assert_eq!(cpu_list("0-2,5,8-9\n"), [0, 1, 2, 5, 8, 9]);
        assert_eq!(cpu_list("0\n"), [0]);
        assert!(cpu_list("\n").is_empty());
    }
}
