use proptest::prelude::*;

use super::*;

const HEAD: &str = "# For haproxy\nglobal\n    nbthread 1\n\nbackend rgw\n";

fn text(method: &str, servers: &[&str]) -> String {
    let servers: String = servers
        .iter()
        .flat_map(|server| ["    server ", server, "\n"])
        .collect();
    format!(
        "{HEAD}    balance {method}\n    default-server check inter 2s rise 2 fall 3\n{servers}\nfrontend ober-stats\n    stats \
         enable\n"
    )
}

fn commands_between(has: &[&str], wanted: &[&str]) -> Vec<String> {
    match compare(
        &text("leastconn", has),
        &text("leastconn", wanted),
        &Leaving::new(),
    ) {
        Comparison::Live(commands) => commands.iter().map(ToString::to_string).collect(),
        Comparison::Unchanged => Vec::new(),
        Comparison::Replace(why) => panic!("{why}"),
    }
}

#[test]
fn changes_that_the_runtime_api_can_make_become_commands() {
    let one = "a 10.0.0.1:80 weight 3 maxconn 5";
    for (has, wanted, commands) in [
        (vec![one], vec![one], vec![]),
        (
            vec![one],
            vec!["a 10.0.0.1:80 weight 4 maxconn 5"],
            vec!["set server rgw/a weight 4"],
        ),
        (
            vec![one],
            vec!["a 10.0.0.1:80 weight 3 maxconn 6"],
            vec!["set maxconn server rgw/a 6"],
        ),
        (
            vec![one],
            vec!["a 10.0.0.1:80"],
            vec!["set server rgw/a weight 1", "set maxconn server rgw/a 0"],
        ),
        (
            vec![one],
            vec!["a [fd00::1]:81 weight 3 maxconn 5"],
            vec!["set server rgw/a addr fd00::1 port 81"],
        ),
        (
            vec![one],
            vec![
                "b [fd00::1]:81 id 7 weight 3 send-proxy-v2 ssl crt '/a b;c' check-sni backup backup",
            ],
            vec![
                "add server rgw/b [fd00::1]:81 check inter 2s rise 2 fall 3 id 7 weight 3 send-proxy-v2 ssl crt \
                 /a\\ b\\;c check-sni backup backup",
                "enable health rgw/b",
                "set server rgw/b state ready",
                "set server rgw/a weight 0",
                "set server rgw/a state maint",
            ],
        ),
        (
            vec!["a 10.0.0.1:80 backup disabled"],
            vec!["a 10.0.0.1:80 backup", "c 10.0.0.3:80 backup disabled"],
            vec![
                "set server rgw/a state ready",
                "add server rgw/c 10.0.0.3:80 check inter 2s rise 2 fall 3 backup",
                "enable health rgw/c",
            ],
        ),
        // The order of servers does not matter.
        (
            vec![one, "b 10.0.0.2:80"],
            vec!["b 10.0.0.2:80", one],
            vec![],
        ),
    ] {
        assert_eq!(
            commands_between(&has, &wanted),
            commands,
            "{has:?} to {wanted:?}"
        );
    }
}

#[test]
fn changes_that_the_runtime_api_cannot_make_name_their_reason() {
    let one = "a 10.0.0.1:80";
    let cases = [
        (
            text("leastconn", &[one]),
            text("roundrobin", &[one]),
            "balance roundrobin",
        ),
        (
            text("leastconn", &[one]),
            text("leastconn", &[one]) + "x\n",
            "x",
        ),
        (
            text("leastconn", &[one]) + "x\n",
            text("leastconn", &[one]),
            "x",
        ),
        (
            text("x", &["a 10.0.0.1:80 id 1"]),
            text("x", &["a 10.0.0.1:80 id 2"]),
            "circle",
        ),
        (
            text("x", &[one]),
            text("x", &["a 10.0.0.1:80 backup"]),
            "tier",
        ),
        (
            text("x", &[one]),
            text("x", &["a 10.0.0.1:80 ssl"]),
            "reached in another way",
        ),
        (
            text("first", &[one]),
            text("first", &[one, "b 10.0.0.2:80"]),
            "order",
        ),
    ];
    let map = |servers: &[&str]| text("source\n    hash-type map-based", servers);
    let tables = [
        (map(&[one]), map(&[one, "b 10.0.0.2:80"]), "table"),
        (map(&[one, "b 10.0.0.2:80"]), map(&[one]), "table"),
        (map(&[one]), map(&["a 10.0.0.1:80 weight 2"]), "table"),
    ];
    for (has, wanted, reason) in cases.into_iter().chain(tables) {
        let change = compare(&has, &wanted, &Leaving::new());
        assert!(
            matches!(&change, Comparison::Replace(why) if why.contains(reason)),
            "{reason}: {change:?}"
        );
    }
}

