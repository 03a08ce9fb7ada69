//! Files to [`Config`].

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    Config, Env, Error, Report,
    source::{Fault, Sources},
    tree,
    valid::Judge,
};

/// Directory beside the main file whose `*.toml` are read after it.
const MORE: &str = "config.d";

impl Config {
    /// Reads `main` and `config.d/*.toml` beside it, in the order of their names.
    pub fn load(main: &Path) -> Result<Self, Error> {
        let main = std::path::absolute(main).map_err(|source| Error::Read {
            path: main.to_owned(),
            source,
        })?;
        let base = main.parent().unwrap_or(&main).to_owned();
        let mut sources = Sources::default();
        add(&mut sources, main)?;
        for path in further(&base.join(MORE))? {
            add(&mut sources, path)?;
        }
        become_config(&sources, &base, &Env::current()?)
    }

    /// From one text, as if it were the file `ober.toml` in `base`.
    pub fn parse(text: &str, base: &Path, env: &Env) -> Result<Self, Error> {
        let mut sources = Sources::default();
        sources.add(base.join("ober.toml"), text.to_owned(), false);
        become_config(&sources, base, env)
    }
}

fn become_config(sources: &Sources, base: &Path, env: &Env) -> Result<Config, Error> {
    let invalid = |faults: Vec<Fault>| Error::Invalid(Report(sources.locate(faults)));
    let file = tree::read(sources, env).map_err(invalid)?;
    Judge::new(sources, base, env).config(file).map_err(invalid)
}

fn add(sources: &mut Sources, path: PathBuf) -> Result<(), Error> {
    let read = || Ok((fs::read_to_string(&path)?, fs::metadata(&path)?.mode()));
    match read() {
        Ok((text, mode)) => sources.add(path, text, exposed(mode)),
        Err(source) => return Err(Error::Read { path, source }),
    }
    Ok(())
}

/// May everybody read, or worse?
pub(super) fn exposed(mode: u32) -> bool {
    mode & 0o007 != 0
}

fn further(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(Error::Directory {
                path: directory.to_owned(),
                source,
            });
        }
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|source| Error::Directory {
        path: directory.to_owned(),
        source,
    })?;
    // Editors leave hidden files beside the one they write.
    let hidden = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !hidden(path));
    paths.sort();
    Ok(paths)
}
