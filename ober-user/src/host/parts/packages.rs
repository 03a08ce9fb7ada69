//! HAProxy, by the distribution's package. What was installed stays when bootstrap is undone: other programs may use it by then.

use std::path::PathBuf;

use crate::{
    haproxy::version::Program,
    host::{
        Error, Host,
        object::{Object, State},
        part::Part,
        plan::{PartPlan, Remark},
        platform::Platform,
        wants::Wants,
    },
};

const HAPROXY: &str = "haproxy";
/// The oldest HAProxy that is supported.
const OLDEST: (u32, u32) = (2, 6);
/// The state of a package that is installed.
const INSTALLED: &str = "installed";

/// What manages packages here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Apt,
    Dnf,
}

/// apt changes packages without a question. Another apt may run meanwhile, such as that of unattended-upgrades.
const APT: [&str; 7] = [
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "--yes",
    "--option=DPkg::Lock::Timeout=60",
    // What came with a package may be used by others by now.
    "--option=APT::Get::AutomaticRemove=false",
    "--no-install-recommends",
];

impl Manager {
    const ALL: [(Self, &'static str); 2] =
        [(Self::Apt, "/usr/bin/apt-get"), (Self::Dnf, "/usr/bin/dnf")];

    pub fn of<M: Platform>(host: &Host<M>) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(manager, path)| host.root.exists(path).then_some(manager))
    }

    fn install(self, package: &str) -> Vec<&str> {
        match self {
            Self::Apt => [&APT[..], &["install", package]].concat(),
            Self::Dnf => vec!["dnf", "install", "--assumeyes", package],
        }
    }

    /// Puts a package file in the place of what is installed, newer or older.
    pub(in crate::host) fn replace(self, file: &str) -> Vec<&str> {
        let old = [
            "--allow-downgrades",
            "--option=Dpkg::Options::=--force-confold",
        ];
        match self {
            Self::Apt => [&APT[..], &old, &["install", file]].concat(),
            Self::Dnf => vec!["rpm", "--upgrade", "--oldpackage", "--replacepkgs", file],
        }
    }

    /// `keep`: its configuration.
    pub(in crate::host) fn remove(self, package: &str, keep: bool) -> Vec<&str> {
        let verb = if keep { "remove" } else { "purge" };
        match self {
            Self::Apt => [&APT[..], &[verb, package]].concat(),
            Self::Dnf => vec!["dnf", "remove", "--assumeyes", "--noautoremove", package],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFacts {
    pub running: bool,
    /// The program of the configuration, or the one in the search path.
    pub path: PathBuf,
    /// `None`: it does not run.
    pub program: Option<Program>,
    pub manager: Option<Manager>,
}

impl PackageFacts {
    /// Is it an administrator's own build, which no package replaces?
    fn is_own(&self) -> bool {
        self.path.starts_with("/usr/local") || self.path.starts_with("/opt")
    }
}

pub async fn look<M: Platform>(host: &Host<M>, wants: &Wants) -> Result<PackageFacts, Error> {
    let configured = wants.configured.as_ref().map(|it| it.haproxy.clone());
    let path = configured.unwrap_or_else(|| HAPROXY.into());
    let words = path.display().to_string();
    let said = host.ask(&[&words, "-vv"]).await;
    Ok(PackageFacts {
        running: host.machine.is_running(),
        program: said.and_then(|it| Program::read(&it)),
        path,
        manager: Manager::of(host),
    })
}

pub fn plan(facts: &PackageFacts) -> PartPlan {
    let mut plan = PartPlan::new(Part::Packages);
    if !facts.running {
        return plan;
    }
    let manager = facts.manager.filter(|_| !facts.is_own());
    let Some(manager) = manager.filter(|_| facts.program.is_none()) else {
        plan.remarks.push(judge(facts));
        return plan;
    };
    plan.change(
        Object::Package(HAPROXY.to_owned()),
        State::Absent,
        State::value(INSTALLED),
        format!(
            "`{}`; it stays when bootstrap is undone",
            manager.install(HAPROXY).join(" ")
        ),
    );
    plan
}

/// How it stands with HAProxy, also for `doctor`. Refused: there is none.
pub fn judge(facts: &PackageFacts) -> Remark {
    let Some(program) = &facts.program else {
        let words = format!("{} does not run, or is not HAProxy", facts.path.display());
        let advice = "`ober-user bootstrap --only packages` installs it, or correct `workers.haproxy`; 2.6 is the oldest that will do";
        return Remark::refused(HAPROXY, words).advice(advice);
    };
    let mut numbers = program
        .version
        .split(['.', '-'])
        .map_while(|it| it.parse().ok());
    let version = numbers.next().zip(numbers.next());
    if version.is_some_and(|it| it < OLDEST) {
        return Remark::warning(HAPROXY, format!("{program} is too old")).advice(
            "2.6 is the oldest that will do; take one of haproxy.debian.net, or of a newer release",
        );
    }
    Remark::ok(HAPROXY, program.to_string())
}

pub(crate) async fn state<M: Platform>(host: &Host<M>, package: &str) -> State {
    let asked = match Manager::of(host) {
        Some(Manager::Apt) => {
            let words = [
                "dpkg-query",
                "--show",
                "--showformat=${db:Status-Status}",
                package,
            ];
            host.ask(&words).await.filter(|it| it == INSTALLED)
        }
        Some(Manager::Dnf) => host.ask(&["rpm", "--query", package]).await,
        None => None,
    };
    asked.map_or(State::Absent, |_| State::value(INSTALLED))
}

pub(crate) async fn put<M: Platform>(
    host: &Host<M>,
    package: &str,
    state: &State,
) -> Result<(), Error> {
    let Some(manager) = Manager::of(host).filter(|_| !state.is_absent()) else {
        return Ok(());
    };
    host.order_whole(&manager.install(package)).await
}
