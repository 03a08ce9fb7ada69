//! Whose fault an error is.

/// The answer decides the exit status of a command, and later the status of an HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request was wrong: the caller can correct it.
    Caller,
    /// The request was right, and could not be done.
    Node,
}

impl Blame {
    pub fn of_caller(is: bool) -> Self {
        if is { Self::Caller } else { Self::Node }
    }
}
