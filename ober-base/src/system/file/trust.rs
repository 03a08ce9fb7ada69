//! Which other accounts may change what a path leads to. A program that the daemon runs, and a file that it obeys, are only as
//! trustworthy as the accounts that may write them, or a directory or a link on the way to them: sshd and sudo check the same.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use crate::system::account::Account;

/// As many links as the kernel follows.
const LINKS: usize = 40;
/// In a directory with this bit only the owner of a file may remove or rename it.
const STICKY: u32 = 0o1000;

/// An account or group that may change the file, and at which part of the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    Group { at: PathBuf, group: u32 },
    Account { at: PathBuf, user: u32 },
    Everybody { at: PathBuf },
}

impl Writer {
    pub fn is_everybody(&self) -> bool {
        matches!(self, Self::Everybody { .. })
    }

    /// What the operator should do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Group { at, .. } => format!("chmod g-w {}", at.display()),
            Self::Account { at, .. } => format!("chown root {}", at.display()),
            Self::Everybody { at } => format!("chmod o-w {}", at.display()),
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { at, group } => {
                write!(out, "the group {group} may write {}", at.display())
            }
            Self::Account { at, user } => {
                write!(out, "{} belongs to the account {user}", at.display())
            }
            Self::Everybody { at } => write!(out, "every account may write {}", at.display()),
        }
    }
}

/// The worst writer of the file that is neither root, nor this process, nor one of these accounts; `None`: there is none.
pub fn writer(path: &Path, trusted: &[u32]) -> io::Result<Option<Writer>> {
    let own = nix::unistd::geteuid().as_raw();
    let trusts = |user: u32| user == 0 || user == own || trusted.contains(&user);
    let mut worst = None;
    walk_links(&std::path::absolute(path)?, |at, facts| {
        worst = worst.take().max(judge(at, facts, trusts));
    })?;
    Ok(worst)
}

/// The first part of the path that the account may not pass, or the file itself when it may not execute it; judged by the modes
/// alone.
pub fn closed(path: &Path, account: &Account) -> Option<PathBuf> {
    let mut closed = None;
    let shown = walk_links(path, |at, facts| {
        if closed.is_none() && !facts.is_symlink() && !may_pass(facts, account) {
            closed = Some(at.to_owned());
        }
    });
    shown.ok().and(closed)
}

fn may_pass(facts: &Metadata, account: &Account) -> bool {
    let bit = if facts.uid() == account.user {
        0o100
    } else if facts.gid() == account.group {
        0o010
    } else {
        0o001
    };
    let mode = facts.mode();
    mode & bit != 0 || account.user == 0 && (facts.is_dir() || mode & 0o111 != 0)
}

fn judge(at: &Path, facts: &Metadata, trusts: impl Fn(u32) -> bool) -> Option<Writer> {
    let (at, mode) = (at.to_owned(), facts.mode());
    let guarded = facts.is_dir() && mode & STICKY != 0;
    // The kernel ignores the mode of a link.
    let writable = |bit: u32| !facts.is_symlink() && !guarded && mode & bit != 0;
    if writable(0o002) {
        Some(Writer::Everybody { at })
    } else if !trusts(facts.uid()) {
        let user = facts.uid();
        Some(Writer::Account { at, user })
    } else if writable(0o020) && facts.gid() != 0 {
        let group = facts.gid();
        Some(Writer::Group { at, group })
    } else {
        None
    }
}

/// Calls `show` for every directory and link on a path, and for the file it leads to.
fn walk_links(path: &Path, mut show: impl FnMut(&Path, &Metadata)) -> io::Result<()> {
    let mut at = PathBuf::from("/");
    show(&at, &fs::metadata(&at)?);
    let mut rest = parts(path);
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        let facts = fs::symlink_metadata(&next)?;
        show(&next, &facts);
        if !facts.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        let mut way = parts(&target);
        way.append(&mut rest);
        rest = way;
    }
    Ok(())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn accounts_that_may_write_a_file_or_its_path_are_named_the_worst_first() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/program"), "").unwrap();
        symlink(at("d"), at("link")).unwrap();
        let path = &at("link/program");
        mode(&at("d"), 0o755);
        mode(&at("d/program"), 0o755);
        let found = || writer(path, &[77]).unwrap();
        // The directory of temporary files is sticky.
        assert_eq!(found(), None);
        mode(&at("d/program"), 0o775);
        chown(at("d/program"), Some(0), Some(50)).unwrap();
        let program = || at("d/program");
        let (group, user) = (50, 1000);
        assert_eq!(
            found(),
            Some(Writer::Group {
                at: program(),
                group
            })
        );
        lchown(at("link"), Some(user), None).unwrap();
        let at_link = at("link");
        assert_eq!(found(), Some(Writer::Account { at: at_link, user }));
        mode(&at("d"), 0o757);
        assert_eq!(found(), Some(Writer::Everybody { at: at("d") }));
        assert_eq!(
            found().unwrap().advice(),
            format!("chmod o-w {}", at("d").display())
        );
        // Its group is root's, and its owner is the account that the program runs as.
        mode(&at("d"), 0o1777);
        lchown(at("link"), Some(77), None).unwrap();
        chown(program(), Some(77), Some(0)).unwrap();
        assert_eq!(found(), None);
    }

    #[test]
    fn the_path_that_an_account_may_not_access_is_named_and_root_may_access_all() {
        let home = tempfile::tempdir().unwrap();
        let (inner, program) = (home.path().join("d"), home.path().join("d/program"));
        fs::create_dir(&inner).unwrap();
        fs::write(&program, "").unwrap();
        let account = |user, group| Account {
            name: String::new(),
            user,
            group,
        };
        let (nobody, root) = (account(65_534, 65_534), account(0, 0));
        for (modes, owner, closed) in [
            ([0o700, 0o755, 0o755], 0, Some(home.path())),
            ([0o711, 0o711, 0o744], 0, Some(program.as_path())),
            ([0o711, 0o710, 0o755], 0, Some(inner.as_path())),
            ([0o711, 0o711, 0o711], 0, None),
            ([0o711, 0o711, 0o100], 65_534, None),
            ([0o711, 0o711, 0o011], 65_534, Some(program.as_path())),
        ] {
            for (path, bits) in [home.path(), &inner, &program].into_iter().zip(modes) {
                mode(path, bits);
            }
            chown(&program, Some(owner), None).unwrap();
            assert_eq!(
                super::closed(&program, &nobody).as_deref(),
                closed,
                "{modes:?}"
            );
            assert_eq!(super::closed(&program, &root), None, "{modes:?}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_or_in_a_circle_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        symlink("b", home.path().join("a")).unwrap();
        symlink("a", home.path().join("b")).unwrap();
        let circle = writer(&home.path().join("a"), &[]).unwrap_err();
        assert_eq!(circle.raw_os_error(), Some(libc::ELOOP));
        assert!(writer(&home.path().join("none"), &[]).is_err());
    }
}
