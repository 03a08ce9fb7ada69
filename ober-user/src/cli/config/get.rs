//! `config get`.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::original::Original;
use crate::{
    cli::{
        Error, Json, Outcome,
        screen::{self, Screen},
    },
    config::{
        self, File,
        edit::{Key, View},
        without_secrets,
    },
};

#[derive(Debug, Args)]
pub(super) struct Get {
    /// The key, as in `config --set`; of a table, all that is written in it
    key: Key,
    #[command(flatten)]
    json: Json,
}

impl Get {
    pub(super) async fn run(self, path: &Path, screen: &mut Screen) -> Result<Outcome, Error> {
        let original = Original::read(path).await?;
        if original.is_new {
            let (path, source) = (path.to_owned(), std::io::ErrorKind::NotFound.into());
            return Err(config::Error::Read { path, source }.into());
        }
        let files = std::iter::once(&original.main).chain(&original.further);
        let files: Vec<File> = files.map(shown).collect();
        let view = View::of(&files);
        let value = view.get(&self.key);
        if let (None, Some(why)) = (value, config::unknown(&self.key)) {
            return Err(Error::Usage(format!("get `{}`: {why}", self.key)));
        }
        if self.json.json {
            screen.json(&value)?;
        } else {
            match value {
                Some(value) => screen.line(words(&self.key, value)?)?,
                None => screen::note(format_args!(
                    "`{}` is not written, so it has its default: `ober-user config example` shows it",
                    self.key
                )),
            }
        }
        Ok(value.map_or(Outcome::No, |_| Outcome::Done))
    }
}

fn shown(file: &File) -> File {
    File {
        text: without_secrets(&file.text),
        ..file.clone()
    }
}

/// A text as it is, for scripts; anything else as TOML.
fn words(key: &Key, value: &Value) -> Result<String, Error> {
    let toml = |value: &Value| {
        let text = toml::to_string(value);
        text.map_err(|error| Error::Usage(format!("show `{key}`: {error}")))
    };
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => toml(value)?.trim_end().to_owned(),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let last = key.to_string();
            let last = last.rsplit('.').next().unwrap_or_default();
            toml(&json!({ last: value }))?.trim_end().to_owned()
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    })
}
