//! The word that the operator typed: the program is `ober-user`, and our packages have the link `ober`. Texts for operators are
//! written with `ober-user`, also those that come from the daemon; what shows them puts in the word that was typed.

use std::{borrow::Cow, env, ffi::OsStr, path::Path, sync::OnceLock};

const PROGRAM: &str = "ober-user";
const LINK: &str = "ober";

/// `ober` if that was typed, else `ober-user`.
pub fn word() -> &'static str {
    static WORD: OnceLock<&str> = OnceLock::new();
    WORD.get_or_init(|| of(env::args_os().next().as_deref()))
}

/// A text for the operator, whose commands begin with the word that was typed.
pub fn spoken(text: &str) -> Cow<'_, str> {
    with(text, word())
}

fn of(first: Option<&OsStr>) -> &'static str {
    match first.map(Path::new).and_then(Path::file_name) {
        Some(name) if name == LINK => LINK,
        _ => PROGRAM,
    }
}

fn with<'t>(text: &'t str, word: &str) -> Cow<'t, str> {
    let is_command = |at: usize| {
        let (before, rest) = text.split_at(at);
        let behind = rest
            .strip_prefix(PROGRAM)
            .and_then(|rest| rest.strip_prefix(' '));
        // A path, or a part of a longer name, is no command.
        let is_apart = before
            .chars()
            .next_back()
            .is_none_or(|it| " `\"'(".contains(it));
        is_apart && behind.is_some() && !is_excerpt(before)
    };
    if word == PROGRAM || !text.contains(PROGRAM) {
        return Cow::Borrowed(text);
    }
    let mut spoken = String::with_capacity(text.len());
    let mut end = 0;
    for (at, found) in text
        .match_indices(PROGRAM)
        .filter(|(at, _)| is_command(*at))
    {
        spoken.push_str(text.get(end..at).unwrap_or_default());
        spoken.push_str(word);
        end = at + found.len();
    }
    spoken.push_str(text.get(end..).unwrap_or_default());
    Cow::Owned(spoken)
}

/// Is the last line one of a file that an error quotes, as in `12 | text`? Its words are the file's, and a mark below it points at
/// one of them.
fn is_excerpt(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let number = line.split_once(" | ").map(|(number, _)| number.trim());
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_known_by_its_name_and_everything_else_is_the_program() {
        for (first, word) in [
            ("ober", "ober"),
            ("/usr/bin/ober", "ober"),
            ("/usr/bin/ober-user", "ober-user"),
            ("./target/debug/ober-user-old", "ober-user"),
            ("", "ober-user"),
        ] {
            assert_eq!(of(Some(first.as_ref())), word, "{first}");
        }
        assert_eq!(of(None), "ober-user");
    }

    #[test]
    fn commands_in_a_text_get_the_word_and_paths_and_other_names_do_not() {
        for (text, expected) in [
            ("`ober-user validate` shows it", "`ober validate` shows it"),
            ("ober-user drain", "ober drain"),
            (
                "start it (`ober-user start`, or `ober-user run`)",
                "start it (`ober start`, or `ober run`)",
            ),
            (
                "/usr/bin/ober-user was replaced",
                "/usr/bin/ober-user was replaced",
            ),
            (
                "the package ober-user-dbg is",
                "the package ober-user-dbg is",
            ),
            ("man ober-user", "man ober-user"),
            (
                "see `ober-user validate`\n12 | x = \"ober-user run\"\n   | ^",
                "see `ober validate`\n12 | x = \"ober-user run\"\n   | ^",
            ),
            ("", ""),
        ] {
            assert_eq!(with(text, "ober"), expected);
            assert_eq!(with(text, "ober-user"), text);
        }
    }
}
