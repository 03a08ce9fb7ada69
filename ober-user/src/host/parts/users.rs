//! The workers' account, and the directory of the configuration. Where systemd is, it makes both from files that it reads at every
//! start; those that a package brought will do.

use crate::host::{
    Error, Host,
    object::{Object, Rights, State},
    part::Part,
    parts::{OwnFile, home},
    plan::{PartPlan, Remark},
    platform::Platform,
    record::Record,
};

pub const ACCOUNT: &str = "ober";
pub const DIRECTORY: &str = "/etc/ober";
/// Root writes; workers may read what is given to their group.
const MODE: u32 = 0o750;
/// The state of an account that is there.
const THERE: &str = "there";
/// Numbers from here on are those of persons.
const PERSONS: u32 = 1000;

const SYSUSERS: &str = "sysusers.d";
const SYSUSERS_TEXT: &str = include_str!("../../../package/sysusers.d/ober.conf");
const TMPFILES: &str = "tmpfiles.d";
const TMPFILES_TEXT: &str = include_str!("../../../package/tmpfiles.d/ober.conf");

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFacts {
    pub systemd: bool,
    /// In an image systemd makes the account at its first start.
    pub running: bool,
    /// The number of the account.
    pub account: Option<u32>,
    pub directory: State,
    /// Our files, and whether a package has brought one of the same name.
    pub sysusers: OwnFile,
    pub tmpfiles: OwnFile,
    pub packaged: [bool; 2],
    /// Files in the directory that hold a key and that every account may read.
    pub exposed: Vec<String>,
}

pub async fn look<M: Platform>(host: &Host<M>, record: &Record) -> Result<UserFacts, Error> {
    let file = |kind: &str| format!("/etc/{kind}/ober.conf");
    let packaged = |kind: &str| host.root.exists(format!("/usr/lib/{kind}/ober.conf"));
    Ok(UserFacts {
        systemd: host.has_systemd(),
        running: host.machine.is_running(),
        account: host.root.user(ACCOUNT)?,
        directory: host.look(&Object::Directory(DIRECTORY.into())).await?,
        sysusers: OwnFile::look(host, record, &file(SYSUSERS)).await?,
        tmpfiles: OwnFile::look(host, record, &file(TMPFILES)).await?,
        packaged: [packaged(SYSUSERS), packaged(TMPFILES)],
        exposed: exposed(host)?,
    })
}

/// Keys beside the configuration that every account may read.
pub fn exposed<M: Platform>(host: &Host<M>) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for name in host.root.names(DIRECTORY)? {
        let place = format!("{DIRECTORY}/{name}");
        let key = [".pem", ".key"].iter().any(|end| name.ends_with(end));
        if key && host.root.is_exposed(&place) {
            found.push(place);
        }
    }
    Ok(found)
}

/// One file that every account may read; `doctor` has the same words.
pub fn readable(path: &str) -> Remark {
    Remark::warning(path, "it may hold a key, and every account may read it")
        .advice(format!("`chown root:{ACCOUNT} {path}; chmod 640 {path}`"))
}

/// The account, as `doctor` reports it.
pub fn account(number: Option<u32>) -> Remark {
    match number {
        None => Remark::warning(
            ACCOUNT,
            "there is no such account for the workers to run as",
        )
        .advice("`ober-user bootstrap --only users` makes it"),
        Some(number) if number >= PERSONS => Remark::warning(
            ACCOUNT,
            format!("its number is {number}, as those of persons are"),
        )
        .advice("give the workers an account without a login: a system account, whose number is below 1000"),
        Some(_) => Remark::ok(ACCOUNT, "the account of the workers"),
    }
}

pub async fn plan<M: Platform>(host: &Host<M>, facts: &UserFacts) -> Result<PartPlan, Error> {
    let mut plan = PartPlan::new(Part::Users);
    if facts.account.is_some() {
        plan.remarks.push(account(facts.account));
    }
    if facts.systemd {
        let files = [
            (
                &facts.sysusers,
                SYSUSERS,
                SYSUSERS_TEXT,
                "makes the account",
            ),
            (
                &facts.tmpfiles,
                TMPFILES,
                TMPFILES_TEXT,
                "makes the directory",
            ),
        ];
        for ((file, kind, text, reason), packaged) in files.into_iter().zip(facts.packaged) {
            if packaged {
                continue;
            }
            home(host, &mut plan, &format!("/etc/{kind}")).await?;
            file.become_text(&mut plan, Some(text.to_owned()), reason);
        }
    }
    if facts.running {
        made(facts, &mut plan);
    }
    plan.remarks
        .extend(facts.exposed.iter().map(|it| readable(it)));
    Ok(plan)
}

fn made(facts: &UserFacts, plan: &mut PartPlan) {
    if facts.account.is_none() {
        plan.change(
            Object::Account(ACCOUNT.to_owned()),
            State::Absent,
            State::value(THERE),
            "HAProxy runs as it once it has read its files",
        );
    }
    let wanted = State::Directory(Rights::of_group(MODE, ACCOUNT));
    match &facts.directory {
        State::Absent | State::Directory(_) => plan.change(
            Object::Directory(DIRECTORY.into()),
            facts.directory.clone(),
            wanted,
            "its files are for root, and for workers those that are given to their group",
        ),
        other => plan.remarks.push(
            Remark::warning(DIRECTORY, format!("it is {other} and stays")).advice(format!(
                "give what it leads to to root:{ACCOUNT}, mode 0750"
            )),
        ),
    }
}

pub(crate) fn state<M: Platform>(host: &Host<M>, name: &str) -> Result<State, Error> {
    let found = host.root.user(name)?;
    Ok(found.map_or(State::Absent, |_| State::value(THERE)))
}

pub(crate) async fn put<M: Platform>(
    host: &Host<M>,
    name: &str,
    state: &State,
) -> Result<(), Error> {
    if state.is_absent() {
        host.order(&["userdel", name]).await?;
        // Where groups of one account do not go with it.
        if host.root.group(name)? {
            host.order(&["groupdel", name]).await?;
        }
        return Ok(());
    }
    if host.has_systemd() {
        return host
            .order(&["systemd-sysusers", "ober.conf"])
            .await
            .map(drop);
    }
    let words = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        "--comment",
        "Herr Ober workers",
        name,
    ];
    host.order(&words).await.map(drop)
}
