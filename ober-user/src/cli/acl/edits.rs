//! What a user wrote to what is sent: paths made absolute, since the daemon has another working directory, and
//! standard input read here, since the daemon has another one.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use crate::{
    api::{Edit, How, Target},
    cli::Error,
};

/// Standard input, which can be read once.
#[derive(Default)]
pub(super) struct Stdin {
    taken: bool,
}

impl Stdin {
    fn read(&mut self) -> Result<String, Error> {
        if self.taken {
            let text = "`-` may be written for one list only: standard input can be read once";
            return Err(Error::Usage(text.into()));
        }
        self.taken = true;
        if io::stdin().is_terminal() {
            eprintln!("reading names from standard input, one a line, up to end of file (Ctrl-D)");
        }
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .map_err(Error::Stdin)?;
        Ok(text)
    }
}

/// One change from its expressions. An empty expression names nobody.
pub(super) fn edit(
    target: Target,
    how: How,
    expressions: &[String],
    stdin: &mut Stdin,
) -> Result<Edit, Error> {
    let directory = std::env::current_dir().map_err(Error::Stdin)?;
    let mut sources = Vec::new();
    let mut wants_stdin = false;
    for expression in expressions {
        let absolute = absolute(expression, &directory)?;
        wants_stdin |= absolute.stdin;
        if !absolute.text.trim().is_empty() {
            sources.push(absolute.text);
        }
        if absolute.stdin {
            sources.push("-".to_owned());
        }
    }
    Ok(Edit {
        target,
        how,
        sources,
        stdin: wants_stdin.then(|| stdin.read()).transpose()?,
    })
}

struct Absolute {
    text: String,
    stdin: bool,
}

/// The expression with absolute paths and without `-`, which is a source of its own. Faults are left for whoever expands it to find.
fn absolute(expression: &str, directory: &Path) -> Result<Absolute, Error> {
    let mut text = String::new();
    let mut stdin = false;
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
        let end = &term[bare.len()..];
        if bare == "-" {
            stdin = true;
            continue;
        }
        match bare.strip_prefix('@') {
            Some(path) if !path.is_empty() => text += &anchored(path, directory)?,
            _ => text += bare,
        }
        text += end;
    }
    if stdin {
        text = text.trim_matches(is_separator).to_owned();
    }
    Ok(Absolute { text, stdin })
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ' ' | '\t' | '\n' | '\r')
}

fn anchored(path: &str, directory: &Path) -> Result<String, Error> {
    let whole = directory.join(path);
    match whole.to_str() {
        Some(whole) if !whole.contains(is_separator) => Ok(format!("@{whole}")),
        _ => Err(Error::Usage(format!(
            "read names from {}: blanks and commas in a path end it; use another path, or `- < FILE`",
            whole.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(expression: &str) -> String {
        absolute(expression, Path::new("/here")).unwrap().text
    }

    #[test]
    fn paths_become_absolute_and_nothing_else_changes() {
        for (written, sent) in [
            ("@hosts", "@/here/hosts"),
            ("@/etc/hosts", "@/etc/hosts"),
            ("n[1-3,5],@a b@c", "n[1-3,5],@/here/a b@c"),
            ("@../x[1]", "@/here/../x[1]"),
            ("n[1,@2]", "n[1,@2]"),
            ("@", "@"),
            ("", ""),
        ] {
            assert_eq!(made(written), sent);
        }
    }

    #[test]
    fn a_dash_alone_is_standard_input_and_a_dash_in_a_name_is_not() {
        let stdin = |expression| absolute(expression, Path::new("/")).unwrap().stdin;
        assert!(stdin("-") && stdin("a,-") && stdin("- b"));
        assert!(!stdin("a-b") && !stdin("n[1-2]") && !stdin("--"));
    }

    #[test]
    fn a_path_that_would_be_cut_is_refused() {
        let error = absolute("@x", Path::new("/a b")).err().unwrap().to_string();
        assert!(error.contains("/a b/x"), "{error}");
    }

    #[test]
    fn an_empty_expression_names_nobody() {
        let target = Target::List("l".into());
        let edit = edit(target, How::Replace, &[" ".into()], &mut Stdin::default()).unwrap();
        assert_eq!((edit.sources, edit.stdin), (vec![], None));
    }
}
