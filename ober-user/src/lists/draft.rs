//! The part of a change of lists that needs no `AccessLists`: reading the sources and resolving the names. It begins with a
//! copy of the state it depends on and ends with [`Heard`], which `AccessLists` accepts if the lists have not changed
//! meanwhile.

use std::{collections::BTreeSet, io::Read as _, path::PathBuf, sync::Arc, time::Duration};

use super::{
    AccessLists, Error,
    expand::{self, Expanded, Run, Text},
    stored::Stored,
    text_diff,
};
use crate::{
    dataplane::access::Diff,
    lists::edit::{Edit, How, Sync, Target},
    names::{
        hostlist::Cap,
        resolve::{Answers, Names, Resolve, resolve},
        slurm::NodeAddrs,
    },
    system::file,
};

/// The time limit for reading the files of one list; a million addresses take a second.
const PATIENCE: Duration = Duration::from_mins(1);

/// A change of some lists, with the state it depends on.
#[derive(Clone)]
pub struct Draft {
    questions: Arc<Vec<Question>>,
    how: Resolve,
    /// False when every name keeps the addresses it had.
    asks: bool,
}

/// One list of the change.
struct Question {
    name: String,
    edit: Edit,
    prune: bool,
    cap: usize,
    version: u64,
    /// Is it known that the kernel's maps hold the list as this `AccessLists` left it?
    sure: bool,
    /// The list before the edit, and the entries that its sources count against the cap.
    before: Stored,
    used: u64,
    text: Option<Arc<Vec<u8>>>,
    /// The list after the edit, and the file for standard input.
    after: Stored,
    file: PathBuf,
}

/// The new state of a list: the result of a draft.
pub struct Heard {
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) how: How,
    pub(super) stored: Stored,
    pub(super) expanded: Expanded,
    /// The text of the only source, if it may be kept for comparison.
    pub(super) text: Option<Vec<u8>>,
    /// The file in which standard input is kept, and its text.
    pub(super) stdin: Option<(PathBuf, String)>,
}

/// A question after its sources were read.
enum Read {
    /// No name has to be resolved.
    Whole(Expanded),
    Runs {
        runs: Vec<Run>,
        used: u64,
        /// The runs are added to a list whose other entries stay.
        more: bool,
    },
}

impl AccessLists {
    /// A draft of all edits of lists; edits of backends are left out.
    pub fn draft(&self, sync: &Sync) -> Result<Draft, Error> {
        let mut questions: Vec<Question> = Vec::new();
        for edit in &sync.edits {
            if let Target::List(name) = &edit.target {
                if questions.iter().any(|known| known.name == *name) {
                    return Err(Error::Twice { list: name.clone() });
                }
                questions.push(self.question(name, edit, sync.prune)?);
            }
        }
        Ok(Draft {
            questions: Arc::new(questions),
            how: self.how.clone(),
            asks: true,
        })
    }

    /// A draft that reads the sources of a list again.
    pub fn again(&self, name: &str) -> Result<Draft, Error> {
        let edit = Edit {
            target: Target::List(name.to_owned()),
            how: How::Refresh,
            sources: Vec::new(),
            stdin: None,
        };
        self.draft(&Sync {
            edits: vec![edit],
            ..Sync::default()
        })
    }

    /// The same for every list.
    pub fn drafts(&self) -> Vec<(String, Result<Draft, Error>)> {
        let lists = self.lists.keys();
        lists.map(|name| (name.clone(), self.again(name))).collect()
    }

    fn question(&self, name: &str, edit: &Edit, prune: bool) -> Result<Question, Error> {
        let known = self.known(name)?;
        let before = known.stored.clone();
        let file = self.free_text(name, &before);
        let mut after = before.clone();
        after.edit(edit, &file);
        Ok(Question {
            name: name.to_owned(),
            edit: edit.clone(),
            prune,
            cap: self.cap,
            version: known.version,
            sure: known.snapshot.is_some(),
            used: known.used,
            text: known.text.clone(),
            before,
            after,
            file,
        })
    }
}

