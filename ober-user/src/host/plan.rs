//! What a part comes to: changes, and remarks for the operator.

use serde::Serialize;

use super::{
    object::{Object, State},
    part::Part,
};

/// One change, with what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub object: Object,
    pub before: State,
    pub after: State,
    /// States in which a run that is killed meanwhile may leave it.
    #[serde(skip)]
    pub between: Vec<State>,
    /// Why, for the operator.
    pub reason: String,
}

/// How good a remark is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    Ok,
    Warning,
    /// The part, or with `os` all of it, cannot be done here.
    Refused,
}

/// What an operator should know of an object that is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    pub tone: Tone,
    pub object: String,
    pub words: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Remark {
    fn new(tone: Tone, object: impl Into<String>, words: impl Into<String>) -> Self {
        Self {
            tone,
            object: object.into(),
            words: words.into(),
            advice: None,
        }
    }

    pub fn ok(object: impl Into<String>, words: impl Into<String>) -> Self {
        Self::new(Tone::Ok, object, words)
    }

    pub fn warning(object: impl Into<String>, words: impl Into<String>) -> Self {
        Self::new(Tone::Warning, object, words)
    }

    pub fn refused(object: impl Into<String>, words: impl Into<String>) -> Self {
        Self::new(Tone::Refused, object, words)
    }

    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// A part's changes in their order, and its remarks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartPlan {
    pub part: Part,
    pub changes: Vec<Change>,
    pub remarks: Vec<Remark>,
}

impl PartPlan {
    pub fn new(part: Part) -> Self {
        Self {
            part,
            changes: Vec::new(),
            remarks: Vec::new(),
        }
    }

    pub fn is_refused(&self) -> bool {
        self.remarks.iter().any(|it| it.tone == Tone::Refused)
    }

    /// Adds a change, unless the object is so already.
    pub fn change(
        &mut self,
        object: Object,
        before: State,
        after: State,
        reason: impl Into<String>,
    ) {
        if before != after {
            self.changes.push(Change {
                object,
                before,
                after,
                between: Vec::new(),
                reason: reason.into(),
            });
        }
    }
}
