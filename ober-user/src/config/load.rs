//! Turns files into a [`Config`].

use std::path::{Path, PathBuf};

use super::{
    Config, Env, Error,
    text::files::{File, Texts},
};

impl Config {
    /// Reads `main` and `config.d/*.toml` beside it, in the order of their names.
    pub fn load(main: &Path) -> Result<Self, Error> {
        let written = Texts::read(main)?;
        written.config(&base(&written.main.path), &Env::current()?)
    }

    /// Reads one text, as if it were the file `ober.toml` in `base`.
    pub fn parse(text: &str, base: &Path, env: &Env) -> Result<Self, Error> {
        let main = File {
            path: base.join("ober.toml"),
            text: text.to_owned(),
            mode: 0o600,
        };
        let more = Vec::new();
        Texts { main, more }.config(base, env)
    }
}

/// The directory at which relative paths of a main file start.
pub fn base(main: &Path) -> PathBuf {
    main.parent().unwrap_or(main).to_owned()
}
