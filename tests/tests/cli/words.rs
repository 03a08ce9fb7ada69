//! Commands that need neither a daemon nor a kernel.

use std::io::Read as _;

use ober_programs::Command;
use ober_tests::terminal;

use crate::{Node, ober, run, run_with_input};

/// Every command as it is typed, and the commands below it with a hyphen between.
fn commands() -> Vec<String> {
    fn below(command: &clap::Command, before: &str, all: &mut Vec<String>) {
        let own = command
            .get_subcommands()
            .filter(|it| it.get_name() != "help");
        for command in own {
            let words = format!("{before}{}", command.get_name());
            below(command, &format!("{words}-"), all);
            all.push(words);
        }
    }
    let mut all = Vec::new();
    below(
        &<ober_user::cli::Ober as clap::CommandFactory>::command(),
        "",
        &mut all,
    );
    assert!(all.len() > 35, "{all:?}");
    all
}

#[test]
fn help_names_every_command_and_what_each_exit_status_means() {
    let help = run(&["--help"]);
    assert_eq!(help.code, 0);
    for command in commands().iter().filter(|it| !it.contains('-')) {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command}\n{}",
            help.out
        );
    }
    let one_line = help.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for meaning in [
        "0 done",
        "1 failed",
        "2 wrong usage or bad configuration",
        "3 done, but some names",
        "4 there is something to do",
        "5 `start` or `restart` ended with a VIP that is not announced",
    ] {
        assert!(one_line.contains(meaning), "{meaning}\n{}", help.out);
    }
    // Where XDP is generic, packets are counted as the kernel has joined them.
    assert!(run(&["counters", "--help"]).out.contains("GRO"));
    let acl = run(&["acl", "--help"]).out;
    for command in ["sync", "show", "check", "add", "remove", "watch"] {
        assert!(acl.contains(&format!("\n  {command} ")), "{command}\n{acl}");
    }
}

#[test]
fn messages_and_usage_have_the_word_that_was_typed() {
    let node = Node::new("typed");
    let mut config = String::new();
    let args = node.args(&mut config, &["gate"]);
    for (typed, word) in [
        ("/usr/bin/ober", "ober"),
        ("ober-user", "ober-user"),
        ("/opt/ober-0.2", "ober-user"),
    ] {
        let failed = ober(&args).arg0(typed).output().unwrap();
        let text = String::from_utf8(failed.stderr).unwrap();
        assert!(text.contains(&format!("`{word} start`")), "{text}");
        let misused = ober(&["stop", "--nothing"]).arg0(typed).output().unwrap();
        let text = String::from_utf8(misused.stderr).unwrap();
        assert!(text.contains(&format!("Usage: {word} stop ")), "{text}");
    }
}

#[test]
fn sync_is_an_alias_of_acl_sync() {
    let (short, long) = (
        run(&["sync", "--help"]).out,
        run(&["acl", "sync", "--help"]).out,
    );
    let options = |help: &str| help.split_once("Options:").unwrap().1.to_owned();
    assert_eq!(options(&short), options(&long));
    for option in [
        "--frontend-http",
        "--routers",
        "--backend-http",
        "--list",
        "--dry-run",
        "--prune",
        "--refresh",
        "--json",
    ] {
        assert!(short.contains(option), "{option}\n{short}");
    }
}

#[test]
fn a_hostlist_unfolds_to_a_name_a_line_and_folds_back() {
    let expanded = run(&[
        "hostlist",
        "expand",
        "n[09-11],rgw[1-2].internal",
        "fd00::1",
    ]);
    let names = [
        "n09",
        "n10",
        "n11",
        "rgw1.internal",
        "rgw2.internal",
        "fd00::1",
    ];
    assert_eq!(
        (expanded.code, expanded.out.lines().collect::<Vec<_>>()),
        (0, names.to_vec())
    );
    let folded = run_with_input(&["hostlist", "fold", "-"], &expanded.out);
    assert_eq!(
        (folded.code, folded.out.as_str()),
        (0, "n[09-11],rgw[1-2].internal,fd00::1\n")
    );
    let json = run(&["hostlist", "expand", "--json", "a[1-2]"]);
    assert_eq!(json.json(), serde_json::json!(["a1", "a2"]));
}

#[test]
fn a_malformed_hostlist_is_refused_whole_with_the_place_of_the_fault() {
    for (expression, column) in [
        ("n1,n[1-", "column 5"),
        ("n[3-1]", "column 3"),
        ("a,@/nonexistent", "/nonexistent"),
    ] {
        let refused = run(&["hostlist", "expand", expression]);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
        assert!(refused.err.contains(column), "{refused:?}");
    }
    let large = run(&["hostlist", "expand", "n[0-999999999999]"]);
    assert!(large.code == 2 && large.err.contains("limit"), "{large:?}");
}

#[test]
fn completions_are_there_for_each_shell_and_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0, "{script:?}");
        for word in ["hostlist", "frontend-http", "validate"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
    }
}