#[test]
fn map_based_hashing_and_balance_first_still_allow_some_live_changes() {
    let map = |servers: &[&str]| text("source\n    hash-type map-based", servers);
    let change = compare(
        &map(&["a 10.0.0.1:80"]),
        &map(&["a 10.0.0.2:80 maxconn 3"]),
        &Leaving::new(),
    );
    assert!(matches!(change, Comparison::Live(commands) if commands.len() == 2));
    let (two, one) = (["a 10.0.0.1:80", "b 10.0.0.2:80"], ["b 10.0.0.2:80"]);
    let change = compare(&text("first", &two), &text("first", &one), &Leaving::new());
    assert!(matches!(change, Comparison::Live(commands) if commands.len() == 2));
}

#[test]
fn a_server_that_returns_while_leaving_is_kept_if_unchanged_or_needs_a_new_process() {
    let none: [&str; 0] = [];
    let gone = text("x", &["a 10.0.0.1:80 weight 2"]);
    let gone = Text::read(&gone);
    let leaving: Leaving = gone
        .servers()
        .into_iter()
        .map(|(key, (_, server))| (key, server.clone()))
        .collect();
    let back = |line: &str| compare(&text("x", &none), &text("x", &[line]), &leaving);
    let Comparison::Live(commands) = back("a 10.0.0.1:80 weight 3") else {
        panic!("it is there");
    };
    let commands: Vec<_> = commands.iter().map(ToString::to_string).collect();
    assert_eq!(
        commands,
        ["set server rgw/a weight 3", "set server rgw/a state ready"]
    );
    assert!(
        matches!(back("a 10.0.0.1:80 ssl"), Comparison::Replace(why) if why.contains("not finished"))
    );
}

#[test]
fn comparison_work_grows_linearly_with_the_servers() {
    let lines = |count: usize, name: &str| {
        let line = |number| format!("{name}{number} 10.0.{}.{}:80", number >> 8, number & 255);
        (0..count).map(line).collect::<Vec<_>>()
    };
    for method in ["leastconn", "first", "source\n    hash-type map-based"] {
        let make = |count: usize| {
            let text = |name: &str| {
                let lines = lines(count, name);
                text(
                    method,
                    &lines.iter().map(String::as_str).collect::<Vec<_>>(),
                )
            };
            [text("a"), text("b")]
        };
        ober_test_support::scale::linear([100, 1000], make, |[one, other]| {
            std::hint::black_box(compare(one, other, &Leaving::new()));
            std::hint::black_box(compare(one, &one.replace("a1 ", "a1x "), &Leaving::new()));
        });
    }
}

/// A model of HAProxy: address, weight and limit of each server, and whether it gets connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model(BTreeMap<Key, (String, u16, u32, bool)>);

impl Model {
    fn started(text: &str) -> Self {
        let text = Text::read(text);
        let servers = text.servers().into_iter();
        let one = |(key, (_, server)): (Key, (&Backend, &Server))| {
            let state = (
                server.address.clone(),
                server.weight(),
                server.most(),
                !server.held,
            );
            (key, state)
        };
        Self(servers.map(one).collect())
    }

