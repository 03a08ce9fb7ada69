//! A program that a person works with in a terminal, such as an editor.

use std::{
    ffi::OsStr,
    io,
    path::Path,
    process::{Command, ExitStatus},
};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Runs a program for the person who started this command, and waits for its end. It works in their place: it has their
/// account, environment, terminal and working directory.
#[expect(
    clippy::disallowed_methods,
    reason = "an editor needs what a child of the daemon must not have"
)]
pub fn interactive<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> io::Result<ExitStatus> {
    let _kept = [Signal::SIGINT, Signal::SIGQUIT].map(Kept::begin);
    Command::new(program).args(arguments).status()
}

/// A key that the person presses for the program sends its signal to both: this process goes on. It handles the signal, and does
/// not ignore it, since the program would inherit that.
struct Kept(Signal, Option<SigAction>);

impl Kept {
    fn begin(signal: Signal) -> Self {
        let handler = SigHandler::Handler(go_on);
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing, so nothing that it does can be unsafe.
        let before = unsafe { sigaction(signal, &action) };
        Self(signal, before.ok())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(before) = &self.1 {
            // SAFETY: this was in force before.
            unsafe { sigaction(self.0, before) }.ok();
        }
    }
}

extern "C" fn go_on(_: libc::c_int) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_for_the_program_does_not_end_this_process_and_has_its_meaning_for_the_program() {
        let shell = Path::new("/bin/sh");
        for signal in ["INT", "QUIT"] {
            let ended = interactive(shell, ["-c", &format!("kill -{signal} $PPID; exit 3")]);
            assert_eq!(ended.unwrap().code(), Some(3));
            let ended = interactive(shell, ["-c", &format!("kill -{signal} $$; exit 3")]);
            assert_eq!(ended.unwrap().code(), None, "the signal ends the program");
        }
    }
}
