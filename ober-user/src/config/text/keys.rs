//! The configuration as written, key by key, to show the differences of two configurations in their own words. Variables are
//! not inserted; secrets are compared but never shown.

use std::{collections::BTreeMap, fmt, ops::Range};

use toml::de::{DeArray, DeTable, DeValue};

use super::{
    files::Texts,
    source::{is_secret, secret},
};

/// The text in place of a secret.
const HIDDEN: &str = "(secret)";
/// The keys that identify a table in an array, the first of those that it has. A neighbour has an address and may have a port,
/// which others may have too.
pub(in crate::config) const NAMES: [&str; 4] = ["name", "address", "port", "vip"];

/// The names that identify one table alone: what several have identifies none of them.
pub(in crate::config) fn distinct(names: &[Option<String>]) -> Vec<Option<String>> {
    let is_alone = |own: &&String| names.iter().flatten().filter(|it| it == own).count() == 1;
    let distinct = names.iter().map(|own| own.as_ref().filter(is_alone));
    distinct.map(Option::<&String>::cloned).collect()
}

/// Every key with its value. A table in an array is identified by its name, address or port, otherwise by its number.
#[derive(Default)]
pub struct Keys(BTreeMap<Vec<String>, Value>);

#[derive(PartialEq)]
enum Value {
    One(String),
    Many(Vec<String>),
    Secret(String),
}

/// A key, or one of its values, that only one of two configurations has or that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub path: Vec<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl Difference {
    /// The difference on one line; `from`: the first part of the path that is shown.
    pub fn words(&self, from: usize) -> String {
        let name = self.path.get(from..).unwrap_or_default().join(".");
        match (&self.from, &self.to) {
            (None, Some(to)) => format!("+ {name} = {to}"),
            (Some(from), None) => format!("- {name} = {from}"),
            (Some(from), Some(to)) if from == to => {
                format!("{name}: another, which is not shown")
            }
            (from, to) => {
                let word = |value: &Option<String>| value.clone().unwrap_or_default();
                format!("{name}: {} -> {}", word(from), word(to))
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(value) => out.write_str(value),
            Self::Many(values) => write!(out, "[{}]", values.join(", ")),
            Self::Secret(_) => out.write_str(HIDDEN),
        }
    }
}

impl Keys {
    /// The changes from this to `other`, in the order of the keys.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differences = paths.into_iter().flat_map(|path| {
            let (from, to) = (self.0.get(path), other.0.get(path));
            if from == to {
                return Vec::new();
            }
            match (from, to) {
                (Some(Value::Many(from)), Some(Value::Many(to))) => several(path, from, to),
                _ => vec![difference(path, from, to)],
            }
        });
        differences.collect()
    }

    /// `hidden`: the table is in the place of a secret.
    fn table(&mut self, path: &[String], table: &DeTable<'_>, hidden: bool) {
        for (key, value) in table {
            let mut path = path.to_vec();
            path.push(key.get_ref().to_string());
            let name = key.get_ref();
            match value.get_ref() {
                DeValue::Table(table) => self.table(&path, table, hidden || is_secret(name)),
                value if hidden || secret(name) => {
                    self.0.insert(path, Value::Secret(shown(value)));
                }
                DeValue::Array(array) if tables(array) => self.array(&path, array),
                DeValue::Array(array) => {
                    let values = array.iter().map(|value| shown(value.get_ref())).collect();
                    self.0.insert(path, Value::Many(values));
                }
                value => {
                    self.0.insert(path, Value::One(shown(value)));
                }
            }
        }
    }

    fn array(&mut self, path: &[String], array: &DeArray<'_>) {
        let tables = array.iter().filter_map(|item| item.get_ref().as_table());
        let names = distinct(&tables.clone().map(name).collect::<Vec<_>>());
        for (number, table) in tables.enumerate() {
            let own = names.get(number).cloned().flatten();
            let mut path = path.to_vec();
            path.push(own.unwrap_or_else(|| (number + 1).to_string()));
            self.table(&path, table, false);
        }
    }
}