/// The results for several lists, or their failures, by name.
pub type AllHeard = Vec<(String, Result<Vec<Heard>, Error>)>;

/// Reads all these drafts at once: none waits for the names of another.
pub async fn hear(drafts: Vec<(String, Result<Draft, Error>)>, answers: &Answers) -> AllHeard {
    let each = drafts.into_iter().map(|(name, draft)| async move {
        let heard = match draft {
            Ok(draft) => draft.read(answers).await,
            Err(error) => Err(error),
        };
        (name, heard)
    });
    futures_util::future::join_all(each).await
}

impl Draft {
    /// The same draft, in which names keep their addresses and no name server is asked.
    #[must_use]
    pub fn without_asking(self) -> Self {
        Self {
            asks: false,
            ..self
        }
    }

    /// Reads the sources and resolves their names, except for those in `answers` already.
    pub async fn read(&self, answers: &Answers) -> Result<Vec<Heard>, Error> {
        let mut heard = Vec::new();
        for at in 0..self.questions.len() {
            heard.push(self.one(at, answers).await?);
        }
        Ok(heard)
    }

    async fn one(&self, at: usize, answers: &Answers) -> Result<Heard, Error> {
        let (text, read) = self.apart(at, Question::read).await??;
        let expanded = match read {
            Read::Whole(expanded) => expanded,
            Read::Runs { runs, used, more } => {
                self.ask(&runs, answers).await;
                let known = answers.clone();
                let put = move |it: &Question| it.expand(runs, used, more, &known);
                match self.apart(at, put).await?? {
                    Some(expanded) => expanded,
                    // A name that the list has already has other addresses now: the old ones must go.
                    None => self.anew(at, answers).await?,
                }
            }
        };
        self.apart(at, move |it| it.heard(text, expanded)).await
    }

    /// Expands the whole list, when a part of it was not enough.
    async fn anew(&self, at: usize, answers: &Answers) -> Result<Expanded, Error> {
        let (runs, used) = self.apart(at, |it| it.runs(0, 0, None)).await??;
        self.ask(&runs, answers).await;
        let known = answers.clone();
        let put = move |it: &Question| it.put(runs, used, false, &known);
        self.apart(at, put).await?
    }

    async fn ask(&self, runs: &[Run], answers: &Answers) {
        let mut names: BTreeSet<String> = expand::names(runs);
        names.retain(|name| !answers.has(name));
        if names.is_empty() || !self.asks {
            return;
        }
        let cap = self.questions.first().map_or(0, |it| it.cap);
        let slurm = NodeAddrs::load(&self.how, Cap::new(cap)).await;
        resolve(names, &self.how, &slurm, answers).await;
    }

    /// Runs `work` on another thread, so that it does not block the daemon.
    async fn apart<T: Send + 'static>(
        &self,
        at: usize,
        work: impl FnOnce(&Question) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let questions = Arc::clone(&self.questions);
        let done = file::away(PATIENCE, move || work(&questions[at])).await;
        done.map_err(|source| Error::Unread {
            list: self.questions[at].name.clone(),
            source,
        })
    }
}

