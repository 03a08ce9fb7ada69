//! The shell. A script could start any program by its name, so the shell finds only the programs that it is given.

use crate::{Command, Program};
use std::{ffi::OsStr, fmt};

/// The shell of the table.
#[derive(Debug)]
pub struct Shell(pub(crate) Program);

impl Shell {
    /// Runs this text. It knows the shell's own commands and these programs by their names; its search path is empty.
    pub fn script(&self, text: &str, programs: &[&Program]) -> Command {
        let known: Vec<String> = programs.iter().map(|program| alias(program)).collect();
        let whole = format!("PATH=/nowhere\n{}{text}", known.concat());
        self.0.args(["-ec", &whole])
    }

    /// Runs the commands one after the other up to the first that fails; the last replaces the shell.
    pub fn in_turn(&self, commands: &[&Command]) -> Command {
        let lines: Vec<String> = commands.iter().map(|command| spell(command)).collect();
        let mut text = lines.join("\n");
        if let Some((last, first)) = lines.split_last() {
            text = format!("{}\nexec {last}", first.join("\n"));
        }
        let mut shell = self.0.args(["-ec", &text]);
        for command in commands {
            shell.take_environment(command);
        }
        shell
    }

    pub const fn program(&self) -> &Program {
        &self.0
    }
}

/// Its path.
impl fmt::Display for Shell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An alias; a function would keep a shell in memory beside a program that it starts in the background.
fn alias(program: &Program) -> String {
    let path = quote(program.path().as_os_str());
    format!("alias {}={}\n", program.name(), quote(OsStr::new(&path)))
}

fn spell(command: &Command) -> String {
    command.words().map(quote).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}