fn difference(path: &[String], from: Option<&Value>, to: Option<&Value>) -> Difference {
    Difference {
        path: path.to_vec(),
        from: from.map(ToString::to_string),
        to: to.map(ToString::to_string),
    }
}

/// The values that were added and removed, or both lists when only the order changed.
fn several(path: &[String], from: &[String], to: &[String]) -> Vec<Difference> {
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        let only = these.iter().filter(|value| !others.contains(value));
        only.cloned().collect()
    };
    let gone = only(from, to).into_iter().map(|from| (Some(from), None));
    let come = only(to, from).into_iter().map(|to| (None, Some(to)));
    let mut changed: Vec<_> = gone.chain(come).collect();
    if changed.is_empty() {
        let whole = |values: &[String]| Some(format!("[{}]", values.join(", ")));
        changed.push((whole(from), whole(to)));
    }
    let differences = changed.into_iter().map(|(from, to)| Difference {
        path: path.to_vec(),
        from,
        to,
    });
    differences.collect()
}

fn tables(array: &DeArray<'_>) -> bool {
    array.iter().any(|item| item.get_ref().is_table())
}

fn name(table: &DeTable<'_>) -> Option<String> {
    let named = NAMES.iter().find_map(|key| table.get(*key));
    named.map(|value| match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        other => shown(other),
    })
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(array) => {
            let items = array.iter().map(|item| shown(item.get_ref()));
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        DeValue::Table(_) => "{...}".to_owned(),
    }
}

impl Keys {
    /// The keys that have values.
    pub fn paths(&self) -> impl Iterator<Item = &Vec<String>> {
        self.0.keys()
    }
}

impl Texts {
    /// The configuration as written, key by key. Texts that are not TOML are left out.
    pub fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        for file in self.files() {
            let (table, _) = DeTable::parse_recoverable(&file.text);
            keys.table(&[], table.get_ref(), false);
        }
        keys
    }
}

/// The text without its secrets, including those in comments.
pub fn without_secrets(text: &str) -> String {
    let mut spans = Vec::new();
    let (table, _) = DeTable::parse_recoverable(text);
    secrets(table.get_ref(), false, &mut spans);
    spans.sort_by_key(|span| std::cmp::Reverse(span.start));
    let mut text = text.to_owned();
    for span in spans {
        if text.get(span.clone()).is_some() {
            text.replace_range(span, &format!("\"{HIDDEN}\""));
        }
    }
    let lines = text.split_inclusive('\n').map(|line| {
        let comment = line.split_once('#').map_or("", |(_, comment)| comment);
        if secret(comment) && comment.contains('=') {
            let (before, _) = line.split_once('#').unwrap_or((line, ""));
            return format!("{before}# {HIDDEN}\n");
        }
        line.to_owned()
    });
    lines.collect()
}

