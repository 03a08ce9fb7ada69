//! The way back: each object that was changed gets the state it had, unless it was changed by other means since.

use std::io::ErrorKind;

use serde::Serialize;

use super::{
    Error, Host, backend,
    object::{Object, State},
    part::Part,
    platform::Platform,
    record::{Author, Entry, Record},
};

/// What is to become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It gets back what it had.
    Restore,
    /// It has that already.
    Nothing,
    /// It was changed by other means since, or something else needs it: it stays, and stays recorded.
    Keep,
}

/// One object and its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Back {
    pub part: Part,
    pub object: Object,
    pub before: State,
    pub found: State,
    pub how: How,
    /// Why it stays, where its own state does not say.
    pub needed: Option<String>,
    /// Why it could not be done.
    pub failed: Option<String>,
}

impl Back {
    fn keep(&mut self, needed: String) {
        self.how = How::Keep;
        self.needed = Some(needed);
    }

    /// What is said of an object that stays.
    pub fn stays(&self, author: Author) -> String {
        let Self {
            object,
            before,
            found,
            ..
        } = self;
        let why = self.needed.clone().unwrap_or_else(|| {
            format!(
                "it is {found}, which {} did not make; what was there before is {before}",
                author.name()
            )
        });
        format!("{object} stays: {why}")
    }
}

fn how(entry: &Entry, found: &State) -> How {
    if *found == entry.before || entry.object.is_gone(found) {
        How::Nothing
    } else if entry.is_ours(found) || entry.object.is_gone(&entry.before) {
        // What came with an interface goes with it, whatever it is by now.
        How::Restore
    } else {
        How::Keep
    }
}

/// What an undo comes to, in its order. Changes nothing.
pub async fn plan<M: Platform>(
    host: &Host<M>,
    record: &Record,
    only: &[Part],
) -> Result<Vec<Back>, Error> {
    let mut all = Vec::new();
    let entries = record.entries().iter().rev();
    for entry in entries.filter(|it| only.contains(&it.part)) {
        let found = host.look(&entry.object).await?;
        let mut back = Back {
            part: entry.part,
            object: entry.object.clone(),
            before: entry.before.clone(),
            how: how(entry, &found),
            found,
            needed: None,
            failed: None,
        };
        if let State::Unknown(why) = &back.found {
            back.failed = Some(format!(
                "{}: it is not known how it stands ({why}); start or install what keeps it, and run this again",
                back.object
            ));
        }
        if let (How::Restore, Object::Module(name)) = (back.how, &back.object) {
            let others = backend::objects::others_of(host, name).await?;
            if !others.is_empty() {
                back.keep(format!("{} would go with it", others.join(", ")));
            }
        }
        all.push(back);
    }
    all.sort_by_key(|it| it.object.rank());
    Ok(all)
}

/// Puts back what [`plan`] said, and forgets what is as it was.
pub async fn run<M: Platform>(host: &Host<M>, record: &mut Record, all: &mut [Back]) {
    let mut staying: Vec<(Part, Object)> = Vec::new();
    for back in all {
        if back.how != How::Keep
            && let Some(why) = needed(back, &staying)
        {
            back.keep(why);
        }
        if back.how != How::Keep {
            match one(host, record, back).await {
                Ok(()) => continue,
                Err(error) if is_in_use(&error) => {
                    back.keep("it has what this command did not put there".to_owned());
                }
                Err(error) => back.failed = Some(error.to_string()),
            }
        }
        staying.push((back.part, back.object.clone()));
    }
}

/// Why an object must stay while these do.
fn needed(back: &Back, staying: &[(Part, Object)]) -> Option<String> {
    let mut staying = staying.iter().filter(|(part, _)| *part == back.part);
    match &back.object {
        Object::Account(_) => {
            let (_, object) = staying.next()?;
            Some(format!("{object} stays, which may belong to it"))
        }
        Object::Sysctl(_)
        | Object::File(_)
        | Object::Directory(_)
        | Object::Module(_)
        | Object::Link(_) => {
            let vip = staying.find(|(_, object)| matches!(object, Object::Vip(_)));
            let (_, vip) = vip?;
            Some(format!("{vip} stays, and this server would answer for it"))
        }
        _ => None,
    }
}

/// A directory that is not empty.
fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::File { source, .. } if source.kind() == ErrorKind::DirectoryNotEmpty)
}

async fn one<M: Platform>(host: &Host<M>, record: &mut Record, back: &Back) -> Result<(), Error> {
    if let Object::File(path) = &back.object {
        host.root.sweep(path)?;
    }
    // A part before may have put it back with its own: removing a file may need the daemon that reads it.
    let found = host.look(&back.object).await?;
    if found != back.before && !back.object.is_gone(&found) {
        host.put(&back.object, &back.before).await?;
        let found = host.look(&back.object).await?;
        if found != back.before {
            return Err(Error::ReadBack {
                object: back.object.to_string(),
                wanted: back.before.to_string(),
                found: found.to_string(),
            });
        }
    }
    record.forget(&back.object)
}
