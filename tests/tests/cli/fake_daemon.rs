//! The commands with a played daemon: what they send, what they show of the answer, and the exit status.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    thread::{self, JoinHandle},
};

use ober_user::{
    api::{
        Answer, Checked, Edit, Failure, How, Question, Reloaded, Reply, Sampling, Synced, Target,
        status::DropEvent,
    },
    dataplane::access::Diff,
};

use crate::{Node, Ran};

/// Answers one line with these answers, then hangs up and returns the line. A first request for the lists is answered
/// with those of the configuration.
fn daemon(node: &Node, answers: Vec<Answer>) -> JoinHandle<String> {
    let run = node.path().join("run");
    fs::create_dir_all(&run).unwrap();
    let socket = run.join("control.sock");
    if socket.exists() {
        fs::remove_file(&socket).unwrap();
    }
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, mut asked) = asked(&listener);
        let question = serde_json::from_str(&asked);
        let lists = matches!(question, Ok(Question::Check { address }) if address.is_unspecified());
        if lists {
            say(&mut stream, &Ok(checked(false)));
            (stream, asked) = self::asked(&listener);
        }
        for answer in answers {
            say(&mut stream, &answer);
        }
        asked
    })
}

fn asked(listener: &UnixListener) -> (UnixStream, String) {
    let (stream, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap())
        .read_line(&mut line)
        .unwrap();
    (stream, line)
}

fn say(stream: &mut UnixStream, answer: &Answer) {
    writeln!(stream, "{}", serde_json::to_string(answer).unwrap()).unwrap();
}

/// The lists of the configuration, the first of which holds an address or not.
fn checked(listed: bool) -> Reply {
    let check = |(list, listed): (&str, bool)| Checked {
        list: list.into(),
        listed,
    };
    let lists = [("frontend-http", listed), ("routers", false)];
    Reply::Checked(lists.map(check).to_vec())
}

fn play(node: &Node, answer: Answer, args: &[&str]) -> (Ran, Question) {
    let daemon = daemon(node, vec![answer]);
    let ran = node.run(args);
    let asked = serde_json::from_str(&daemon.join().unwrap());
    (ran, asked.unwrap())
}

fn synced(list: &str, unresolved: &[&str]) -> Synced {
    let unresolved: BTreeMap<_, _> = unresolved
        .iter()
        .map(|name| ((*name).to_owned(), "no such name".to_owned()))
        .collect();
    Synced {
        target: Target::List(list.into()),
        change: Diff {
            added: 2,
            removed: 1,
        },
        count: 5,
        added: vec!["10.0.0.1-10.0.0.2".into()],
        removed: vec![],
        kept: unresolved.keys().cloned().collect(),
        unresolved,
        unkept: None,
    }
}

fn edit(target: Target, how: How, sources: &[&str]) -> Edit {
    Edit {
        target,
        how,
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        stdin: None,
    }
}

fn list(name: &str) -> Target {
    Target::List(name.into())
}

fn sync_of(request: Question) -> ober_user::api::Sync {
    match request {
        Question::Sync(sync) => sync,
        other => panic!("{other:?} is no sync"),
    }
}

#[test]
fn the_options_of_sync_become_one_request() {
    let node = Node::with("sync", "\n[lists.guests]\nsources = []\n");
    let answer = Ok(Reply::Synced(vec![synced("frontend-http", &[])]));
    let args = [
        "sync",
        "--frontend-http",
        "n[1-3]",
        "--routers",
        "",
        "--backend-http",
        "rgw[1-2]:7480",
        "--list",
        "guests",
        "10.0.0.0/8",
        "--dry-run",
        "--prune",
    ];
    let (ran, asked) = play(&node, answer, &args);
    assert_eq!(ran.code, 0, "{ran:?}");
    let sync = sync_of(asked);
    assert!(sync.dry_run && sync.prune);
    let expected = [
        edit(list("frontend-http"), How::Replace, &["n[1-3]"]),
        edit(list("routers"), How::Replace, &[]),
        edit(list("guests"), How::Replace, &["10.0.0.0/8"]),
        edit(
            Target::Backend("rgw".into()),
            How::Replace,
            &["rgw[1-2]:7480"],
        ),
    ];
    assert_eq!(sync.edits, expected);
    assert!(
        ran.out.contains("would be 2 added") && ran.out.contains("+ 10.0.0.1-10.0.0.2"),
        "{ran:?}"
    );
}