impl Question {
    fn stdin(&self) -> Option<Text<'_>> {
        let text = self.edit.stdin.as_deref()?;
        Some(Text {
            file: &self.file,
            bytes: text.as_bytes(),
        })
    }

    /// Reads the sources. An added source is the last one to decide about its addresses and changes no others. So when
    /// the list is known to hold what its earlier sources gave, and the edit removes none of them, those are not read
    /// again.
    fn read(&self) -> Result<(Option<Vec<u8>>, Read), Error> {
        let text = self.only_text();
        if let Some(expanded) = text.as_deref().and_then(|text| self.entry_difference(text)) {
            return Ok((text, Read::Whole(expanded)));
        }
        let known = self.before.steps.len();
        let more = self.edit.how == How::Add
            && !self.prune
            && self.sure
            && self.after.steps.starts_with(&self.before.steps);
        let (from, used) = if more { (known, self.used) } else { (0, 0) };
        let (runs, used) = self.runs(from, used, text.as_deref())?;
        Ok((text, Read::Runs { runs, used, more }))
    }

    fn runs(&self, from: usize, used: u64, text: Option<&[u8]>) -> Result<(Vec<Run>, u64), Error> {
        let only = self
            .after
            .only_file()
            .zip(text)
            .map(|(file, bytes)| Text { file, bytes });
        let steps = self.after.steps.get(from..).unwrap_or_default();
        let mut cap = Cap::after(self.cap, used);
        let runs = expand::read(steps, &mut cap, only.or(self.stdin()));
        let runs = runs.map_err(|source| Error::Sources {
            list: self.name.clone(),
            source,
        })?;
        Ok((runs, cap.used()))
    }

    /// `None`: entries of earlier steps change too.
    fn expand(
        &self,
        runs: Vec<Run>,
        used: u64,
        more: bool,
        answers: &Answers,
    ) -> Result<Option<Expanded>, Error> {
        let expanded = self.put(runs, used, more, answers)?;
        let same = |(name, now): (&String, &Vec<_>)| {
            let before = self.before.names.get(name);
            before.is_none_or(|before| before == now)
        };
        let stays = !more || expanded.names.names.iter().all(same);
        Ok(stays.then_some(expanded))
    }

    fn put(
        &self,
        runs: Vec<Run>,
        used: u64,
        more: bool,
        answers: &Answers,
    ) -> Result<Expanded, Error> {
        let none = Names::new();
        let old = if self.prune {
            &none
        } else {
            &self.before.names
        };
        let expanded = expand::expand(runs, old, answers).map_err(|source| Error::Apply {
            list: self.name.clone(),
            source: source.into(),
        })?;
        Ok(Expanded {
            gone: more.then(Vec::new),
            used,
            ..expanded
        })
    }

    /// The change of a list whose only source has a new text, when it differs little from the old one.
    fn entry_difference(&self, text: &[u8]) -> Option<Expanded> {
        let before = self.text.as_ref().filter(|_| self.sure)?;
        let replaced = self.edit.how == How::Replace;
        let entry_difference = replaced.then(|| text_diff::entry_difference(before, text))??;
        let Diff { added, removed } = entry_difference.lines;
        let used = self.used.checked_sub(removed)? + added;
        (used <= self.cap as u64).then(|| Expanded {
            entries: entry_difference.added,
            gone: Some(entry_difference.removed),
            used,
            ..Expanded::default()
        })
    }

    fn heard(&self, text: Option<Vec<u8>>, expanded: Expanded) -> Heard {
        let mut stored = self.after.clone();
        stored.learn(&expanded);
        let stdin = self.edit.stdin.clone();
        Heard {
            name: self.name.clone(),
            version: self.version,
            how: self.edit.how,
            stored,
            text: text.filter(|text| expanded.is_plain() && text_diff::plain(text)),
            expanded,
            stdin: stdin.map(|text| (self.file.clone(), text)),
        }
    }

    /// The text of the only source, if that is one file and not too long to be kept. `None` also when it cannot be
    /// read: `runs` reads all sources and returns the error.
    fn only_text(&self) -> Option<Vec<u8>> {
        let path = self.after.only_file()?;
        let mut bytes = Vec::new();
        if let Some(Text { bytes: given, .. }) = self.stdin().filter(|text| text.file == path) {
            bytes.extend_from_slice(given);
        } else {
            let file = file::open(path, file::Kind::List).ok()?;
            let most = text_diff::LONGEST as u64 + 1;
            // Reserved at once: a buffer that grows while it is filled is copied repeatedly.
            let length = file.metadata().ok()?.len().min(most);
            bytes.reserve_exact(usize::try_from(length).ok()? + 1);
            file.take(most).read_to_end(&mut bytes).ok()?;
        }
        (bytes.len() <= text_diff::LONGEST).then_some(bytes)
    }
}