/// Bash's completions of the last word.
fn completed(script: &str, words: &[&str]) -> Vec<String> {
    let (cur, before) = words.split_last().unwrap();
    let prev = before.last().unwrap();
    let ask = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_ober__user ober-user '{cur}' '{prev}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" "),
        before.len(),
    );
    let asked = ober_programs::BASH.script(&ask, &[]).output().unwrap();
    assert!(
        asked.status.success() && asked.stderr.is_empty(),
        "{asked:?}"
    );
    let offered = String::from_utf8(asked.stdout).unwrap();
    offered.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn bash_offers_the_commands_and_options_that_may_follow() {
    let script = run(&["completions", "bash"]).out;
    for (words, offered) in [
        (&["ober-user", "ac"][..], &["acl"][..]),
        (&["ober-user", "acl", "s"], &["sync", "show"]),
        (
            &["ober-user", "acl", "sync", "--front"],
            &["--frontend-http"],
        ),
        (&["ober-user", "flow", "ex"], &["explain"]),
        (&["ober-user", "completions", "ba"], &["bash"]),
        (
            &["ober-user", "--config", "/etc/x", "hostlist", "f"],
            &["fold"],
        ),
    ] {
        assert_eq!(completed(&script, words), offered, "{words:?}");
    }
    // Each command has its options: `--help` at least.
    let mut waiting = vec![vec!["ober-user"]];
    let ober = <ober_user::cli::Ober as clap::CommandFactory>::command();
    let mut asked = 0;
    while let Some(words) = waiting.pop() {
        let mut command = &ober;
        for word in &words[1..] {
            command = command.find_subcommand(word).unwrap();
        }
        let offered = completed(&script, &[&words[..], &["--hel"]].concat());
        assert_eq!(offered, ["--help"], "{words:?}");
        asked += 1;
        for below in command
            .get_subcommands()
            .filter(|it| it.get_name() != "help")
        {
            waiting.push([&words[..], &[below.get_name()]].concat());
        }
    }
    assert!(asked > 35, "{asked}");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let written = run(&["man", directory.path().to_str().unwrap()]);
    assert_eq!(written.code, 0, "{written:?}");
    for command in commands() {
        let page = std::fs::read_to_string(directory.path().join(format!("ober-user-{command}.1")));
        assert!(page.unwrap().contains(".TH"), "{command}");
    }
    assert!(run(&["man"]).out.contains("Exit status"));
    let nowhere = run(&["man", "/nonexistent/pages"]);
    assert!(
        nowhere.code == 1 && nowhere.err.contains("/nonexistent/pages"),
        "{nowhere:?}"
    );
}

#[test]
fn the_schema_is_the_one_the_configuration_is_documented_with() {
    let documented = include_str!("../../../config/ober.schema.json");
    let documented: serde_json::Value = serde_json::from_str(documented).unwrap();
    assert_eq!(run(&["schema"]).json(), documented);
}

/// Every `ober-user WORD...` a document mentions.
fn mentioned(text: &str) -> Vec<Vec<&str>> {
    let spans = text.split('`').skip(1).step_by(2);
    let calls = spans.filter_map(|span| span.trim().strip_prefix("ober-user "));
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    calls
        .map(|call| call.split_whitespace().take_while(is_word).collect())
        .collect()
}

#[test]
fn the_commands_that_the_documents_name_exist() {
    let documents = [
        include_str!("../../../README.md"),
        include_str!("../../../ARCHITECTURE.md"),
        include_str!("../../../CHANGELOG.md"),
        include_str!("../../../CONTRIBUTING.md"),
        include_str!("../../../config/ober.example.toml"),
    ];
    let calls: Vec<_> = documents.into_iter().flat_map(mentioned).collect();
    assert!(calls.len() >= 10, "{calls:?}");
    for words in calls {
        let mut command = &<ober_user::cli::Ober as clap::CommandFactory>::command();
        for word in words.iter().take_while(|word| !word.starts_with('-')) {
            let below = command.find_subcommand(word);
            assert!(below.is_some() || !command.has_subcommands(), "{words:?}");
            command = below.unwrap_or(command);
        }
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let mut command = ober(&["hostlist", "expand", "n[1-200000]"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The output of a command on a terminal.
fn on_a_terminal(command: &mut Command) -> String {
    let (mut ours, theirs) = terminal::open().unwrap();
    let mut child = command.stdout(theirs).spawn().unwrap();
    // The command's own copies of the terminal are closed, so that reading ends with it.
    command.stdout(std::process::Stdio::null());
    let mut text = Vec::new();
    // Once no process holds the terminal, reading ends with an error instead of an end of file.
    let end = ours.read_to_end(&mut text);
    assert!(child.wait().unwrap().success(), "{end:?}");
    String::from_utf8(text).unwrap()
}

#[test]
fn colour_is_used_on_terminals_only_and_no_color_turns_it_off() {
    let node = Node::new("colour");
    let mut config = String::new();
    let args = node.args(&mut config, &["validate"]);
    let painted = on_a_terminal(ober(&args).env("TERM", "xterm"));
    assert!(painted.contains("\u{1b}[32mvalid"), "{painted:?}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = on_a_terminal(ober(&args).env("TERM", "xterm").env(name, value));
        assert!(
            plain.contains(": valid:") && !plain.contains('\u{1b}'),
            "{name}: {plain:?}"
        );
    }
    assert!(!node.run(&["validate"]).out.contains('\u{1b}'));
}
