//! What is accepted as an answer. A check says what is wrong with one.

use std::net::IpAddr;

/// At least one, and each accepted by `check`; `what`: one of them, with an article.
pub(super) fn each<'c>(
    what: &'c str,
    check: &'c dyn Fn(&str) -> Result<(), String>,
) -> impl Fn(&[String]) -> Result<(), String> + 'c {
    move |parts| {
        something(&parts.concat(), what)?;
        parts.iter().try_for_each(|part| check(part))
    }
}

/// Hostlist expressions, or `word` alone.
pub(super) fn hosts_or(word: &str) -> impl Fn(&[String]) -> Result<(), String> + '_ {
    move |parts| match parts {
        [] => Err(format!("a hostlist or `{word}` is wanted")),
        [_, _, ..] if parts.iter().any(|it| it == word) => Err(format!(
            "`{word}` stands alone: answer with it, or with a hostlist"
        )),
        _ => Ok(()),
    }
}

/// Refuses an answer without anything in it.
pub(super) fn something(answer: &str, what: &str) -> Result<(), String> {
    if answer.is_empty() {
        return Err(format!("{what} is wanted"));
    }
    Ok(())
}

pub(super) fn address(text: &str) -> Result<(), String> {
    let read = text.parse::<IpAddr>().ok().map(drop);
    read.ok_or_else(|| format!("`{text}` is no address"))
}

pub(super) fn mail(text: &str) -> Result<(), String> {
    something(text, "a mail address")?;
    if text.contains('@') {
        return Ok(());
    }
    Err(format!("`{text}` is no mail address"))
}

/// Splits at commas, but not at those between brackets: `rgw[1,3], rgw9` is two. What is there twice counts once.
pub(super) fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for letter in text.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let mut found: Vec<String> = Vec::new();
    for part in parts.iter().map(|part| part.trim()) {
        if !part.is_empty() && found.iter().all(|it| it != part) {
            found.push(part.to_owned());
        }
    }
    found
}