/// The places of secrets in a table. `hidden`: it is in the place of one.
fn secrets(table: &DeTable<'_>, hidden: bool, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let name = key.get_ref();
        match value.get_ref() {
            // The span of a table, and of `[[tables]]`, is that of its header.
            DeValue::Table(table) => secrets(table, hidden || is_secret(name), spans),
            DeValue::Array(array) if tables(array) => {
                within(array, hidden || is_secret(name), spans);
            }
            _ if hidden || secret(name) => spans.push(value.span()),
            DeValue::Array(array) => within(array, false, spans),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
}

fn within(array: &DeArray<'_>, hidden: bool, spans: &mut Vec<Range<usize>>) {
    for item in array {
        match item.get_ref() {
            DeValue::Table(table) => secrets(table, hidden, spans),
            DeValue::Array(array) => within(array, hidden, spans),
            _ if hidden => spans.push(item.span()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::text::files::File;

    fn keys(text: &str) -> Keys {
        let main = File {
            path: "/ober.toml".into(),
            text: text.to_owned(),
            mode: 0o600,
        };
        let more = Vec::new();
        Texts { main, more }.keys()
    }

    fn described(from: &str, to: &str) -> Vec<String> {
        let differences = keys(from).differences(&keys(to));
        let lines = differences.into_iter().map(|difference| {
            let word = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            let Difference { path, from, to } = difference;
            format!("{}: {} > {}", path.join("."), word(from), word(to))
        });
        lines.collect()
    }

    #[test]
    fn two_texts_differ_in_the_keys_that_differ_and_not_in_order_notation_or_comments() {
        let one = "a.b = 1\nc = ['x', 'y']\n[[services]]\nname = 's3'\nlisteners = [{port = 80, access = 'open'}]\n";
        let same = "# a comment\nc = [\"x\", \"y\"]\na = { b = 1 }\n[[services]]\nname = 's3'\n\
                    [[services.listeners]]\naccess = 'open'\nport = 80\n";
        assert_eq!(described(one, same), Vec::<String>::new());
        let other = "a.b = 2\nc = ['y', 'z']\n[[services]]\nname = 's3'\n\
                     [[services.listeners]]\nport = 81\n";
        assert_eq!(
            described(one, other),
            [
                "a.b: 1 > 2",
                "c: \"x\" > -",
                "c: - > \"z\"",
                "services.s3.listeners.80.access: \"open\" > -",
                "services.s3.listeners.80.port: 80 > -",
                "services.s3.listeners.81.port: - > 81",
            ]
        );
        assert_eq!(
            described("c = ['x', 'y']", "c = ['y', 'x']"),
            ["c: [\"x\", \"y\"] > [\"y\", \"x\"]"]
        );
    }

    #[test]
    fn a_changed_secret_is_reported_and_never_shown() {
        let text =
            |word: &str| format!("[[bgp.neighbours]]\naddress = '10.0.0.1'\npassword = '{word}'\n");
        assert_eq!(
            described(&text("hush"), &text("hushed")),
            ["bgp.neighbours.10.0.0.1.password: (secret) > (secret)"]
        );
    }

    #[test]
    fn what_several_tables_have_identifies_none_of_them_and_an_address_comes_before_a_port() {
        let neighbours = |as_number: u32| {
            let ports = "[[n]]\naddress = '10.0.0.1'\nport = 1790\n[[n]]\naddress = '10.0.0.2'\nport = 1790\n";
            let third = "[[n]]\naddress = '10.0.0.3'\n[[m]]\nname = 'a'\n[[m]]\nname = 'a'\n";
            format!("{ports}as = {as_number}\n{third}as = {as_number}\n")
        };
        assert_eq!(
            described(&neighbours(1), &neighbours(2)),
            ["m.2.as: 1 > 2", "n.10.0.0.2.as: 1 > 2"]
        );
    }

    #[test]
    fn a_secret_is_hidden_in_a_list_and_in_a_table_and_a_name_like_one_hides_nothing() {
        let text = "token = ['hush', 'hushed']\n[node.cluster_key]\nvalue = 'hush'\n\
                    [lists.token-users]\nsources = ['10.0.0.1']\n[[a]]\nb = [[{ password = 'hush' }]]\n\
                    [[b.password]]\nvalue = 'hush'\n";
        let shown = without_secrets(text);
        assert!(!shown.contains("hush"), "{shown}");
        assert!(
            shown.contains("[lists.token-users]\nsources = ['10.0.0.1']"),
            "{shown}"
        );
        let said = described("", text).join("\n");
        assert!(!said.contains("hush"), "{said}");
        assert!(
            said.contains("lists.token-users.sources: - > [\"10.0.0.1\"]"),
            "{said}"
        );
    }

    #[test]
    fn a_text_is_shown_without_its_secrets_wherever_they_stand() {
        let text = "[node]\ncluster_key = \"\"\"\nhush\nhushed\"\"\"\ncluster_key_file = 'f' # as the password\n\
                    bgp = { neighbours = [{ password = \"hush\", port = 1 }] }\n# password = \"hush\"\ntoken = 'hush' # b\n";
        let shown = without_secrets(text);
        assert!(!shown.contains("hush"), "{shown}");
        assert!(
            shown.contains("cluster_key_file = 'f' # as the password")
                && shown.contains("port = 1"),
            "{shown}"
        );
        assert_eq!(without_secrets("a = 1\n"), "a = 1\n");
    }
}