#[test]
fn sync_refresh_covers_every_list_that_the_same_command_does_not_set() {
    let node = Node::new("refresh");
    let answer = Ok(Reply::Synced(vec![]));
    let (ran, asked) = play(
        &node,
        answer,
        &["acl", "sync", "--refresh", "--routers", "r1"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = [
        edit(list("routers"), How::Replace, &["r1"]),
        edit(list("frontend-http"), How::Refresh, &[]),
    ];
    assert_eq!(sync_of(asked).edits, expected);
}

#[test]
fn names_that_do_not_resolve_are_listed_and_make_the_exit_status_3() {
    let node = Node::new("unresolved");
    let answer = || Ok(Reply::Synced(vec![synced("frontend-http", &["n7"])]));
    let (ran, _) = play(&node, answer(), &["sync", "--refresh"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.out
            .contains("not resolved: n7: no such name; keeps its earlier addresses"),
        "{ran:?}"
    );
    let (ran, _) = play(&node, answer(), &["sync", "--refresh", "--json"]);
    assert_eq!(
        (ran.code, &ran.json()[0]["unresolved"]["n7"]),
        (3, &"no such name".into())
    );
}

#[test]
fn files_are_sent_by_absolute_path_and_standard_input_by_its_text() {
    let node = Node::new("streams");
    let here = std::env::current_dir().unwrap();
    let file = format!("@{}/hosts,n1", here.display());
    // In Latin-1: only in a comment is that harmless, and there it is not read.
    let latin: &[u8] = b"n8 # B\xfcro\n";
    for (written, sent, input, stdin) in [
        ("@hosts,n1", file.as_str(), &b""[..], None),
        ("-", "-", b"n8\nn9\n", Some("n8\nn9\n")),
        ("-", "-", latin, Some("n8 # B\u{fffd}ro\n")),
    ] {
        let running = daemon(&node, vec![Ok(Reply::Synced(vec![]))]);
        let ran = node.run_with_input(&["acl", "add", "frontend-http", written], input);
        assert_eq!(ran.code, 0, "{ran:?}");
        let expected = Edit {
            stdin: stdin.map(ToOwned::to_owned),
            ..edit(list("frontend-http"), How::Add, &[sent])
        };
        assert_eq!(
            sync_of(serde_json::from_str(&running.join().unwrap()).unwrap()).edits,
            [expected]
        );
    }
    let (_, asked) = play(
        &node,
        Ok(Reply::Synced(vec![])),
        &["acl", "remove", "routers", "r1"],
    );
    assert_eq!(
        sync_of(asked).edits,
        [edit(list("routers"), How::Remove, &["r1"])]
    );
}

#[test]
fn the_exit_status_of_a_refusal_distinguishes_wrong_usage_from_a_failure() {
    let node = Node::new("refusal");
    for (usage, code) in [(true, 2), (false, 1)] {
        let failure = Failure {
            message: "these are the daemon's words".into(),
            usage,
        };
        let (ran, _) = play(&node, Err(failure), &["sync", "--routers", "n1"]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
        assert!(ran.err.contains("these are the daemon's words"), "{ran:?}");
    }
}

#[test]
fn acl_check_answers_by_its_exit_status() {
    let node = Node::new("check");
    for (listed, more, code) in [
        (true, &[][..], 0),
        (false, &[], 1),
        (true, &["--list", "frontend-http"], 0),
        (true, &["--list", "routers"], 1),
    ] {
        let args = [&["acl", "check", "192.0.2.1"], more].concat();
        let (ran, asked) = play(&node, Ok(checked(listed)), &args);
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        assert_eq!(
            asked,
            Question::Check {
                address: "192.0.2.1".parse().unwrap()
            }
        );
    }
}

#[test]
fn watch_prints_a_line_a_drop_until_the_daemon_is_gone() {
    let node = Node::new("watch");
    let drop = DropEvent {
        at: 1_500_000_000,
        reason: "denied".into(),
        service: "s3".into(),
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.10".parse().unwrap(),
        source_port: 40_000,
        destination_port: 80,
        protocol: 6,
        interface: "in0".into(),
        length: 66,
    };
    let sampling = Sampling {
        one_in: 64,
        rate: 100,
    };
    let answers = vec![
        Ok(Reply::Watching(sampling)),
        Ok(Reply::Drop(drop.clone())),
        Ok(Reply::Drop(drop)),
    ];
    let running = daemon(&node, answers);
    let ran = node.run(&["acl", "watch"]);
    assert_eq!(running.join().unwrap(), "{\"do\":\"watch\"}\n");
    let (head, lines) = ran.out.split_once('\n').unwrap();
    assert!(head.contains("one drop in 64 is shown"), "{head}");
    // The time of day stands before each.
    let lines: Vec<_> = lines
        .lines()
        .map(|it| it.split_once(' ').unwrap())
        .collect();
    let line = "denied s3 tcp 192.0.2.1:40000 -> 192.0.2.10:80 on in0, 66 bytes";
    assert_eq!((ran.code, lines.len()), (1, 2), "{lines:?}");
    for (time, event) in lines {
        assert_eq!((time.len(), event), ("00:00:00.000000".len(), line));
    }
    assert!(ran.err.contains("hung up"), "{}", ran.err);
}

#[test]
fn a_reload_that_failed_to_change_a_worker_sets_a_failing_exit_status() {
    let node = Node::new("reload");
    let mut reloaded = Reloaded {
        replaced: vec![0],
        changed_live: vec![3],
        unchanged: vec![1],
        ..Reloaded::default()
    };
    let (ran, asked) = play(&node, Ok(Reply::Reloaded(reloaded.clone())), &["reload"]);
    assert_eq!((ran.code, asked), (0, Question::Reload), "{ran:?}");
    assert_eq!(
        ran.out,
        "worker 0: replaced\nworker 3: changed while it runs\nworker 1: unchanged\n"
    );
    reloaded.failed.insert(2, "it ended".into());
    let (ran, _) = play(&node, Ok(Reply::Reloaded(reloaded)), &["reload"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("worker 2: failed: it ended"), "{ran:?}");
}

#[test]
fn an_answer_of_another_version_is_refused() {
    let node = Node::new("version");
    let (ran, _) = play(&node, Ok(Reply::Lists(vec![])), &["status"]);
    assert!(ran.code == 1 && ran.err.contains("one version"), "{ran:?}");
}

#[test]
fn detach_is_refused_while_the_daemon_runs() {
    let node = Node::new("busy");
    fs::create_dir(node.path().join("run")).unwrap();
    let _listener = UnixListener::bind(node.path().join("run/control.sock")).unwrap();
    let ran = node.run(&["detach"]);
    assert!(
        ran.code == 1 && ran.err.contains("daemon is running"),
        "{ran:?}"
    );
}
