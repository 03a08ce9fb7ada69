//! Checks the names in a request before it is sent.

use crate::{
    api::{Question, Target},
    cli::Error,
    config::Config,
};

/// Refuses an unknown list or backend and names the known ones: a mistake of the caller, with or without a daemon.
pub(super) fn known(config: &Config, request: &Question) -> Result<(), Error> {
    let lists = || config.lists.keys().map(String::as_str);
    match request {
        Question::Show { list: Some(list) } => known_list(list, lists()),
        Question::Sync(sync) => sync.edits.iter().try_for_each(|edit| match &edit.target {
            Target::List(list) => known_list(list, lists()),
            Target::Backend(name) => known_backend(config, name),
        }),
        _ => Ok(()),
    }
}

/// Refuses a list that is not among `names`.
pub(super) fn known_list<'n>(
    list: &str,
    mut names: impl Iterator<Item = &'n str> + Clone,
) -> Result<(), Error> {
    let all = names.clone();
    if names.any(|name| name == list) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "there is no list {list:?}; the lists are {}; new ones are declared in the configuration",
        all.collect::<Vec<_>>().join(", ")
    )))
}

fn known_backend(config: &Config, name: &str) -> Result<(), Error> {
    if config.backends.contains_key(name) {
        return Ok(());
    }
    let all: Vec<&str> = config.backends.keys().map(String::as_str).collect();
    Err(Error::Usage(format!(
        "there is no backend {name:?}; the backends are {}",
        all.join(", ")
    )))
}
