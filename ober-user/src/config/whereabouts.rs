//! Where an instance keeps its things, even when its configuration is bad: whoever wants to go back to a good one must be
//! able to find it.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Env, base, env::substitute};

use crate::file;

/// What of `[node]` says where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    pub instance: String,
    pub state: PathBuf,
    pub run: PathBuf,
}

impl Whereabouts {
    /// Of the configuration at `main`. What cannot be read there is taken for its default.
    pub fn of(main: &Path, env: &Env) -> Self {
        let main = std::path::absolute(main).unwrap_or_else(|_| main.to_owned());
        let base = base(&main);
        let more = super::written::further(&main).unwrap_or_default();
        let read = |path: PathBuf| {
            let bytes = file::read(&path, file::Kind::Configuration)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let texts = std::iter::once(main).chain(more).map(read);
        let texts: Vec<String> = texts.filter_map(Result::ok).collect();
        let find = |key: &str| {
            let mut found = texts.iter().filter_map(|text| written(text, key));
            let text = found.next()?;
            Some(substitute(&text, &env.variables).ok()?.into_owned())
        };
        let instance = find("instance").unwrap_or_else(|| "main".to_owned());
        let place = |key: &str, parent: &str| {
            let written = find(key).map(|path| base.join(path));
            written.unwrap_or_else(|| Path::new(parent).join(&instance))
        };
        Self {
            state: place("state", "/var/lib/ober"),
            run: place("run", "/run/ober"),
            instance,
        }
    }
}

/// A string of `[node]` in a text. Where that is broken, each of its lines is read by itself.
fn written(text: &str, key: &str) -> Option<String> {
    let table = DeTable::parse_recoverable(text).0.into_inner();
    let node = table.get("node").and_then(|node| node.get_ref().as_table());
    let whole = node.and_then(|node| string(node, key));
    whole.or_else(|| {
        let lines = text.lines().map(str::trim);
        let node = lines.skip_while(|line| *line != "[node]").skip(1);
        let mut node = node.take_while(|line| !(line.starts_with('[') && line.contains(']')));
        node.find_map(|line| string(DeTable::parse_recoverable(line).0.get_ref(), key))
    })
}

fn string(table: &DeTable<'_>, key: &str) -> Option<String> {
    match table.get(key)?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_instance_is_found_by_what_is_left_of_its_configuration() {
        let home = tempfile::tempdir().unwrap();
        let main = home.path().join("ober.toml");
        let of = |text: &str| {
            fs::write(&main, text).unwrap();
            Whereabouts::of(&main, &Env::default())
        };
        let default = of("nonsense [");
        assert_eq!(default.instance, "main");
        assert_eq!(default.state, Path::new("/var/lib/ober/main"));
        let bad = of(
            "[node]\ninstance = 'a'\nrun = 'here'\nsampel = 1\ncluster_key = \"${NO}\"\n[workers\n",
        );
        assert_eq!(
            (&bad.instance[..], bad.run),
            ("a", home.path().join("here"))
        );
        assert_eq!(bad.state, Path::new("/var/lib/ober/a"));
        for broken in ["nonsense", "= 1", "sample = 'often", "[node"] {
            let bad = of(&format!(
                "[node]\n{broken}\ninstance = \"a\" # ours\nrun = 'here'\n[lists]\ninstance = 'b'\n"
            ));
            assert_eq!(
                (&bad.instance[..], bad.run),
                ("a", home.path().join("here")),
                "{broken}"
            );
        }
        let gone = Whereabouts::of(Path::new("/nonexistent/ober.toml"), &Env::default());
        assert_eq!(gone, default);
    }
}
