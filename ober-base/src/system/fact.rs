//! A fact about this machine has three values: yes, no, and "could not ask". A process without a free descriptor, or a kernel
//! without memory, cannot ask; that is no answer, so the last answer stays in force.

use std::io;

/// The answer to a question that is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Yes,
    No,
    /// The question could not be asked, and why.
    Unasked(String),
}

impl Fact {
    /// An error other than a shortage counts as "no": the object is not there, or is not what it was.
    pub fn of(answer: io::Result<bool>) -> Self {
        match answer {
            Ok(answer) => answer.into(),
            Err(error) if is_shortage(&error) => Self::Unasked(error.to_string()),
            Err(_) => Self::No,
        }
    }

    /// Both. A first "no" decides, so `other` is not asked then.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Yes => other(),
            Self::No => Self::No,
            Self::Unasked(why) => match other() {
                Self::No => Self::No,
                Self::Yes | Self::Unasked(_) => Self::Unasked(why),
            },
        }
    }

    pub fn known(&self) -> Option<bool> {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Unasked(_) => None,
        }
    }
}

impl From<bool> for Fact {
    fn from(answer: bool) -> Self {
        if answer { Self::Yes } else { Self::No }
    }
}

/// Does this process, or the kernel, lack a resource that asking needs?
pub fn is_shortage(error: &io::Error) -> bool {
    const SHORT: [i32; 5] = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOBUFS,
        libc::EINTR,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| SHORT.contains(&errno))
}

/// The last answer to one question. An error is logged when it cannot be asked any more, and a line when it can again.
#[derive(Debug)]
pub struct Kept<T> {
    what: &'static str,
    last: Option<T>,
    silent: bool,
}

impl<T: Clone> Kept<T> {
    /// `what`: the question, for the log.
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            last: None,
            silent: false,
        }
    }

    /// The answer in force after this one; `None`: there was none yet. `Err`: why it could not be asked.
    pub fn learn(&mut self, answer: Result<T, String>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if std::mem::take(&mut self.silent) {
                    tracing::info!(what = self.what, "it can be asked again");
                }
                self.last = Some(answer);
            }
            Err(why) => {
                if !std::mem::replace(&mut self.silent, true) {
                    tracing::error!(
                        what = self.what,
                        why,
                        "this could not be asked, so the last answer stays in force; raise the limit on open files of the \
                         daemon, or see what uses them up (`ls /proc/PID/fd`)"
                    );
                }
            }
        }
        self.last.clone()
    }
}

impl Kept<bool> {
    /// As [`Self::learn`]; before the first answer it is no.
    pub fn holds(&mut self, fact: Fact) -> bool {
        let answer = match fact {
            Fact::Yes => Ok(true),
            Fact::No => Ok(false),
            Fact::Unasked(why) => Err(why),
        };
        self.learn(answer).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(number: i32) -> Fact {
        Fact::of(Err(io::Error::from_raw_os_error(number)))
    }

    #[test]
    fn a_shortage_leaves_a_fact_unknown_and_any_other_error_makes_it_false() {
        for number in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR] {
            assert_eq!(errno(number).known(), None, "{number}");
        }
        for number in [libc::ENOENT, libc::EACCES, libc::EINVAL, libc::EIO] {
            assert_eq!(errno(number).known(), Some(false), "{number}");
        }
        assert_eq!(
            [Fact::of(Ok(true)), Fact::of(Ok(false))],
            [Fact::Yes, Fact::No]
        );
    }

    #[test]
    fn of_two_facts_one_false_makes_both_false_and_one_unknown_leaves_them_unknown() {
        let all = [Fact::Yes, Fact::No, Fact::Unasked("x".into())];
        let known = all.each_ref().map(|one| {
            all.each_ref()
                .map(|other| one.clone().and(|| other.clone()).known())
        });
        let [yes, no, unknown] = [Some(true), Some(false), None];
        assert_eq!(
            known,
            [[yes, no, unknown], [no, no, no], [unknown, no, unknown]]
        );
    }

    #[test]
    fn a_fact_keeps_its_last_value_while_it_cannot_be_asked_and_is_false_before() {
        let mut kept = Kept::new("test");
        let unasked = || Fact::Unasked("x".into());
        assert!(!kept.holds(unasked()));
        for last in [true, false] {
            assert_eq!(kept.holds(last.into()), last);
            assert_eq!(kept.holds(unasked()), last);
            assert_eq!(kept.holds(unasked()), last);
        }
    }
}
