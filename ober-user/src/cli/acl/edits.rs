//! Turns what a user wrote into what is sent to the daemon. Paths become absolute and standard input is read here, since the
//! daemon has its own working directory and its own standard input.

use std::io::{self, IsTerminal as _, Read as _};

use crate::{
    api::{Edit, How, Target},
    cli::{Error, screen::note},
    names::hostlist::{anchor, stdin_text},
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
            note("reading names from standard input, one a line, up to end of file (Ctrl-D)");
        }
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map_err(Error::Stdin)?;
        Ok(stdin_text(bytes)?)
    }
}

/// One change from its expressions. An empty expression stands for no source at all.
pub(super) fn edit(
    target: Target,
    how: How,
    expressions: &[String],
    stdin: &mut Stdin,
) -> Result<Edit, Error> {
    let dashes = expressions.iter().filter(|it| it.trim() == "-").count();
    if dashes > 0 && expressions.len() > 1 {
        let text = "`-` stands for standard input only where nothing else is written; for a range write \
                    10.0.0.1-10.0.0.9 without blanks";
        return Err(Error::Usage(text.into()));
    }
    let directory = std::env::current_dir().map_err(Error::Stdin)?;
    let mut sources = Vec::new();
    for expression in expressions {
        let expression = anchor(expression.trim(), &directory)
            .map_err(|error| Error::Usage(error.to_string()))?;
        if !expression.is_empty() {
            sources.push(expression);
        }
    }
    Ok(Edit {
        target,
        how,
        sources,
        stdin: (dashes > 0).then(|| stdin.read()).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(expressions: &[&str]) -> Result<Edit, Error> {
        let expressions: Vec<String> = expressions.iter().map(|&it| it.to_owned()).collect();
        // Standard input counts as read: a test must not wait for its own.
        let mut stdin = Stdin { taken: true };
        edit(
            Target::List("l".into()),
            How::Replace,
            &expressions,
            &mut stdin,
        )
    }

    #[test]
    fn an_empty_expression_gives_no_source() {
        let edit = made(&[" "]).unwrap();
        assert_eq!((edit.sources, edit.stdin), (vec![], None));
    }

    #[test]
    fn a_dash_means_standard_input_only_if_it_is_the_only_expression() {
        for read in [&["-"][..], &[" - "]] {
            let error = made(read).unwrap_err().to_string();
            assert!(error.contains("can be read once"), "{error}");
        }
        for refused in [
            &["10.0.0.1", "-", "10.0.0.9"][..],
            &["n1", "-"],
            &["-", "-"],
        ] {
            let error = made(refused).unwrap_err().to_string();
            assert!(error.contains("without blanks"), "{error}");
        }
        // The daemon refuses it when it expands it, with the place of the mistake.
        let whole = made(&["10.0.0.1 - 10.0.0.9"]).unwrap();
        assert_eq!(
            (whole.sources, whole.stdin),
            (vec!["10.0.0.1 - 10.0.0.9".into()], None)
        );
        assert_eq!(made(&["a-b", "--"]).unwrap().stdin, None);
    }
}
