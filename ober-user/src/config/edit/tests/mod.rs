//! Only what is answered differs.

mod lines;

use proptest::{prelude::*, sample::select};

use self::lines::{lines_of, lost_lines};

use super::*;
use crate::config::{File, Texts, tests::LEAST};

const EXAMPLE: &str = include_str!("../../../../../config/ober.example.toml");

/// Dotted keys, inline tables, lists over several lines, indented keys, comments everywhere.
const ODD: &str = r#"# The node of rack 7.

node.interfaces = [ "eth1", # towards the clients
    # and the spare one
    "eth2", # not cabled
] # both

node.xdp = 'auto'   # as the card can
bgp = { as = 65001, neighbours = [{ address = "192.0.2.254", as = "external" }] } # one router

[[services]] # for all
  name = "s3" # known to clients
  vips = ["192.0.2.10"]
  backend = "rgw"
  listeners = [
    { port = 443, certificate = "s3.pem" }, # TLS
    { port = 80, access = "open" },
  ]

# Servers.
[backends.rgw]
servers = ['rgw[01-08]:7480'] # the old hall
# port = 80

# End of the file.
"#;

/// Sections out of order, a table before the one that it is in.
const MIXED: &str = "[backends.rgw.check]\npath = '/health' # theirs\n\n[vrrp]\nnode = 'a'\n\n[node]\ninterfaces = ['eth1']\n\
    [[vrrp.nodes]]\nname = 'a'\naddresses = ['10.0.0.1'] # me\n\n[[vrrp.nodes]]\nname = 'b'\naddresses = ['10.0.0.2']\n\
    [[services]]\nname = 's3'\nvips = ['192.0.2.10']\nbackend = 'rgw'\n[[services.listeners]]\nport = 80\naccess = 'open'\n\
    [[services]]\nname = 'two'\nvips = ['192.0.2.11']\nbackend = 'rgw'\n[services.timeouts]\nclient = '5s'\n\
    [[services.listeners]]\nport = 80\naccess = 'open'\n[backends.rgw]\nservers = ['10.0.0.9']\n# bgp: later\n";

fn corpus() -> Vec<String> {
    let plain = [LEAST, EXAMPLE, ODD, MIXED, "", "# nothing yet\n"].map(str::to_owned);
    let crlf = format!("{BOM}{}", ODD.replace('\n', "\r\n"));
    plain.into_iter().chain([crlf]).collect()
}

fn file(text: &str) -> File {
    File {
        path: "/ober.toml".into(),
        text: text.trim_start_matches(BOM).to_owned(),
        mode: 0o600,
    }
}

/// The keys that differ between two texts.
fn differing(from: &str, to: &str) -> Vec<String> {
    let keys = |text: &str| {
        let (main, more) = (file(text), Vec::new());
        Texts { main, more }.keys()
    };
    let differences = keys(from).differences(&keys(to));
    let mut names: Vec<_> = differences.iter().map(|it| it.path.join(".")).collect();
    names.dedup();
    names
}

