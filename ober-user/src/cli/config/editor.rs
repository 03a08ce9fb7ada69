//! `config edit`: the main file in an editor. The editor has a copy; the file itself changes only when the copy is valid.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    EXAMPLE,
    finish::{self, How, Judged},
    is_person,
    original::Original,
};
use crate::{
    cli::{
        Error, Outcome,
        screen::{Screen, agree, note},
        unit,
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
        let judged = match edited(&original, &copy, &self.how).await {
            Ok(Some(judged)) => judged,
            Ok(None) => {
                copy.remove()?;
                return finish::unchanged(&original, &self.how, screen);
            }
            Err(error) => {
                copy.say();
                return Err(error);
            }
        };
        let ended = finish::finish(&original, judged, self.how, screen).await;
        // It may be in force although a worker could not be replaced.
        if copy.is_in_place() {
            copy.remove()?;
        } else {
            copy.say();
        }
        ended
    }
}

/// The valid text that the editor left; `None`: it is as it was.
async fn edited(original: &Original, copy: &Draft, how: &How) -> Result<Option<Judged>, Error> {
    loop {
        copy.open()?;
        let text = copy.text()?;
        if text == copy.begun {
            return Ok(None);
        }
        let error = match finish::judge(original, &text, how).await {
            Ok(judged) => return Ok(Some(judged)),
            Err(error) => error,
        };
        if !is_person() {
            return Err(error);
        }
        error.to_string().lines().for_each(note);
        if !agree("Edit it again?", true)? {
            return Err(error);
        }
    }
}

/// The file that the editor opens. No other account may read it: the main file may have secrets.
struct Draft {
    path: PathBuf,
    main: PathBuf,
    /// The text before it was edited.
    begun: String,
}

impl Draft {
    fn make(original: &Original) -> Result<Self, Error> {
        let main = original.path().to_owned();
        let stem = main.file_stem().unwrap_or_default().to_string_lossy();
        let path = main.with_file_name(format!("{stem}.edit.toml"));
        let begun = if original.is_new {
            EXAMPLE.to_owned()
        } else {
            original.main.text.clone()
        };
        let copy = Self { path, main, begun };
        let written = copy.write().map_err(|error| {
            let why = if error.kind() == std::io::ErrorKind::AlreadyExists {
                format!(
                    "it is there: another `config edit` has it open, or an earlier one left it; when none runs, put it in force \
                     with `{}`, or remove it",
                    copy.apply()
                )
            } else {
                error.to_string()
            };
            Error::Usage(format!("write the copy {} to edit: {why}", copy.path.display()))
        });
        written.map(|()| copy)
    }

    fn write(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), directory::make)?;
        let mut options = file::private();
        let mut file = options.write(true).create_new(true).open(&self.path)?;
        file.write_all(self.begun.as_bytes()).inspect_err(|_| {
            // A part of it would only be in the way of the next edit.
            drop(store::remove(&self.path));
        })
    }

    /// Has the editor open the copy, and waits for its end.
    fn open(&self) -> Result<(), Error> {
        let command = editor();
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let arguments = words
            .map(Into::into)
            .chain([self.path.clone().into_os_string()]);
        let arguments: Vec<std::ffi::OsString> = arguments.collect();
        let failed = |why: String| {
            let words = format!("edit {} with `{command}`: {why}", self.path.display());
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
        let text = file::text(&self.path, file::Kind::Configuration);
        text.map_err(|error| Error::Usage(format!("read {}: {error}", self.path.display())))
    }

    fn remove(&self) -> Result<(), Error> {
        store::remove(&self.path).map_err(|error| Error::Daemon(error.into()))
    }

    /// Is the text of the copy that of the main file?
    fn is_in_place(&self) -> bool {
        let main = file::text(&self.main, file::Kind::Configuration).ok();
        main.is_some() && main == self.text().ok()
    }

    /// The command that puts the copy in force.
    fn apply(&self) -> String {
        unit::command(&self.main, &format!("apply {}", self.path.display()))
    }

    fn say(&self) {
        note(format_args!(
            "what was edited is in {}; `{}` puts it in force",
            self.path.display(),
            self.apply()
        ));
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
