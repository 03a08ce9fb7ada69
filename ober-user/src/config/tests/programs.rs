//! Accounts of workers and programs, and other accounts that may change these programs.

use std::os::unix::fs::chown;

use super::*;

impl ConfigDirectory {
    fn program(&self, mode: u32, owner: u32, group: u32) {
        let path = self.path("check.sh");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        chown(&path, Some(owner), Some(group)).unwrap();
        self.mode("check.sh", mode);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A source that runs the program, with these keys.
    fn source(&self, keys: &str) -> String {
        let program = self.path("check.sh");
        format!(
            "[node]\ninterfaces=['a']\n[[backends.b.discover]]\nkind='exec'\ncommand=['{}', 'word']\n{keys}\n",
            program.display()
        )
    }
}

#[test]
fn a_program_runs_as_the_account_nobody_unless_another_account_is_configured() {
    let directory = ConfigDirectory::new();
    directory.program(0o755, 0, 0);
    fs::write(directory.path("token"), "t").unwrap();
    directory.mode("token", 0o600);
    let account = |keys: &str| {
        let config = directory.parse(&directory.source(keys)).unwrap();
        let program = config.programs()[0].clone();
        assert_eq!(program.arguments, ["word"]);
        (program.account, program.secret)
    };
    let (nobody, secret) = account("");
    assert_eq!((nobody.user, nobody.group, secret), (65_534, 65_534, None));
    let (checks, secret) = account("user='checks'\nsecret_file='token'");
    assert_eq!((checks.user, checks.group), (71, 72));
    assert_eq!(secret, Some(directory.path("token")));
    assert_eq!(
        directory.problems(&directory.source("user='none'\nsecret_file='gone'")),
        [
            "6: there is no account `none` on this machine | make it (`adduser --system --group none`), or leave the key out: then the account is `nobody`",
            "7: read the secret in @/gone: No such file or directory (os error 2) | one line or a few, in a file for root alone",
        ]
    );
    let elsewhere = "[node]\ninterfaces=['a']\n[backends.b.check]\nkind='tcp'\nuser='root'\n";
    assert_eq!(
        directory.problems(elsewhere),
        ["5: `user` is not for a check of kind `tcp` | remove it, or write `kind = \"exec\"`"]
    );
}

#[test]
fn a_world_writable_program_is_refused_and_one_run_as_root_if_others_may_write_it() {
    let directory = ConfigDirectory::new();
    let as_nobody =
        "is run as nobody, and every account may write @/check.sh | chmod o-w @/check.sh";
    let as_root = |words: &str| format!("5: @/check.sh is run as root, and {words}");
    let by_all = as_root("every account may write @/check.sh | chmod o-w @/check.sh");
    let by_account = as_root("@/check.sh belongs to the account 1000 | chown root @/check.sh");
    let by_group = as_root("the group 50 may write @/check.sh | chmod g-w @/check.sh");
    for (mode, owner, group, nobody, root) in [
        (0o755, 0, 0, None, None),
        (0o775, 0, 0, None, None),
        (
            0o757,
            0,
            0,
            Some(format!("5: @/check.sh {as_nobody}")),
            Some(&by_all),
        ),
        (0o755, 1000, 0, None, Some(&by_account)),
        (0o775, 0, 50, None, Some(&by_group)),
    ] {
        directory.program(mode, owner, group);
        for (keys, refused) in [("", nobody.as_ref()), ("user='root'", root)] {
            let text = directory.source(keys);
            match refused {
                None => drop(directory.parse(&text).unwrap()),
                Some(words) => assert_eq!(directory.problems(&text), [words.as_str()], "{mode:o}"),
            }
        }
    }
}

#[test]
fn a_script_passed_to_a_shell_is_judged_like_a_program() {
    let directory = ConfigDirectory::new();
    directory.program(0o757, 0, 0);
    let text = directory
        .source("")
        .replace("command=['", "command=['/bin/sh', '");
    assert_eq!(
        directory.problems(&text),
        [
            "5: @/check.sh is for a program of nobody, and every account may write @/check.sh | chmod o-w @/check.sh"
        ]
    );
    directory.program(0o755, 1000, 0);
    let config = directory.parse(&text).unwrap();
    let remarks = config.remarks(&directory.path("none"));
    let last = remarks.last().unwrap().to_string();
    assert!(
        last.contains("check.sh belongs to the account 1000"),
        "{last}"
    );
}

#[test]
fn accounts_and_permissions_that_are_allowed_but_unwise_give_a_remark() {
    let directory = ConfigDirectory::new();
    directory.program(0o775, 1000, 50);
    let main = directory.path("ober.toml");
    let text = directory.source("");
    fs::write(&main, &text).unwrap();
    chown(&main, Some(0), Some(50)).unwrap();
    directory.mode("ober.toml", 0o664);
    directory.mode("", 0o700);
    let remarks = || {
        let config = directory.parse(&text).unwrap();
        let said = config.remarks(&main).into_iter().map(|it| it.to_string());
        let base = directory.directory.path().to_str().unwrap();
        said.map(|it| it.replace(base, "@")).collect::<Vec<_>>()
    };
    let found = remarks();
    let [account, written, closed, program] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(account.starts_with("workers.user: HAProxy runs as root: the machine has no account"));
    assert_eq!(
        written,
        "@/ober.toml: the group 50 may write @/ober.toml; chmod g-w @/ober.toml"
    );
    assert!(
        closed.starts_with(
            "@/check.sh, run as nobody: nobody may not execute it: see the mode of @;"
        ),
        "{closed}"
    );
    assert_eq!(
        program,
        "@/check.sh, run as nobody: @/check.sh belongs to the account 1000; chown root @/check.sh"
    );
    directory.mode("", 0o755);
    directory.program(0o755, 0, 0);
    directory.mode("ober.toml", 0o600);
    assert_eq!(remarks(), [account.as_str()]);
}

#[test]
fn a_world_writable_configuration_is_refused_with_the_remedy() {
    let directory = ConfigDirectory::new();
    let main = directory.path("ober.toml");
    let load = || {
        let said = Config::load(&main).map_err(|error| error.to_string());
        said.map_err(|said| said.replace(directory.directory.path().to_str().unwrap(), "@"))
    };
    fs::write(
        &main,
        "[node]\ninterfaces=['a']\n[workers]\nhaproxy='./haproxy'\n",
    )
    .unwrap();
    directory.mode("ober.toml", 0o640);
    load().unwrap();
    directory.mode("ober.toml", 0o666);
    assert_eq!(
        load().unwrap_err(),
        "read configuration @/ober.toml: it decides which programs the daemon runs, and every account may write @/ober.toml: chmod o-w @/ober.toml"
    );
    directory.mode("ober.toml", 0o640);
    fs::create_dir(directory.path("config.d")).unwrap();
    fs::write(directory.path("config.d/1.toml"), "").unwrap();
    directory.mode("config.d", 0o777);
    assert!(load().unwrap_err().ends_with("chmod o-w @/config.d"));
    directory.mode("config.d", 0o755);
    directory.mode("haproxy", 0o757);
    let refused = load().unwrap_err();
    assert!(
        refused.contains("@/./haproxy is started as root, and every account may write @/haproxy"),
        "{refused}"
    );
}

#[test]
fn workers_run_as_the_account_ober_or_haproxy_if_it_exists_and_their_group_is_always_set() {
    let mut directory = ConfigDirectory::new();
    let mut runs_as = |users: &str, groups: &str, keys: &str| {
        directory.env.accounts = Accounts::read(users, groups);
        let text = format!("[node]\ninterfaces=['a']\n[workers]\nhaproxy='haproxy'\n{keys}");
        let workers = directory.parse(&text).unwrap().workers;
        (workers.user, workers.group)
    };
    let some = |user: &str, group: &str| (Some(user.to_owned()), Some(group.to_owned()));
    let users = "haproxy:x:104:110::/:/bin/false\nweb:x:5:6::/:/bin/false\n";
    let groups = "haproxy:x:110:\nwww:x:6:\n";
    for (keys, expected) in [
        ("", some("haproxy", "haproxy")),
        ("group='www'", some("haproxy", "www")),
        ("user='web'", some("web", "www")),
        ("user='web'\ngroup='haproxy'", some("web", "haproxy")),
    ] {
        assert_eq!(runs_as(users, groups, keys), expected, "{keys}");
    }
    let (users, groups) = (
        format!("{users}ober:x:990:990::/:/bin/false\n"),
        format!("{groups}ober:x:990:\n"),
    );
    assert_eq!(runs_as(&users, &groups, ""), some("ober", "ober"));
    assert_eq!(
        runs_as(&users, &groups, "user='haproxy'"),
        some("haproxy", "haproxy")
    );
    assert_eq!(runs_as("", "", ""), (None, None));
}
