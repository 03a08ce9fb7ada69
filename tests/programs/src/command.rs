//! A command that is about to be started: one of the table's programs, or one of our own.

use std::{
    ffi::OsStr,
    fmt, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ExitStatus, Output, Stdio},
};

/// As the standard library's, but it starts only programs of the table and our own. Standard input is empty unless one is
/// given.
pub struct Command {
    command: std::process::Command,
    /// For messages.
    origin: String,
}

impl Command {
    #[expect(clippy::disallowed_methods, reason = "the one place that may")]
    pub(crate) fn of(file: &OsStr, origin: String) -> Self {
        let mut command = std::process::Command::new(file);
        command.stdin(Stdio::null());
        Self { command, origin }
    }

    /// A program that this repository builds, or that a test wrote.
    ///
    /// # Panics
    ///
    /// When it is a program of the machine: those are in the table.
    pub fn own(file: impl AsRef<Path>) -> Self {
        let file = file.as_ref();
        let is_foreign = file.starts_with("/usr/lib")
            || crate::search_path()
                .iter()
                .any(|place| file.parent() == Some(place));
        assert!(
            file.is_absolute() && !is_foreign,
            "{} is not our own: give it a line in the table of ober-programs",
            file.display()
        );
        Self::of(file.as_os_str(), "built here".to_owned())
    }

    /// The running program once more.
    pub fn again() -> io::Result<Self> {
        let own = std::env::current_exe()?;
        Ok(Self::of(own.as_os_str(), "this program".to_owned()))
    }

    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(arguments);
        self
    }

    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.command.env_remove(name);
        self
    }

    pub fn env_clear(&mut self) -> &mut Self {
        self.command.env_clear();
        self
    }

    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.command.current_dir(directory);
        self
    }

    pub fn stdin(&mut self, input: impl Into<Stdio>) -> &mut Self {
        self.command.stdin(input);
        self
    }

    pub fn stdout(&mut self, output: impl Into<Stdio>) -> &mut Self {
        self.command.stdout(output);
        self
    }

    pub fn stderr(&mut self, errors: impl Into<Stdio>) -> &mut Self {
        self.command.stderr(errors);
        self
    }

    /// Sets the name under which the program finds itself in its arguments.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg0(name);
        self
    }

    pub fn uid(&mut self, uid: u32) -> &mut Self {
        self.command.uid(uid);
        self
    }

    pub fn gid(&mut self, gid: u32) -> &mut Self {
        self.command.gid(gid);
        self
    }

    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.command.process_group(group);
        self
    }

    /// # Safety
    ///
    /// As the standard library's: between fork and exec only what is async-signal-safe may run.
    pub unsafe fn pre_exec(
        &mut self,
        work: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        // SAFETY: the caller's promise.
        unsafe { self.command.pre_exec(work) };
        self
    }

    /// The name of the file that is started.
    pub fn name(&self) -> String {
        let program = Path::new(self.command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Program and arguments.
    pub fn words(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.command.get_program()).chain(self.command.get_args())
    }

    pub fn spawn(&mut self) -> io::Result<Child> {
        let child = self.command.spawn();
        child.map_err(|error| self.explain(&error))
    }

    pub fn output(&mut self) -> io::Result<Output> {
        let output = self.command.output();
        output.map_err(|error| self.explain(&error))
    }

    pub fn status(&mut self) -> io::Result<ExitStatus> {
        let status = self.command.status();
        status.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "; `cargo xtask setup` installs what is missing",
            _ => "",
        };
        let text = format!("start {}: {error}{advice}", self.origin);
        io::Error::new(error.kind(), text)
    }

    /// Adds another command as the one that this command starts.
    pub(crate) fn hand_over(&mut self, inner: &Self) {
        self.args(inner.words());
        self.take_environment(inner);
    }

    /// Takes over the environment that another command sets, and its directory.
    pub(crate) fn take_environment(&mut self, inner: &Self) {
        for (name, value) in inner.command.get_envs() {
            match value {
                Some(value) => self.command.env(name, value),
                None => self.command.env_remove(name),
            };
        }
        if let Some(directory) = inner.command.get_current_dir() {
            self.current_dir(directory);
        }
    }
}

/// The command as typed in a shell, without quotes.
impl fmt::Debug for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self
            .command
            .get_args()
            .map(OsStr::to_string_lossy)
            .collect();
        write!(out, "`{} {}`", self.name(), words.join(" "))
    }
}