/// Every comment, in order; none of the texts has `#` in a value.
fn comments(text: &str) -> Vec<&str> {
    let lines = text
        .lines()
        .filter_map(|line| line.find('#').map(|at| &line[at..]));
    lines.map(str::trim_end).collect()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn with(text: &str, settings: &[(&str, &str)]) -> String {
    let mut document = Document::parse(text).unwrap();
    for (name, typed) in settings {
        document.set(&key(name), value(typed).unwrap()).unwrap();
    }
    document.text()
}

/// One line of each key that may be answered, some of them below tables that are not there.
const ANSWERS: &[(&str, &str)] = &[
    ("node.interfaces", "['eth1', 'eth9']"),
    ("node.interfaces", "['eth2']"),
    ("node.interfaces", "[]"),
    ("node.xdp", "generic"),
    ("node.routers", "routers"),
    ("workers.count", "4"),
    ("workers.cpus", "[0, 1]"),
    ("limits.ipv4_pages", "16"),
    ("resolve.timeout", "3s"),
    ("gate.rise", "5"),
    ("bgp.as", "65009"),
    ("bgp.neighbours.192.0.2.254.as", "65000"),
    ("bgp.neighbours.192.0.2.253.as", "65000"),
    ("bgp.neighbours.\"2001:db8::1\".password_file", "secret"),
    ("bgp.depreference.med", "7"),
    ("bfd.profiles.fast.transmit", "50ms"),
    ("vrrp.node", "b"),
    ("vrrp.nodes.a.addresses", "['10.0.0.7']"),
    ("vrrp.nodes.c.addresses", "['10.0.0.3', '2001:db8::3']"),
    ("services.s3.vips", "['192.0.2.10', '192.0.2.77']"),
    ("services.s3.timeouts.client", "7s"),
    ("services.s3.listeners.443.certificate", "other.pem"),
    ("services.s3.listeners.80.access", "frontend-http"),
    ("services.s3.listeners.8443.access", "open"),
    ("services.s3.listeners.443.tls.min", "1.3"),
    ("services.new.vips", "['192.0.2.99']"),
    ("backends.rgw.servers", "['rgw[01-08]:7480', 'rgw9']"),
    ("backends.rgw.check.path", "/ready"),
    ("backends.rgw.check.interval", "2s"),
    ("backends.cold.servers", "['cold1']"),
    ("lists.frontend-http.sources", "['weka[001-100]']"),
    ("acme.terms_agreed", "true"),
    ("acme.tls.verify", "false"),
];

/// The keys that may differ after an answer: its own, and those that name an element which it made.
fn may_differ(name: &str, answer: &str) -> bool {
    let answer = answer.replace('"', "");
    let of_element = |name: &str| {
        let (above, last) = name.rsplit_once('.').unwrap_or_default();
        ["name", "port", "address"].contains(&last) && answer.starts_with(above)
    };
    name == answer || of_element(name)
}

fn only_one_key_differs(text: &str, name: &str, typed: &str) {
    let mut document = Document::parse(text).unwrap();
    if let Err(error) = document.set(&key(name), value(typed).unwrap()) {
        panic!("{name}: {error} in\n{text}");
    }
    let after = document.text();
    let differing = differing(text, &after);
    let before = comments(text);
    assert!(
        differing.iter().all(|it| may_differ(it, name)),
        "{name}: {differing:?}\n{after}"
    );
    assert_eq!(comments(&after), before, "{name} in\n{after}");
    let view = View::of([&file(&after)]);
    let wanted = toml::from_str::<serde_json::Value>(&format!("it = {}", value(typed).unwrap()));
    assert_eq!(
        view.get(&key(name)),
        wanted.unwrap().get("it"),
        "{name}\n{after}"
    );
    // The same answer again, and the lines that are not about it.
    assert_eq!(with(&after, &[(name, typed)]), after, "{name}");
    let own = lines_of(text, &key(name));
    let lost = lost_lines(text, &after);
    assert!(
        lost.iter().all(|line| own.contains(line)),
        "{name}: lines {lost:?} are gone, and its own are {own:?}\n{after}"
    );
}

#[test]
fn a_text_without_edits_is_itself_byte_for_byte() {
    for text in corpus() {
        let document = Document::parse(&text).unwrap();
        assert_eq!(document.text(), text);
        let plain = text.trim_start_matches(BOM).replace("\r\n", "\n");
        assert_eq!(document.rendered(), plain, "also when it is written anew");
    }
}

#[test]
fn whatever_is_answered_only_that_key_differs_and_every_comment_stays_in_its_order() {
    for text in corpus() {
        for (name, typed) in ANSWERS {
            only_one_key_differs(&text, name, typed);
        }
    }
}

#[test]
fn an_answer_that_is_written_already_changes_no_byte() {
    for (name, typed) in [
        ("node.xdp", "auto"),
        ("bgp.as", "65001"),
        ("node.interfaces", "[\"eth1\", \"eth2\"]"),
        (
            "services.s3.listeners",
            "[{port = 443, certificate = 's3.pem'}]",
        ),
        ("bgp", "{ as = 65001 }"),
    ] {
        assert_eq!(with(ODD, &[(name, typed)]), ODD, "{name}");
    }
    let mut document = Document::parse(ODD).unwrap();
    document.merge(&Document::parse(ODD).unwrap()).unwrap();
    assert_eq!(document.text(), ODD);
}

#[test]
fn answers_are_merged_key_by_key_and_tables_of_a_list_by_their_names() {
    let answers = "bgp.as = 65002\n[[services]]\nname = 's3'\nvips = ['192.0.2.20']\n[[services.listeners]]\nport = 8080\naccess = 'open'\n\
                   [[services]]\nname = 'new'\nbackend = 'rgw'\n[lists.more]\nsources = ['a']\n[lists.empty]\n";
    for text in corpus() {
        let mut document = Document::parse(&text).unwrap();
        document.merge(&Document::parse(answers).unwrap()).unwrap();
        let after = document.text();
        let view = View::of([&file(&after)]);
        assert_eq!(view.text(&key("bgp.as")).unwrap(), "65002");
        assert_eq!(view.texts(&key("services.s3.vips")), ["192.0.2.20"]);
        assert_eq!(
            view.text(&key("services.s3.listeners.8080.access"))
                .unwrap(),
            "open"
        );
        assert_eq!(view.text(&key("services.new.backend")).unwrap(), "rgw");
        assert_eq!(view.texts(&key("lists.more.sources")), ["a"]);
        assert!(view.get(&key("lists.empty")).is_some(), "{after}");
        assert_eq!(comments(&after), comments(&text));
        let names = view.names(&key("services"));
        assert_eq!(names.iter().filter(|it| *it == "s3").count(), 1, "{after}");
    }
}

#[test]
fn what_was_set_and_is_removed_again_leaves_the_text_as_it_was() {
    for text in [LEAST, EXAMPLE, MIXED, ODD] {
        for (name, typed, gone) in [
            (
                "bgp.neighbours.192.0.2.9.as",
                "65000",
                "bgp.neighbours.192.0.2.9",
            ),
            ("services.new.vips", "['192.0.2.99']", "services.new"),
            ("backends.cold.check.path", "/", "backends.cold"),
            ("lists.more.sources", "['a']", "lists.more"),
            ("node.history", "3", "node.history"),
        ] {
            let before = View::of([&file(text)]);
            if before.get(&key(name)).is_some() {
                continue;
            }
            let mut document = Document::parse(&with(text, &[(name, typed)])).unwrap();
            assert!(document.unset(&key(gone)).unwrap(), "{name}");
            let after = document.text();
            let differing = differing(text, &after);
            assert!(differing.is_empty(), "{name}: {differing:?}\n{after}");
            assert_eq!(comments(&after), comments(text), "{name}");
        }
    }
}

#[test]
fn a_table_is_removed_with_all_below_it_and_the_comment_above_it_and_nothing_else() {
    let mut document = Document::parse(MIXED).unwrap();
    assert!(document.unset(&key("vrrp")).unwrap());
    assert!(!document.unset(&key("vrrp")).unwrap());
    assert!(document.unset(&key("backends.rgw.check")).unwrap());
    assert_eq!(
        document.text(),
        "[node]\ninterfaces = ['eth1']\n\n\
         [[services]]\nname = 's3'\nvips = ['192.0.2.10']\nbackend = 'rgw'\n[[services.listeners]]\nport = 80\naccess = 'open'\n\
         [[services]]\nname = 'two'\nvips = ['192.0.2.11']\nbackend = 'rgw'\n[services.timeouts]\nclient = '5s'\n\
         [[services.listeners]]\nport = 80\naccess = 'open'\n[backends.rgw]\nservers = ['10.0.0.9']\n# bgp: later\n"
    );
    let mut document = Document::parse(ODD).unwrap();
    for name in [
        "services.s3.listeners.443",
        "bgp.neighbours.192.0.2.254",
        "backends.rgw",
        "node.xdp",
    ] {
        assert!(document.unset(&key(name)).unwrap(), "{name}");
    }
    let view = View::of([&file(&document.text())]);
    assert_eq!(view.names(&key("services.s3.listeners")), ["80"]);
    assert_eq!(view.text(&key("bgp.as")).unwrap(), "65001");
    assert!(view.get(&key("backends")).is_none() && view.get(&key("node.xdp")).is_none());
    assert!(
        !document.text().contains("# Servers.") && document.text().contains("# End of the file.")
    );
}

#[test]
fn lists_over_several_lines_stay_so_and_comments_stay_with_their_lines() {
    let text = "a = [\n  'x', # first\n  'y', # second\n]\n";
    assert_eq!(
        with(text, &[("a", "['x', 'y', 'z']")]),
        "a = [\n  'x', # first\n  'y', # second\n  'z',\n]\n"
    );
    assert_eq!(
        with("a = [\n  'x',\n  'y'\n]\n", &[("a", "['x', 'y', 'z']")]),
        "a = [\n  'x',\n  'y',\n  'z'\n]\n"
    );
    assert_eq!(
        with("a = ['x', 'y'] # b\n", &[("a", "['y']")]),
        "a = ['y'] # b\n"
    );
    assert_eq!(
        with("a = ['x']\n", &[("a", "['y', 'x']")]),
        "a = ['y', 'x']\n"
    );
}

#[test]
fn tables_in_a_line_come_and_go_and_the_comments_of_the_others_stay() {
    let text = "listeners = [\n  { port = 443 }, # TLS\n  # for old clients\n  { port = 80 }, # plain\n]\n";
    let mut document = Document::parse(text).unwrap();
    assert!(document.unset(&key("listeners.80")).unwrap());
    assert_eq!(
        comments(&document.text()),
        ["# TLS", "# for old clients", "# plain"]
    );
    let mut document = Document::parse(text).unwrap();
    assert!(document.unset(&key("listeners.443")).unwrap());
    assert_eq!(comments(&document.text()), comments(text));
    assert_eq!(
        with(text, &[("listeners.8080.access", "open")]),
        text.replace(
            "# plain\n",
            "# plain\n  { port = 8080, access = \"open\" },\n"
        )
    );
}

#[test]
fn a_neighbour_is_named_by_its_address_also_when_it_has_a_port_and_twins_by_their_number() {
    let text = "[[bgp.neighbours]]\nport = 1790\naddress = '10.0.0.1'\nas = 1\n\
                [[bgp.neighbours]]\nport = 1790\naddress = '10.0.0.2'\nas = 2\n\
                [[bgp.neighbours]]\naddress = '10.0.0.3'\nas = 3\n";
    let view = View::of([&file(text)]);
    assert_eq!(
        view.names(&key("bgp.neighbours")),
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    );
    assert_eq!(
        with(text, &[("bgp.neighbours.10.0.0.2.as", "9")]),
        text.replace("as = 2", "as = 9")
    );
    let twins = "[[services]]\nname = 'a'\n[[services]]\nname = 'a'\n";
    assert_eq!(View::of([&file(twins)]).names(&key("services")), ["1", "2"]);
    assert_eq!(
        with(twins, &[("services.2.backend", "b")]),
        format!("{twins}backend = \"b\"\n")
    );
}

#[test]
fn a_string_over_several_lines_keeps_the_line_ends_of_its_file() {
    let text = "a = \"\"\"\none\ntwo\"\"\" # ours\nb = 1\n";
    let crlf = text.replace('\n', "\r\n");
    let changed = with(&crlf, &[("b", "2")]);
    assert_eq!(changed, crlf.replace("b = 1", "b = 2"));
    let mut document = Document::parse(&crlf).unwrap();
    assert!(document.unset(&key("b")).unwrap());
    assert_eq!(document.text(), crlf.replace("b = 1\r\n", ""));
    // Answers with other line ends than the file.
    let mut document = Document::parse("b = 1\n").unwrap();
    document.merge(&Document::parse(&crlf).unwrap()).unwrap();
    assert!(!document.text().contains('\r'), "{:?}", document.text());
}

#[test]
fn new_sections_come_last_and_the_comments_before_them_stay_where_they_are() {
    assert_eq!(
        with(
            "[node]\nxdp = 'auto'\n# steer = 'auto'\n",
            &[("bgp.as", "1"), ("bgp.neighbours.192.0.2.1.as", "2")]
        ),
        "[node]\nxdp = 'auto'\n# steer = 'auto'\n\n[bgp]\nas = 1\n\n[[bgp.neighbours]]\naddress = \"192.0.2.1\"\nas = 2\n"
    );
    assert_eq!(
        with("", &[("node.xdp", "auto")]),
        "[node]\nxdp = \"auto\"\n"
    );
}

#[test]
fn a_key_that_leads_nowhere_is_refused_with_what_there_is() {
    for (name, typed, words) in [
        ("node.xdp.more", "1", "`xdp` has a value and is no table"),
        ("services", "3", "`services` is a table"),
        (
            "bgp.neighbours.here.as",
            "1",
            "no element `here.as`; there are: `192.0.2.254`",
        ),
        (
            "services.s3.listeners.https.access",
            "a",
            "there are: `443`, `80`",
        ),
        ("services.s3.listeners.70000.access", "a", "no element"),
    ] {
        let mut document = Document::parse(ODD).unwrap();
        let refused = document
            .set(&key(name), value(typed).unwrap())
            .unwrap_err()
            .to_string();
        assert!(refused.contains(words), "{name}: {refused}");
        assert_eq!(document.text(), ODD);
    }
    for wrong in ["", ".", "a.", ".a", "a..b", "a b", "a[0]", "'a", "'a'b"] {
        assert!(wrong.parse::<Key>().is_err(), "{wrong}");
    }
    for wrong in ["[1", "{", "'a", "", "\"a"] {
        assert!(value(wrong).is_err(), "{wrong}");
    }
    let mixed = Document::parse("a = 1\r\nb = 2\n").unwrap_err();
    assert_eq!(mixed, Error::LineEnds);
}

#[test]
fn a_value_needs_no_quotes_where_it_cannot_be_anything_but_text() {
    for (typed, wanted) in [
        ("native", "\"native\""),
        ("192.0.2.1", "\"192.0.2.1\""),
        ("5s", "\"5s\""),
        ("/etc/ober/s3.pem", "\"/etc/ober/s3.pem\""),
        (" 65001 ", "65001"),
        ("true", "true"),
        ("'x'", "'x'"),
        ("[1, 2]", "[1, 2]"),
    ] {
        assert_eq!(value(typed).unwrap().to_string(), wanted);
    }
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u32>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "[a-z]{1,12}",
        prop::collection::vec("[a-z0-9.]{1,8}", 0..5).prop_map(|all| {
            let all: Vec<String> = all.iter().map(|it| format!("'{it}'")).collect();
            format!("[{}]", all.join(", "))
        }),
    ]
}

/// Every key of the texts that has a value of its own and does not name an element.
fn written_keys() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for text in corpus() {
        for name in differing("", &text) {
            let last = name.rsplit('.').next().unwrap();
            if !["name", "port", "address"].contains(&last) {
                found.push((text.clone(), name));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_key_may_get_any_value_and_nothing_else_changes(
        (text, name) in select(written_keys()),
        typed in any_value(),
    ) {
        // What is no list cannot hold the comments between the values of one.
        let view = View::of([&file(&text)]);
        let list = view.get(&key(&name)).is_some_and(serde_json::Value::is_array);
        prop_assume!(!list || typed.starts_with('['));
        only_one_key_differs(&text, &name, &typed);
    }

    #[test]
    fn no_text_and_no_key_make_an_edit_panic(text in "[a-z.=\\[\\]'\"{}, #\n0-9]{0,60}", name in "[a-z0-9.\"]{1,12}") {
        if let (Ok(mut document), Ok(key)) = (Document::parse(&text), name.parse::<Key>()) {
            let set = document.set(&key, true.into());
            prop_assert!(set.is_err() || document.text().parse::<DocumentMut>().is_ok());
            prop_assert!(document.unset(&key).is_ok());
        }
    }
}
