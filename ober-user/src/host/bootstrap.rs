//! The way through the parts: what each comes to, and the changes made one by one.

use serde::Serialize;

use super::{
    Error, Host,
    object::Object,
    part::Part,
    parts,
    plan::{Change, PartPlan, Remark},
    platform::Platform,
    record::Record,
    wants::Wants,
};

/// What is to be done, part by part. Looks at the machine and changes nothing.
pub async fn plan<M: Platform>(
    host: &Host<M>,
    record: &Record,
    wants: &Wants,
    only: &[Part],
) -> Vec<PartPlan> {
    let mut plans = Vec::new();
    for part in Part::ALL.into_iter().filter(|it| only.contains(it)) {
        let plan = parts::plan(host, record, wants, part).await;
        let plan = plan.unwrap_or_else(|error| unknown(part, &error));
        let ends = part == Part::Os && plan.is_refused();
        plans.push(plan);
        if ends {
            break;
        }
    }
    plans
}

fn unknown(part: Part, error: &Error) -> PartPlan {
    let mut plan = PartPlan::new(part);
    let words = format!("it cannot be looked at: {error}");
    plan.remarks.push(Remark::refused(part.name(), words));
    plan
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    pub part: Part,
    /// Made, and read back.
    pub changed: Vec<Change>,
    /// Why the change after those could not be made; the rest of the part was left.
    pub failed: Option<String>,
}

/// Makes the changes. A part ends with its first failure; the others go on.
pub async fn apply<M: Platform>(
    host: &Host<M>,
    record: &mut Record,
    plans: &[PartPlan],
) -> Vec<Done> {
    let mut all = Vec::new();
    for plan in plans {
        let mut done = Done {
            part: plan.part,
            changed: Vec::new(),
            failed: None,
        };
        for change in &plan.changes {
            if let Err(error) = make(host, record, plan.part, change).await {
                done.failed = Some(error.to_string());
                break;
            }
            done.changed.push(change.clone());
        }
        all.push(done);
    }
    all
}

/// One change: what was there goes on disk, then the change is made, then it is read back.
pub(super) async fn make<M: Platform>(
    host: &Host<M>,
    record: &mut Record,
    part: Part,
    change: &Change,
) -> Result<(), Error> {
    if !matches!(change.object, Object::Package(_)) {
        record.note(part, change)?;
    }
    host.put(&change.object, &change.after).await?;
    let found = host.look(&change.object).await?;
    if found == change.after {
        return Ok(());
    }
    Err(Error::ReadBack {
        object: change.object.to_string(),
        wanted: change.after.to_string(),
        found: found.to_string(),
    })
}
