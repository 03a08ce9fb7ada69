//! `config edit`: the main file in an editor. The editor has a copy; the file itself changes only when the copy is valid.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    EXAMPLE,
    finish::{self, How},
    is_person,
    original::Original,
};
use crate::{
    cli::{
        Error, Outcome,
        screen::{Screen, note},
    },
    system::{
        child,
        file::{self, directory},
        store,
    },
};

/// Where neither variable names an editor: Debian's choice of the administrator, and what every machine has.
const EDITORS: [&str; 3] = ["/usr/bin/editor", "/usr/bin/vi", "/usr/bin/nano"];

#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    how: How,
}

impl Edit {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let original = Original::as_written(path).await?;
        let copy = Draft::make(&original)?;
        let text = match edited(&original, &copy).await {
            Ok(Some(text)) => text,
            Ok(None) => {
                copy.remove()?;
                screen.line("nothing to change")?;
                return Ok(Outcome::Done);
            }
            Err(error) => return Err(copy.kept(error)),
        };
        let dry_run = self.how.dry_run;
        match finish::finish(&original, text, self.how, screen).await {
            Ok(Outcome::No) if !dry_run => {
                copy.say();
                Ok(Outcome::No)
            }
            Ok(outcome) => {
                copy.remove()?;
                Ok(outcome)
            }
            Err(error) => Err(copy.kept(error)),
        }
    }
}

/// The valid text that the editor left; `None`: it is as it was.
async fn edited(original: &Original, copy: &Draft) -> Result<Option<String>, Error> {
    loop {
        copy.open()?;
        let text = copy.text()?;
        if text == original.main.text {
            return Ok(None);
        }
        let Err(error) = finish::judge(original, &original.with(&text)).await else {
            return Ok(Some(text));
        };
        if !is_person() {
            return Err(error);
        }
        note_lines(&error);
        let again = dialoguer::Confirm::new()
            .with_prompt("Edit it again?")
            .default(true)
            .interact()
            .map_err(|dialoguer::Error::IO(error)| Error::Prompt(error))?;
        if !again {
            return Err(error);
        }
    }
}

fn note_lines(error: &Error) {
    error.to_string().lines().for_each(note);
}

/// The file that the editor opens.
struct Draft(PathBuf);

impl Draft {
    fn make(original: &Original) -> Result<Self, Error> {
        let path = original.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let copy = Self(path.with_file_name(format!("{stem}.edit.toml")));
        let text = if original.is_new {
            EXAMPLE
        } else {
            &original.main.text
        };
        let write = || {
            path.parent().map_or(Ok(()), directory::make)?;
            let mut options = file::private();
            let mut file = options.write(true).create_new(true).open(&copy.0)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|error| {
            let why = if error.kind() == std::io::ErrorKind::AlreadyExists {
                "it is there, left by an earlier edit; put it in force with `ober-user apply`, or remove it".to_owned()
            } else {
                error.to_string()
            };
            Error::Usage(format!("write the copy {} to edit: {why}", copy.0.display()))
        })?;
        Ok(copy)
    }

    /// Has the editor open the copy, and waits for its end.
    fn open(&self) -> Result<(), Error> {
        let command = editor();
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let arguments = words
            .map(Into::into)
            .chain([self.0.clone().into_os_string()]);
        let arguments: Vec<std::ffi::OsString> = arguments.collect();
        let failed = |why: String| {
            let words = format!("edit {} with `{command}`: {why}", self.0.display());
            Error::Usage(format!(
                "{words}; name another editor in $VISUAL or $EDITOR"
            ))
        };
        let ended = child::interactive(Path::new(program), &arguments);
        let ended = ended.map_err(|error| failed(error.to_string()))?;
        if ended.success() {
            return Ok(());
        }
        Err(failed(format!("it ended with {ended}")))
    }

    fn text(&self) -> Result<String, Error> {
        let text = file::text(&self.0, file::Kind::Configuration);
        text.map_err(|error| Error::Usage(format!("read {}: {error}", self.0.display())))
    }

    fn remove(&self) -> Result<(), Error> {
        store::remove(&self.0).map_err(|error| Error::Daemon(error.into()))
    }

    fn say(&self) {
        note(format_args!(
            "what was edited is in {}; `ober-user apply {0}` puts it in force",
            self.0.display()
        ));
    }

    fn kept(&self, error: Error) -> Error {
        self.say();
        error
    }
}

fn editor() -> String {
    let named = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    named.filter(|it| !it.trim().is_empty()).unwrap_or_else(|| {
        let there = EDITORS.iter().find(|it| Path::new(it).exists());
        there.copied().unwrap_or("vi").to_owned()
    })
}
