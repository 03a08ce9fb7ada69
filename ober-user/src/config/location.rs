//! The directories of an instance, from the few keys that define them: a mistake elsewhere in a file must not keep an operator
//! from the running daemon, nor from the way back to a good configuration.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    Error, MAIN, base,
    text::{
        env::{substitute, variables},
        files,
    },
};

use crate::system::file;

/// The keys of `[node]` that define where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub instance: String,
    pub state: PathBuf,
    pub run: PathBuf,
    /// `false`: every account may write one of the files. Such a file may be used to find a daemon, but not to find programs to
    /// run.
    pub trusted: bool,
}

impl Location {
    /// Reads the configuration at `main`, with the variables of this process. An error where a guess might name another
    /// instance: the main file cannot be read, or a key is present and its value is unusable.
    pub fn of(main: &Path) -> Result<Self, Error> {
        Self::with(main, &variables())
    }

    fn with(main: &Path, variables: &BTreeMap<String, String>) -> Result<Self, Error> {
        let main = std::path::absolute(main).unwrap_or_else(|_| main.to_owned());
        let more = files::further(&main).unwrap_or_default();
        let mut texts = Vec::new();
        let mut trusted = true;
        for path in std::iter::once(&main).chain(&more) {
            match file::read(path, file::Kind::Configuration) {
                Ok(bytes) => texts.push(String::from_utf8_lossy(&bytes).into_owned()),
                // Without the default main file the instance has the default directories.
                Err(source) if *path == main && main != Path::new(MAIN) => {
                    return Err(Error::Read { path: main, source });
                }
                Err(_) => {}
            }
            trusted &= files::trusted(path).is_ok();
        }
        let find = |key: &'static str| {
            let found = texts.iter().find_map(|text| value(text, key));
            let said = found.map(|value| said(value, variables)).transpose();
            said.map_err(|why| Error::Location {
                path: main.clone(),
                key,
                why,
            })
        };
        let instance = find("instance")?.unwrap_or_else(|| "main".to_owned());
        let base = base(&main);
        let place = |key: &'static str, parent: &str| {
            let written = find(key)?.map(|path| base.join(path));
            Ok(written.unwrap_or_else(|| Path::new(parent).join(&instance)))
        };
        Ok(Self {
            state: place("state", "/var/lib/ober")?,
            run: place("run", "/run/ober")?,
            instance,
            trusted,
        })
    }
}

/// The value of a string; `None`: another type.
type Value = Option<String>;

fn said(value: Value, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let text = value.ok_or_else(|| "it is no string".to_owned())?;
    Ok(substitute(&text, variables)?.into_owned())
}

/// A key of `[node]` in a text; `None`: it is missing. When the text does not parse, each of its lines is parsed by itself.
fn value(text: &str, key: &str) -> Option<Value> {
    let text = text.trim_start_matches('\u{feff}');
    let (table, errors) = DeTable::parse_recoverable(text);
    let whole = node(table.get_ref()).and_then(|node| string(node, key));
    if whole.is_some() || errors.is_empty() {
        return whole;
    }
    let mut section = String::new();
    let mut found = text.lines().filter_map(|line| {
        let (table, errors) = DeTable::parse_recoverable(line);
        let table = table.get_ref();
        // A line without the closing bracket is no table header.
        if line.trim_start().starts_with('[') && line.contains(']') {
            let name = errors.is_empty().then(|| table.keys().next()).flatten();
            section = name.map_or_else(String::new, |name| name.get_ref().to_string());
            return None;
        }
        match section.as_str() {
            "node" => string(table, key),
            // `node.run = "..."` before any section.
            "" => node(table).and_then(|node| string(node, key)),
            _ => None,
        }
    });
    found.next()
}

fn node<'t>(table: &'t DeTable<'_>) -> Option<&'t DeTable<'t>> {
    table.get("node")?.get_ref().as_table()
}

fn string(table: &DeTable<'_>, key: &str) -> Option<Value> {
    Some(match table.get(key)?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn main(&self) -> PathBuf {
            self.0.path().join("ober.toml")
        }

        fn of(&self, text: impl AsRef<[u8]>) -> Result<Location, String> {
            fs::write(self.main(), text).unwrap();
            let variables = [("NAME".to_owned(), "b".to_owned())].into();
            Location::with(&self.main(), &variables).map_err(|error| error.to_string())
        }

        /// Does the text name the instance `a`, whose run directory is `here`?
        fn is_found_by(&self, text: impl AsRef<[u8]>) {
            let said = String::from_utf8_lossy(text.as_ref()).into_owned();
            let found = self.of(text).unwrap();
            let here = self.0.path().join("here");
            assert_eq!((&found.instance[..], found.run), ("a", here), "{said}");
            assert_eq!(found.state, Path::new("/var/lib/ober/a"), "{said}");
        }
    }

    #[test]
    fn an_instance_is_found_by_the_readable_part_of_a_broken_configuration() {
        let home = Home::new();
        let default = home.of("nonsense [").unwrap();
        assert_eq!(default.instance, "main");
        assert_eq!(default.state, Path::new("/var/lib/ober/main"));
        assert_eq!(default.run, Path::new("/run/ober/main"));
        home.is_found_by(
            "[node]\ninstance = 'a'\nrun = 'here'\nsampel = 1\ncluster_key = \"${NO}\"\n[workers\n",
        );
        for broken in ["nonsense", "= 1", "sample = 'often", "[node"] {
            home.is_found_by(format!(
                "[node]\n{broken}\ninstance = \"a\" # ours\nrun = 'here'\n[lists]\ninstance = 'b'\n"
            ));
        }
    }

    #[test]
    fn an_instance_is_found_however_its_section_is_written() {
        let home = Home::new();
        for head in [
            "[node]",
            "[ node ] # this machine",
            "  [\"node\"]",
            "\u{feff}[node]",
        ] {
            home.is_found_by(format!("{head}\ninstance = 'a'\nrun = 'here'\n[x\n"));
        }
        home.is_found_by("node.instance = 'a'\nnode.run = 'here'\n[x\n");
        home.is_found_by("node = { instance = 'a', run = 'here' }\n[x\n");
        home.is_found_by(b"# caf\xe9\n[node]\ninstance = 'a'\nrun = 'here'\n");
        home.is_found_by("[lists.x]\nrun = 'there'\n[node]\ninstance = 'a'\nrun = 'here'\n= 1\n");
        home.is_found_by(
            "[[services]]\nrun = 'there'\n[node]\ninstance = 'a'\nrun = 'here'\n= 1\n",
        );
    }

    #[test]
    fn an_instance_key_that_cannot_be_read_is_refused_and_no_instance_is_guessed() {
        let home = Home::new();
        for (text, why) in [
            ("[node]\ninstance = 5", "`node.instance`"),
            ("[node]\nrun = ['x']", "it is no string"),
            ("[node]\ninstance = '${OTHER}'\n[x", "`OTHER` is not set"),
        ] {
            let refused = home.of(text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(
            home.of("[node]\ninstance = '${NAME}'").unwrap().instance,
            "b"
        );
        fs::remove_file(home.main()).unwrap();
        let gone = Location::of(&home.main()).unwrap_err();
        assert!(matches!(gone, Error::Read { .. }), "{gone}");
    }

    #[test]
    fn a_world_writable_configuration_locates_the_daemon_and_is_not_trusted() {
        let home = Home::new();
        assert!(home.of("[node]\n").unwrap().trusted);
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(home.main(), open).unwrap();
        assert!(!home.of("[node]\n").unwrap().trusted);
    }
}
