//! Makes paths in expressions absolute, for a daemon that works in another directory than the caller.

use std::path::{Path, PathBuf};

/// A path in an expression ends at a blank or comma, and this path contains one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read names from {}: blanks and commas in a path end it; use another path", .0.display())]
pub struct Unreadable(pub PathBuf);

/// The expression with `@file` resolved from `directory`. The expansion reports the faults of the expression.
pub fn anchor(expression: &str, directory: &Path) -> Result<String, Unreadable> {
    let mut text = String::new();
    let mut open = false;
    let terms = expression.split_inclusive(|c| {
        // Commas inside a bracket do not end a term.
        open = match c {
            '[' => true,
            ']' => false,
            _ => open,
        };
        !open && is_separator(c)
    });
    for term in terms {
        let bare = term.trim_end_matches(is_separator);
        match bare.strip_prefix('@') {
            Some(path) if !path.is_empty() => text += &anchored(path, directory)?,
            _ => text += bare,
        }
        text += &term[bare.len()..];
    }
    Ok(text)
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ' ' | '\t' | '\n' | '\r')
}

fn anchored(path: &str, directory: &Path) -> Result<String, Unreadable> {
    let whole = directory.join(path);
    match whole.to_str() {
        Some(whole) if !whole.contains(is_separator) => Ok(format!("@{whole}")),
        _ => Err(Unreadable(whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_nothing_else_changes() {
        for (written, sent) in [
            ("@hosts", "@/here/hosts"),
            ("@/etc/hosts", "@/etc/hosts"),
            ("n[1-3,5],@a b@c", "n[1-3,5],@/here/a b@c"),
            ("@../x[1]", "@/here/../x[1]"),
            ("n[1,@2]", "n[1,@2]"),
            ("@", "@"),
            ("-", "-"),
            ("10.0.0.1 - 10.0.0.9", "10.0.0.1 - 10.0.0.9"),
            ("", ""),
        ] {
            assert_eq!(anchor(written, Path::new("/here")).unwrap(), sent);
        }
    }

    #[test]
    fn a_path_that_a_hostlist_would_split_is_refused() {
        let error = anchor("@x", Path::new("/a b")).unwrap_err().to_string();
        assert!(error.contains("/a b/x"), "{error}");
    }
}
