//! Turns arguments into one call and its result into an exit status. Only this file knows the numbers.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{io, process::ExitCode};

use ober_user::{
    cli::{
        Error, Ober, Outcome,
        screen::{Screen, aside, coloured},
        typed::spoken,
    },
    system::text::tame_lines,
};

const DONE: u8 = 0;
const FAILED: u8 = 1;
/// Wrong usage, which clap also reports with this number, or an invalid configuration.
const USAGE: u8 = 2;
const UNRESOLVED: u8 = 3;
const CHANGES: u8 = 4;
const LATE: u8 = 5;

fn main() -> ExitCode {
    let mut screen = Screen::stdout();
    let result = Ober::typed().run(&mut screen);
    let written = screen.flush().map_err(Error::from);
    let result = result.and_then(|outcome| match written {
        Err(error) if !error.is_broken_pipe() => Err(error),
        // What came of the command does not depend on who read all of it.
        _ => Ok(outcome),
    });
    let code = match result {
        Ok(Outcome::Done) => DONE,
        Ok(Outcome::No) => FAILED,
        Ok(Outcome::Unresolved) => UNRESOLVED,
        Ok(Outcome::Changes) => CHANGES,
        Ok(Outcome::Late) => LATE,
        Err(error) if error.is_broken_pipe() => DONE,
        Err(error) => {
            complain(&error);
            if error.is_usage() { USAGE } else { FAILED }
        }
    };
    ExitCode::from(code)
}

fn complain(error: &Error) {
    let word = if coloured(&io::stderr()) {
        "\x1b[1;31merror\x1b[0m"
    } else {
        "error"
    };
    // The error may quote a server, a name service or a program.
    aside(format_args!(
        "{word}: {}",
        spoken(&tame_lines(&error.to_string(), false))
    ));
}
