//! Accounts of the machine that workers and programs run as.

use std::{collections::BTreeMap, path::Path};

use nix::unistd::User;

use crate::system::file::{self, Kind};

/// The number of the unprivileged account on every system, also where `/etc/passwd` has no line for it.
const NOBODY: u32 = 65_534;

/// An account and its primary group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub user: u32,
    pub group: u32,
}

/// The accounts and groups of a machine.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: BTreeMap<String, (u32, u32)>,
    groups: BTreeMap<String, u32>,
    /// Is the name service asked for accounts that the files do not have?
    served: bool,
}

impl Accounts {
    /// The accounts of this machine.
    pub fn current() -> Self {
        let read =
            |path: &str| file::text(Path::new(path), Kind::Configuration).unwrap_or_default();
        Self {
            served: true,
            ..Self::read(&read("/etc/passwd"), &read("/etc/group"))
        }
    }

    /// Reads the texts of `passwd(5)` and `group(5)`.
    pub fn read(users: &str, groups: &str) -> Self {
        let user = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, user, group, ..] = *fields else {
                return None;
            };
            Some((name.to_owned(), (user.parse().ok()?, group.parse().ok()?)))
        };
        let group = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, group, ..] = *fields else {
                return None;
            };
            Some((name.to_owned(), group.parse().ok()?))
        };
        Self {
            users: users.lines().filter_map(user).collect(),
            groups: groups.lines().filter_map(group).collect(),
            served: false,
        }
    }

    /// Looks in the files first, then asks the name service, which may have to wait for the network.
    pub fn user(&self, name: &str) -> Option<Account> {
        let served = || {
            let user = self
                .served
                .then(|| User::from_name(name).ok().flatten())??;
            Some(Account {
                name: name.to_owned(),
                user: user.uid.as_raw(),
                group: user.gid.as_raw(),
            })
        };
        self.local(name).or_else(served)
    }

    /// Looks in the files alone.
    pub fn local(&self, name: &str) -> Option<Account> {
        let (user, group) = self.users.get(name).copied()?;
        let name = name.to_owned();
        Some(Account { name, user, group })
    }

    /// The name of a group.
    pub fn group(&self, number: u32) -> Option<&str> {
        let mut groups = self.groups.iter();
        groups.find_map(|(name, it)| (*it == number).then_some(name.as_str()))
    }

    /// Does a name that is not found mean that there is no such account?
    pub fn complete(&self) -> bool {
        self.served
    }

    /// The account without rights.
    pub fn nobody(&self) -> Account {
        self.local("nobody").unwrap_or(Account {
            name: "nobody".to_owned(),
            user: NOBODY,
            group: NOBODY,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_passwd_and_the_account_nobody_always_exists() {
        let users = "root:x:0:0:root:/root:/bin/bash\nhaproxy:x:104:110::/var/lib/haproxy:/usr/sbin/nologin\nbad:x:y:1\n";
        let accounts = Accounts::read(users, "root:x:0:\nhaproxy:x:110:\n");
        let haproxy = Account {
            name: "haproxy".to_owned(),
            user: 104,
            group: 110,
        };
        assert_eq!(accounts.user("haproxy"), Some(haproxy));
        assert_eq!(accounts.user("bad"), None);
        assert_eq!(
            [110, 111].map(|it| accounts.group(it)),
            [Some("haproxy"), None]
        );
        assert_eq!(accounts.nobody().user, NOBODY);
        let odd = Accounts::read("nobody:x:99:98::/:/bin/false\n", "");
        assert_eq!((odd.nobody().user, odd.nobody().group), (99, 98));
    }
}
