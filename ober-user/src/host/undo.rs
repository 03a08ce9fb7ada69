//! The way back: each object that was changed gets the state it had, unless somebody else has changed it since.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    Error, Host,
    object::{Object, State},
    part::Part,
    platform::Platform,
    record::{Entry, Record},
};

/// What is to become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It gets back what it had.
    Restore,
    /// It has that already.
    Nothing,
    /// Somebody else has changed it since: it stays, and stays recorded.
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
    /// Why it could not be done.
    pub failed: Option<String>,
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
        all.push(Back {
            part: entry.part,
            object: entry.object.clone(),
            before: entry.before.clone(),
            how: how(entry, &found),
            found,
            failed: None,
        });
    }
    all.sort_by_key(|it| it.object.rank());
    Ok(all)
}

/// Puts back what [`plan`] said, and forgets what is as it was.
pub async fn run<M: Platform>(host: &Host<M>, record: &mut Record, all: &mut [Back]) {
    // Parts of which something stays.
    let mut stays = BTreeSet::new();
    for back in all {
        if back.how == How::Keep {
            stays.insert(back.part);
            continue;
        }
        let account = matches!(back.object, Object::Account(_));
        if account && stays.contains(&back.part) {
            let words = format!(
                "{}: it stays until what belongs to it is undone",
                back.object
            );
            back.failed = Some(words);
        } else if let Err(error) = one(host, record, back).await {
            stays.insert(back.part);
            back.failed = Some(error.to_string());
        }
    }
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
