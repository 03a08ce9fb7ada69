//! A file a part. Each looks at its facts, and makes of facts and wants, without I/O, changes and remarks.
//!
//! It never changes anything: changes are data until `bootstrap` makes them.

pub mod firewall;
pub mod limits;
pub mod os;
pub mod packages;
pub mod qdisc;
pub mod sysctl;
pub mod time;
pub mod users;
pub mod watchdog;

use super::{
    Error, Host,
    object::{Object, State},
    part::Part,
    plan::{PartPlan, Remark},
    platform::Platform,
    record::Record,
    wants::Wants,
};

pub(super) async fn plan<M: Platform>(
    host: &Host<M>,
    record: &Record,
    wants: &Wants,
    part: Part,
) -> Result<PartPlan, Error> {
    Ok(match part {
        Part::Os => os::plan(&os::look(host).await?),
        Part::Sysctl => sysctl::plan(&sysctl::look(host, record).await?, wants),
        Part::Qdisc => qdisc::plan(&qdisc::look(host, wants).await?, wants),
        Part::Users => users::plan(host, &users::look(host, record).await?).await?,
        Part::Limits => limits::plan(limits::look(host)?, wants),
        Part::Watchdog => watchdog::plan(host, &watchdog::look(host, record).await?).await?,
        Part::Time => time::plan(host.machine.is_running().then(time::look)),
        Part::Packages => packages::plan(&packages::look(host, wants).await?),
        // An image has no rules in force.
        Part::Firewall if !host.machine.is_running() => PartPlan::new(part),
        Part::Firewall => firewall::plan(&firewall::look(host).await, wants),
        // A storage server's, which has a command of its own.
        Part::Backend => PartPlan::new(part),
    })
}

/// A file that the command wants, as it is and with what the command made of it before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    pub object: Object,
    pub found: State,
    /// Was what is there made by the command?
    pub ours: bool,
}

impl OwnFile {
    pub(super) async fn look<M: Platform>(
        host: &Host<M>,
        record: &Record,
        path: &str,
    ) -> Result<Self, Error> {
        let object = Object::File(path.into());
        let found = host.look(&object).await?;
        let ours = record.of(&object).is_some_and(|it| it.is_ours(&found));
        Ok(Self {
            object,
            found,
            ours,
        })
    }

    /// Makes it this text, unless what is there is another's. `None`: it is not wanted.
    pub(super) fn become_text(&self, plan: &mut PartPlan, text: Option<String>, reason: &str) {
        let wanted = text.map_or(State::Absent, State::text);
        if self.found == wanted || self.found.is_absent() || self.ours {
            plan.change(self.object.clone(), self.found.clone(), wanted, reason);
        } else if !wanted.is_absent() {
            let words = format!(
                "it is {}, and was not written by this command as it is now: it stays",
                self.found
            );
            plan.remarks.push(
                Remark::warning(self.object.to_string(), words)
                    .advice("move it away and run this again, or keep it in step by hand"),
            );
        }
    }
}

/// A directory that must be there for a file; it belongs to root and every account may read it.
pub(super) async fn home<M: Platform>(
    host: &Host<M>,
    plan: &mut PartPlan,
    path: &str,
) -> Result<(), Error> {
    let object = Object::Directory(path.into());
    let found = host.look(&object).await?;
    if found.is_absent() {
        let wanted = State::Directory(super::object::Rights::of_root(0o755));
        plan.change(object, found, wanted, "the file below goes here");
    }
    Ok(())
}
