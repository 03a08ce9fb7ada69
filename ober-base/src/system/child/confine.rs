//! What a child gives up between fork and exec. Only system calls on memory prepared before the fork: another thread may have
//! held any lock when the process was copied.

use std::{io, os::fd::RawFd};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sched::{CpuSet, sched_setaffinity},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, umask},
    },
    unistd::{Pid, setsid, write},
};

use crate::system::{account::Account, file};

/// Where programs are when the daemon was started without a `PATH`.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A resource and its limit, which is set as the soft and the hard one.
pub(super) type Limit = (Resource, u64);

/// A core file would hold keys.
pub(super) const NO_CORE: &[Limit] = &[(Resource::RLIMIT_CORE, 0)];

/// The most that a program that checks a server, lists servers or sets a record can need. Its caller limits its time.
pub(super) const PROGRAM: &[Limit] = &[
    (Resource::RLIMIT_CORE, 0),
    // No program that a caller waits for computes for two minutes.
    (Resource::RLIMIT_CPU, 120),
    // DATA limits memory that is written, AS also what is only reserved: Go and Java reserve gigabytes they never touch.
    (Resource::RLIMIT_DATA, 1 << 30),
    (Resource::RLIMIT_AS, 16 << 30),
    // The kernel counts all processes of the account, and hundreds of checks may run at once.
    (Resource::RLIMIT_NPROC, 4096),
    // A program may not write a larger file than this; its answer is far smaller.
    (Resource::RLIMIT_FSIZE, 64 << 20),
    // select(2) cannot handle higher numbers.
    (Resource::RLIMIT_NOFILE, 1024),
];

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

impl Capabilities {
    pub(super) const ALL: Self = Self(u64::MAX);
    pub(super) const NONE: Self = Self(0);
    /// `CAP_SETGID`, `CAP_SETUID`, `CAP_SYS_CHROOT`, and `CAP_SYS_RESOURCE` for open files.
    pub(super) const TO_DROP: Self = Self(1 << 6 | 1 << 7 | 1 << 18 | 1 << 24);

    /// The first three of `TO_DROP`.
    pub(super) const TO_CONFINE: Self = Self(1 << 6 | 1 << 7 | 1 << 18);

