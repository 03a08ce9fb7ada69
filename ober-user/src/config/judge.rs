//! The judge: collects the faults of a configuration, and has the checks that all sections share. It knows no section.

use std::{
    collections::BTreeSet,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Env,
    text::{
        notation::{At, Key, Period},
        source::{Fault, Sources, Span},
    },
};

/// The longest time that HAProxy can count is 24 days and some hours; rounded down.
pub const LONGEST_PERIOD: Duration = Duration::from_hours(24 * 24);
/// Names become parts of paths, of socket addresses and of HAProxy's configuration.
const LONGEST_NAME: usize = 32;

/// Collects faults and goes on with the default, so that one fault does not hide the next.
pub(super) struct Judge<'j> {
    pub(super) sources: &'j Sources,
    pub(super) base: &'j Path,
    pub(super) env: &'j Env,
    pub(super) faults: Vec<Fault>,
    /// An unusable file disables only what depends on it: the configuration was in force before.
    pub(super) forgiving: bool,
    /// Faults that were forgiven.
    pub(super) forgiven: Vec<Fault>,
    /// Backends whose configuration names no kind of check.
    pub(super) assumed: BTreeSet<String>,
    /// Certificate files, read once the directory of their copies is known.
    pub(super) certificates: Vec<At<PathBuf>>,
    /// Names for which listeners want a certificate issued.
    pub(super) issued: Vec<super::sections::acme::Names>,
}

impl<'j> Judge<'j> {
    pub(super) fn new(sources: &'j Sources, base: &'j Path, env: &'j Env) -> Self {
        Self {
            sources,
            base,
            env,
            faults: Vec::new(),
            forgiving: false,
            forgiven: Vec::new(),
            assumed: BTreeSet::new(),
            certificates: Vec::new(),
            issued: Vec::new(),
        }
    }

    pub(super) fn forgiving(mut self) -> Self {
        self.forgiving = true;
        self
    }

    pub(super) fn refuse(&mut self, fault: Fault) {
        if self.forgives(&fault) {
            self.forgiven.push(fault);
        } else {
            self.faults.push(fault);
        }
    }

    fn forgives(&self, fault: &Fault) -> bool {
        self.forgiving && fault.outside
    }

    /// How many faults were forgiven so far.
    pub(super) fn forgiven(&self) -> usize {
        self.forgiven.len()
    }

    /// The number, when it is within its limits.
    pub(super) fn number<T>(
        &mut self,
        name: &str,
        key: Key<T>,
        default: T,
        limits: RangeInclusive<T>,
    ) -> T
    where
        T: Copy + Display + PartialOrd,
    {
        let Some(at) = key.0 else {
            return default;
        };
        if limits.contains(&at.value) {
            return at.value;
        }
        let (least, most) = (limits.start(), limits.end());
        let message = format!(
            "`{name}` is {}, but must be from {least} to {most}",
            at.value
        );
        self.refuse(Fault::new(at.span, message));
        default
    }

    /// A duration that is not zero.
    pub(super) fn period(&mut self, name: &str, key: Key<Period>, default: Duration) -> Duration {
        let span = key.span();
        let period = self.period_or_none(name, key, default);
        if period.is_zero() {
            self.refuse(Fault::new(span, format!("`{name}` must not be zero")));
        }
        period
    }

    /// A duration; zero means "none".
    pub(super) fn period_or_none(
        &mut self,
        name: &str,
        key: Key<Period>,
        default: Duration,
    ) -> Duration {
        let (span, Period(period)) = (key.span(), key.or(Period(default)));
        if period > LONGEST_PERIOD {
            self.refuse(Fault::new(
                span,
                format!("`{name}` is longer than 24 days, the most HAProxy can count"),
            ));
        }
        period
    }

    /// Checks the name of a service, list or backend.
    pub(super) fn name(&mut self, what: &str, name: &str, span: &Span) {
        let good =
            |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(good) {
            let help =
                format!("lower-case letters, digits and `-`, at most {LONGEST_NAME} of them");
            self.refuse(
                Fault::new(span.clone(), format!("`{name}` is no name for {what}")).help(help),
            );
        }
    }

    /// Relative paths start at the main file, not at the directory in which the daemon was started.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.base.join(written)
    }

    /// A path that is one word in HAProxy's configuration.
    pub(super) fn word_path(&mut self, at: At<String>) -> PathBuf {
        let path = self.path(&at.value);
        let bad = |letter: char| {
            letter.is_whitespace() || letter.is_control() || "\"'\\#$".contains(letter)
        };
        let text = path.to_string_lossy();
        if text.contains(bad) {
            let message = format!("HAProxy could not read the path {text:?}");
            let help = "use one without blanks, quotes, `\\`, `#` and `$`";
            self.refuse(Fault::new(at.span, message).help(help));
        }
        path
    }
}