    /// Does a command as HAProxy would; false where HAProxy would refuse.
    fn does(&mut self, command: &Command) -> bool {
        let key = &command.key;
        let place = |ip: &str, port: &str| {
            if ip.contains(':') {
                format!("[{ip}]:{port}")
            } else {
                format!("{ip}:{port}")
            }
        };
        match (&command.verb, self.0.get_mut(key)) {
            (Verb::Add(address, words), None) => {
                let number = |name: &str| {
                    let at = words.iter().position(|word| word == name)?;
                    words.get(at + 1)?.parse::<u16>().ok()
                };
                let (weight, most) = (
                    number("weight").unwrap_or(1),
                    number("maxconn").unwrap_or(0),
                );
                self.0
                    .insert(key.clone(), (address.clone(), weight, most.into(), false));
            }
            (Verb::Check, Some(_)) => {}
            (Verb::Ready, Some(server)) => server.3 = true,
            (Verb::Maintain | Verb::Leave, Some(server)) => server.3 = false,
            (Verb::Address(ip, port), Some(server)) => server.0 = place(ip, port),
            (Verb::Weight(weight), Some(server)) => server.1 = *weight,
            (Verb::Connections(most), Some(server)) => server.2 = *most,
            (Verb::Delete, Some(server)) if !server.3 => drop(self.0.remove(key)),
            _ => return false,
        }
        true
    }
}

prop_compose! {
    fn server()(name in "[a-d]", last in 1..9_u8, weight in proptest::option::of(0..4_u16), most in proptest::option::of(1..4_u32), wait: bool) -> String {
        let mut line = format!("{name} 10.0.0.{last}:80");
        line.extend(weight.map(|weight| format!(" weight {weight}")));
        line.extend(most.map(|most| format!(" maxconn {most}")));
        // All have the same role, so that no change needs another process.
        line + if wait { " backup disabled" } else { " backup" }
    }
}

fn servers() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(server(), 0..5).prop_map(|mut lines| {
        lines.sort();
        lines.dedup_by_key(|line| line.chars().next());
        lines
    })
}

proptest! {
    #[test]
    fn the_live_commands_lead_to_the_new_servers_and_remove_none_before_the_new_ones_serve(steps in proptest::collection::vec(servers(), 2..6)) {
        let texts: Vec<String> = steps
            .iter()
            .map(|lines| text("roundrobin", &lines.iter().map(String::as_str).collect::<Vec<_>>()))
            .collect();
        let mut model = Model::started(&texts[0]);
        let mut leaving = Leaving::new();
        for pair in texts.windows(2) {
            let commands = match compare(&pair[0], &pair[1], &leaving) {
                Comparison::Unchanged => Vec::new(),
                Comparison::Live(commands) => commands,
                Comparison::Replace(why) => return Err(TestCaseError::fail(why)),
            };
            let (before, wanted) = (Text::read(&pair[0]), Text::read(&pair[1]));
            for command in &commands {
                prop_assert!(model.does(command), "{command} is refused");
                if command.verb == Verb::Leave {
                    let gone = before.servers()[&command.key].1.clone();
                    leaving.insert(command.key.clone(), gone);
                    for key in wanted.servers().keys() {
                        prop_assert!(model.0.contains_key(key), "{key} is there before {command}");
                    }
                }
            }
            leaving.retain(|key, _| !wanted.servers().contains_key(key));
            let mut serving = model.clone();
            serving.0.retain(|key, _| !leaving.contains_key(key));
            prop_assert_eq!(&serving, &Model::started(&pair[1]));
            prop_assert!(leaving.keys().all(|key| !model.0[key].3), "who leaves gets nothing new");
        }
    }

    #[test]
    fn reading_an_arbitrary_configuration_never_panics_and_equal_texts_are_no_change(text in "(backend a|    server a b c|    |\\PC|\n)*") {
        Text::read(&text);
        prop_assert_eq!(compare(&text, &text, &Leaving::new()), Comparison::Unchanged);
    }
}