    const fn has(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// The effective capabilities of this process, as bits; `None` without `/proc`.
pub(super) fn effective() -> Option<u64> {
    let status = file::kernel_text("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Does this process have all of them?
pub(super) fn holds(wanted: Capabilities) -> bool {
    effective().is_some_and(|held| held & wanted.0 == wanted.0)
}

/// The account that a child of this process must change to; `None`: the process already runs as it.
pub(super) fn to_become(account: &Account) -> io::Result<Option<Account>> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    Ok(becomes(account, user.as_raw(), group.as_raw())?.cloned())
}

/// The same for a process of this user and group. An error instead of running a program as another account than asked for.
pub(super) fn becomes(account: &Account, user: u32, group: u32) -> io::Result<Option<&Account>> {
    if user == 0 {
        return Ok(Some(account));
    }
    if (user, group) == (account.user, account.group) {
        return Ok(None);
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "become the account {}: only root may, and this process runs as user {user}, group {group}; run Herr Ober as root",
            account.name
        ),
    ))
}

/// Caps limits at the hard limits of this process: only root may raise those.
pub(super) fn within(limits: &[Limit]) -> io::Result<Vec<Limit>> {
    let limit = |&(resource, most): &Limit| {
        let (_, hard) = getrlimit(resource)?;
        Ok((resource, most.min(hard)))
    };
    limits.iter().map(limit).collect()
}

/// Does the kernel weigh this process otherwise than most when memory runs out? `OOMScoreAdjust=` of a unit has it so.
pub(super) fn is_weighted() -> bool {
    let text = file::kernel_text("/proc/self/oom_score_adj").unwrap_or_default();
    text.trim().parse().is_ok_and(|score: i32| score != 0)
}

/// Runs in the child: the kernel weighs it like most processes.
fn ordinary() -> nix::Result<()> {
    let score = open(
        c"/proc/self/oom_score_adj",
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    write(&score, b"0").map(drop)
}

#[derive(Debug)]
pub(super) struct Confined {
    pub(super) handed: Vec<RawFd>,
    pub(super) account: Option<Account>,
    pub(super) keeps: Capabilities,
    pub(super) limits: Vec<Limit>,
    pub(super) cpus: Option<CpuSet>,
    /// Has this process a weight of its own for when memory runs out ([`is_weighted`])? The child does not inherit that.
    pub(super) weighted: bool,
    /// Does the kernel kill the child when the thread that made it ends, for whatever reason? See [`super::tied`].
    pub(super) tied: bool,
}

impl Confined {
    /// Runs in the child.
    pub(super) fn enter(&self) -> io::Result<()> {
        // The child gets neither the terminal nor the signals of the daemon's process group, such as ^C.
        setsid()?;
        umask(Mode::from_bits_truncate(0o077));
        if let Some(cpus) = &self.cpus {
            sched_setaffinity(Pid::from_raw(0), cpus)?;
        }
        for &(resource, most) in &self.limits {
            setrlimit(resource, most, most)?;
        }
        if self.weighted {
            // A child that cannot do this runs all the same.
            ordinary().unwrap_or_default();
        }
        self.descriptors()?;
        set(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
        self.bound();
        if let Some(account) = &self.account {
            become_account(account)?;
        }
        self.hold()?;
        if self.tied {
            // Last: the kernel resets it when the account changes.
            set(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0)?;
        }
        Ok(())
    }

    /// Passes on the three standard descriptors and those handed over. The rest is marked close-on-exec, not closed now: the
    /// standard library reports a failed exec through one of them.
    fn descriptors(&self) -> io::Result<()> {
        // SAFETY: changes a flag of descriptors of this process.
        let result = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        Errno::result(result)?;
        for number in &self.handed {
            // SAFETY: changes a flag of a descriptor of this process; a closed one is an error.
            Errno::result(unsafe { libc::fcntl(*number, libc::F_SETFD, 0) })?;
        }
        Ok(())
    }

    /// Removes capabilities for good: the child cannot regain them even by running a set-uid or file-capability program.
    fn bound(&self) {
        for number in (0..64).filter(|number| !self.keeps.has(*number)) {
            let number = libc::c_ulong::from(number);
            let lower = libc::PR_CAP_AMBIENT_LOWER as libc::c_ulong;
            // An error means the kernel does not know this number, or the process may not drop it and so has nothing to give.
            set(libc::PR_CAP_AMBIENT, lower, number).unwrap_or_default();
            set(libc::PR_CAPBSET_DROP, number, 0).unwrap_or_default();
        }
    }

    /// Sets the current capabilities. Last, since changing the account takes capabilities away.
    fn hold(&self) -> io::Result<()> {
        let mut header = Header {
            version: VERSION,
            process: 0,
        };
        let mut sets = [Sets::default(); 2];
        // SAFETY: both have the layout and, by the version, the size that the kernel expects.
        Errno::result(unsafe {
            libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr())
        })?;
        for (set, shift) in sets.iter_mut().zip([0, 32]) {
            let keeps = u32::try_from(self.keeps.0 >> shift & u64::from(u32::MAX)).unwrap_or(0);
            set.effective &= keeps;
            set.permitted &= keeps;
            set.inheritable &= keeps;
        }
        // SAFETY: as above.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two halves.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    process: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Changes user and group, with the primary group as the only supplementary one.
fn become_account(account: &Account) -> io::Result<()> {
    let (user, group) = (account.user, account.group);
    // Direct system calls: the C library's wrappers would signal the other threads, which the copied process does not have.
    // SAFETY: takes plain numbers and one group in memory of this frame.
    Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, 1, &raw const group) })?;
    // SAFETY: takes plain numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) })?;
    // SAFETY: takes plain numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })?;
    Ok(())
}

fn set(option: libc::c_int, first: libc::c_ulong, second: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option used here takes plain numbers.
    Errno::result(unsafe { libc::prctl(option, first, second, zero, zero) })?;
    Ok(())
}
