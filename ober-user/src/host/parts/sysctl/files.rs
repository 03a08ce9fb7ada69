//! What files set, in the order of systemd-sysctl(8): all `*.conf` of four directories by their names alone, of equal names the
//! one of the first directory. `/etc/sysctl.conf` comes last; Debian links it as `99-sysctl.conf`, and `sysctl --system` reads it
//! last by itself.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::host::{Error, root::Root};

const DIRECTORIES: [&str; 4] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
];
const MAIN: &str = "/etc/sysctl.conf";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub file: PathBuf,
    pub line: usize,
    /// With dots; `*` stands for a part of it.
    pub key: String,
    pub value: String,
}

impl fmt::Display for Assignment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file.display(), self.line)
    }
}

impl Assignment {
    pub fn is_ours(&self) -> bool {
        self.file.as_os_str() == super::FILE
    }

    /// Is it read after the file of bootstrap?
    pub fn comes_later(&self) -> bool {
        self.comes_after(super::FILE)
    }

    /// Is it read after this file?
    pub fn comes_after(&self, file: &str) -> bool {
        let name = |path: &std::path::Path| path.file_name().map(std::ffi::OsStr::to_owned);
        self.file.as_os_str() == MAIN || name(&self.file) > name(file.as_ref())
    }

    pub fn sets(&self, key: &str) -> bool {
        let (ours, theirs) = (self.key.split('.'), key.split('.'));
        ours.clone().count() == theirs.clone().count()
            && ours.zip(theirs).all(|(ours, theirs)| fits(ours, theirs))
    }
}

/// Does a pattern with at most one `*` fit?
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    }
}

/// Every line of every file, in the order in which they take effect.
pub fn look(root: &Root) -> Result<Vec<Assignment>, Error> {
    let mut files = BTreeMap::new();
    for directory in DIRECTORIES {
        for name in root.names(directory)? {
            let path = PathBuf::from(directory).join(&name);
            if path.extension().is_some_and(|end| end == "conf") {
                files.entry(name).or_insert(path);
            }
        }
    }
    let linked = |path: &PathBuf| {
        std::fs::read_link(root.at(path)).is_ok_and(|to| to.ends_with("sysctl.conf"))
    };
    let main = (!files.values().any(linked)).then(|| PathBuf::from(MAIN));
    let mut all = Vec::new();
    for path in files.into_values().chain(main) {
        let text = root.read(&path)?.unwrap_or_default();
        all.extend(parse(&path, &text));
    }
    // A line with a pattern yields to one that names the key, wherever it is.
    all.sort_by_key(|it| !it.key.contains('*'));
    Ok(all)
}

fn parse(path: &std::path::Path, text: &str) -> Vec<Assignment> {
    let line = |(number, line): (usize, &str)| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        let key = key.trim();
        Some(Assignment {
            file: path.to_owned(),
            line: number,
            // A failure of a line that begins with `-` is ignored.
            key: key.strip_prefix('-').unwrap_or(key).replace('/', "."),
            value: value.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    };
    (1..).zip(text.lines()).filter_map(line).collect()
}
