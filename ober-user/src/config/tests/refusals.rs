//! Every refusal names the place, the reason and the correction.

use super::*;

#[test]
fn an_unknown_key_is_shown_with_line_column_picture_and_the_nearest_name() {
    assert_eq!(
        ConfigDirectory::new().message("[node]\ninterfaces = ['a']\n\tstear = \"cpu\"\n"),
        "@/ober.toml:3:2: unknown key `stear`
  |
3 |  stear = \"cpu\"
  |  ^^^^^
  = did you mean `steer`?"
    );
}

#[test]
fn every_unknown_key_and_wrong_type_is_reported_at_once_in_reading_order() {
    let text = r#"
zzz = 1
[node]
interface = ["a"]
xdp = "nativ"
sample = "many"
metrics = "localhost"
[workers]
count = "lots"
drain = "1 hour"
cpus = [0, "one"]
[[services]]
vips = ["192.0.2.1", "192.0.2"]
[[services.listeners]]
port = 0
[[services.listeners]]
port = 70000
[backends.b]
balance = "leastcon"
check = false
"#;
    assert_eq!(
        ConfigDirectory::new().problems(text),
        [
            "2: unknown key `zzz` | known: `node`, `workers`, `limits`, `resolve`, `lists`, `services`, `backends`, `gate`, `bgp`, `bfd`, `vrrp`, `acme`",
            "4: unknown key `interface` | did you mean `interfaces`?",
            "5: unknown value `nativ` | did you mean `native`?",
            "6: `sample` is \"many\", but must be a whole number from 0 to 4294967295",
            "7: `metrics` must be an address with a port, such as \"127.0.0.1:8404\" or \"[::1]:8404\"",
            "9: `lots` is not a number or \"auto\"",
            "10: `1 hour` is not a length of time such as \"250ms\", \"5s\", \"5m\", \"1h\" or \"0\"",
            "11: a value of `cpus` is \"one\", but must be a whole number from 0 to 4294967295",
            "13: \"192.0.2\" is not an IPv4 address; write four numbers from 0 to 255 without leading zeros or blanks",
            "15: `port` is 0, but must be a port, 1 to 65535",
            "17: `port` is 70000, but must be a port, 1 to 65535",
            "19: unknown value `leastcon` | did you mean `leastconn`?",
            "20: `check` is false, but must be a table",
        ]
    );
}

#[test]
fn a_section_that_is_written_as_a_list_is_refused_with_the_way_to_write_it() {
    for (name, section) in [
        ("node", "[[node]]\ninterfaces = ['in0']"),
        ("node", "[[node]]"),
        ("workers", "[[workers]]\ncpus = [0]"),
        ("limits", "[[limits]]\nipv4_pages = 4"),
        ("resolve", "[[resolve]]\ninterval = '5m'"),
        ("gate", "[[gate]]\nrise = 2"),
        ("bgp", "[[bgp]]\nas = 65001"),
        ("bfd", "[[bfd]]\nprofiles.a.transmit = '1s'"),
        ("a", "[[bfd.profiles.a]]\ntransmit = '1s'"),
        ("vrrp", "[[vrrp]]\nnode = 'a'"),
        ("acme", "[[acme]]\nterms_agreed = true"),
        ("a", "[[lists.a]]\nsources = []"),
        ("b", "[[backends.b]]\nservers = []"),
        ("check", "[[backends.b.check]]\npath = '/'"),
        (
            "tls",
            "[[services]]\n[[services.listeners]]\n[[services.listeners.tls]]\nmin_version = '1.2'",
        ),
    ] {
        let problems = ConfigDirectory::new().problems(section);
        let words = format!(
            "`{name}` is a list of tables, but must be one table: write its name between single brackets, as in `[node]`"
        );
        assert!(
            problems.iter().any(|problem| problem.contains(&words)),
            "{section}: {problems:?}"
        );
    }
    // A list of values that is given a table is not meant to be a section.
    let problems = ConfigDirectory::new().problems("[[services]]\n[[services.vips]]\na = 1");
    assert!(
        problems.iter().all(|it| !it.contains("single brackets")),
        "{problems:?}"
    );
}

#[test]
fn a_value_of_another_type_is_refused_without_words_of_the_program() {
    for (text, expected) in [
        (
            "[[services]]\n[[services.listeners]]\nport = \"80\"",
            "3: `port` is \"80\", but must be a port, 1 to 65535",
        ),
        (
            "[[services]]\nvips = \"x\"",
            "2: `vips` is \"x\", but must be a list between brackets, as in `[\"a\", \"b\"]`",
        ),
        (
            "[services]\nname = 's3'",
            "1: `services` is a table, but must be a list of tables: write its name between double brackets, as in `[[services]]`",
        ),
        (
            "[workers]\nmax_connections = 1.5",
            "2: `max_connections` is 1.5, but must be a whole number from 0 to 4294967295",
        ),
        (
            "[[backends.b.discover]]\nkind = 5",
            "2: `kind` must be text between quotes",
        ),
        (
            "[node]\nmetrics = 5",
            "2: `metrics` is 5, but must be an address with a port, such as \"127.0.0.1:8404\" or \"[::1]:8404\"",
        ),
        (
            "[[services]]\n[[services.listeners]]\n[services.listeners.tls]\nmin_version = '1.4'",
            "4: unknown value `1.4` | known: `1.0`, `1.1`, `1.2`, `1.3`",
        ),
        (
            "[workers]\nuser = 5",
            "2: `user` is 5, but must be text between quotes",
        ),
        (
            "extra =",
            "1: the value is missing after `=`; write one, or remove the key",
        ),
        (
            "[node]\nextra = # nothing\n",
            "2: the value is missing after `=`; write one, or remove the key",
        ),
        (
            "[node]\npacket_log = yes",
            "2: this is no value; write text between quotes, as in \"text\", and numbers, true and false without them",
        ),
        ("[node]\nsample = 010", "2: unexpected leading zero"),
    ] {
        let problems = ConfigDirectory::new().problems(text);
        assert_eq!(
            problems.first().map(String::as_str),
            Some(expected),
            "{text}"
        );
    }
}

#[test]
fn every_fault_of_notation_is_reported_at_once() {
    let problems =
        ConfigDirectory::new().problems("[node\ninterfaces = ['a']\n[workers]\ncount = = 1\n");
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| problem.split(':').next().unwrap())
        .collect();
    assert_eq!(lines, ["1", "4"], "{problems:?}");
}

#[test]
fn each_impossible_value_of_the_node_is_refused_by_name() {
    let text = r#"
[node]
instance = "Main/1"
interfaces = ["eth1", "eth1", "a name", "interface-too-long"]
vip_interface = "a/b"
routers = "router"
metrics = "0.0.0.0:8404"
sample = 100
[workers]
count = 65
cpus = [0, 7]
user = "root\nchroot"
backoff = "20s"
backoff_max = "1s"
drain = "0"
max_connections = 0
[limits]
ipv4_pages = 2
expansion = 100000000
[resolve]
timeout = "25d"
"#;
    assert_eq!(
        ConfigDirectory::new().problems(text),
        [
            "3: `Main/1` is no name for an instance | lower-case letters, digits and `-`, at most 32 of them",
            "4: interface `eth1` is written twice | first written at @/ober.toml:4",
            "4: `a name` is no name of an interface | see `ip -brief link`",
            "4: `interface-too-long` is no name of an interface | see `ip -brief link`",
            "5: `a/b` is no name of an interface | see `ip -brief link`",
            "6: there is no list `router` | did you mean `routers`?",
            "7: `metrics` must be a loopback address, 0.0.0.0 is not | write \"127.0.0.1:8404\"; metrics and statistics are for this machine only",
            "8: `sample` is 100, but must be a power of two, or 0 for none | the next one is 128",
            "10: `count` is 65, but must be from 1 to 64 or \"auto\"",
            "11: CPU 7 is not online | online: 0, 1, 4",
            "12: `root\nchroot` is no name of a user",
            "13: `backoff` is longer than `backoff_max`",
            "15: `drain` must not be zero",
            "16: `max_connections` is 0, but must be from 1 to 1000000",
            "18: `ipv4_pages` is 2, but must be from 3 to 65535",
            "19: `expansion` is 100000000, but must be from 1 to 16777216",
            "21: `timeout` is longer than 24 days, the most HAProxy can count",
        ]
    );
}

#[test]
fn each_missing_key_is_named_with_the_line_to_write() {
    let text = "[[services]]\n[[services]]\nname='a'\n[[services.listeners]]\naccess='open'\n";
    let message = ConfigDirectory::new().message(text);
    assert!(
        message.starts_with(
            "@/ober.toml: `interfaces` is missing in [node]\n  = name the interfaces clients come in by, \
             for instance `interfaces = [\"eth1\"]`\n\n@/ober.toml:1:1: a service without `name`\n"
        ),
        "{message}"
    );
    for part in [
        "@/ober.toml:2:1: service `a` has no `vips`",
        "@/ober.toml:2:1: service `a` names no `backend`",
        "@/ober.toml:4:1: a listener of service `a` without `port`",
        "@/ober.toml:1:1: service `` has no listener",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_missing_haproxy_is_named_with_the_way_to_install_it() {
    let directory = ConfigDirectory::new();
    let problems = |haproxy: &str| {
        directory.problems(&format!(
            "[node]\ninterfaces=['a']\n[workers]\nhaproxy='{haproxy}'"
        ))
    };
    assert_eq!(
        problems("no-such-haproxy"),
        [
            "4: HAProxy: there is no program `no-such-haproxy` in PATH | install it (`apt-get install haproxy`) or \
          name it in [workers]: `haproxy = \"/path/to/haproxy\"`"
        ]
    );
    // A file without execute permission is no program.
    assert_eq!(
        problems("./s3.pem"),
        ["4: there is no program @/./s3.pem | `haproxy = \"haproxy\"` looks it up in PATH"]
    );
}

#[test]
fn plain_http_without_an_access_setting_is_refused() {
    let directory = ConfigDirectory::new();
    assert_eq!(
        directory.message(&LEAST.replace("access = \"frontend-http\"\n", "")),
        "@/ober.toml:11:1: a listener of service `s3` has no certificate, so it must say its `access`
   |
11 | [[services.listeners]]
   | ^^^^^^^^^^^^^^^^^^^^^^
   = write `access = \"frontend-http\"` for listed clients only, or `access = \"open\"`"
    );
    assert_eq!(
        directory.problems(&LEAST.replace("\"frontend-http\"", "\"frontend-htp\"")),
        ["13: there is no list `frontend-htp` | did you mean `frontend-http`?"]
    );
    assert_eq!(
        directory
            .parse(&LEAST.replace("frontend-http", "open"))
            .unwrap()
            .services[0]
            .listeners[1]
            .access,
        Access::Open
    );
}

#[test]
fn a_certificate_that_cannot_serve_is_named_with_the_fix() {
    let directory = ConfigDirectory::new();
    assert_eq!(
        directory.problems(&LEAST.replace("s3.pem", "gone.pem")),
        [
            "10: read certificate @/gone.pem: No such file or directory (os error 2) | correct the path, or make the \
          file: put chain and key into it: `cat fullchain.pem privkey.pem`"
        ]
    );
    fs::write(directory.path("s3.pem"), "").unwrap();
    assert_eq!(
        directory.problems(LEAST),
        [
            "10: certificate @/s3.pem holds no certificate | make it anew: put chain and key into it: \
          `cat fullchain.pem privkey.pem`"
        ]
    );
}

#[test]
fn a_path_that_would_break_haproxys_configuration_is_refused() {
    let directory = ConfigDirectory::new();
    let help = "use one without blanks, quotes, `\\`, `#` and `$`";
    let problems = directory.problems("[node]\ninterfaces=['a']\nrun=\"/run/a\\nb\"");
    assert_eq!(
        problems,
        [format!(
            "3: HAProxy could not read the path \"/run/a\\nb\" | {help}"
        )]
    );
}

#[test]
fn names_and_values_with_haproxy_syntax_are_refused() {
    let text = r#"
[node]
interfaces = ["a"]
[lists.open]
sources = [" "]
[lists."a b"]
[backends.B]
check = { method = "get", path = "/ x", status = "200-100", rise = 0 }
[backends."b\nc"]
check = { path = "health", status = "ok" }
"#;
    assert_eq!(
        ConfigDirectory::new().problems(text),
        [
            "4: a list cannot be called `open`, the word for \"no list\"",
            "5: an empty expression | remove it",
            "6: `a b` is no name for a list | lower-case letters, digits and `-`, at most 32 of them",
            "7: `B` is no name for a backend | lower-case letters, digits and `-`, at most 32 of them",
            "8: `method` is `get`, but must be a method such as GET or HEAD",
            "8: `path` is `/ x`, but must be a path such as `/`, in URL letters",
            "8: `status` is `200-100`, but must be statuses such as `200-299,404`",
            "8: `rise` is 0, but must be from 1 to 100",
            "9: `b\nc` is no name for a backend | lower-case letters, digits and `-`, at most 32 of them",
            "10: `path` is `health`, but must be a path such as `/`, in URL letters",
            "10: `status` is `ok`, but must be statuses such as `200-299,404`",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn parsing_an_arbitrary_configuration_never_panics(text in "[\\[\\]a-z=\"'{}$\\n., 0-9é-]{0,80}") {
        let config = Config::parse(&text, Path::new("/"), &Env::default());
        proptest::prop_assert!(config.is_err() || config.is_ok_and(|config| !config.node.interfaces.is_empty()));
    }

    #[test]
    fn parsing_a_damaged_configuration_never_panics(at in 0..LEAST.len(), cut in 0..9_usize, put in "[\\[\\]\"'{}$\\n., é=#a]{0,3}") {
        let directory = ConfigDirectory::new();
        let end = (at + cut).min(LEAST.len());
        let parsed = directory.parse(&format!("{}{put}{}", &LEAST[..at], &LEAST[end..]));
        if let Err(error) = parsed {
            proptest::prop_assert!(error.to_string().contains("ober.toml"));
        }
    }
}

#[test]
fn a_gate_that_could_never_open_or_contradicts_itself_is_refused() {
    let text = r#"
[node]
interfaces = ["eth1"]
[workers]
count = 2
[gate]
interval = "100ms"
fast_interval = "200ms"
timeout = "0"
rise = 0
fall = 101
min_workers = 3
min_servers = "150%"
path = "s3"
status = "20-30"
sni = "a b"
down = "withdrawn"
hold = "2m"
hold_max = "1m"
interfaces = "most"
"#;
    assert_eq!(
        ConfigDirectory::new().problems(text),
        [
            "13: `150%` is not a number or a part such as \"50%\"",
            "17: unknown value `withdrawn` | did you mean `withdraw`?",
            "20: unknown value `most` | known: `any`, `all`",
        ]
    );
    assert_eq!(
        ConfigDirectory::new().problems("[gate]\nmin_backends = 2"),
        ["2: there is no key `min_backends` any more | it is called `min_servers` now"]
    );
    let text = text
        .lines()
        .filter(|line| {
            !["150%", "withdrawn", "most"]
                .iter()
                .any(|it| line.contains(it))
        })
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        ConfigDirectory::new().problems(&text),
        [
            "8: `fast_interval` is longer than `interval`",
            "9: `timeout` must not be zero",
            "10: `rise` is 0, but must be from 1 to 100",
            "11: `fall` is 101, but must be from 1 to 100",
            "12: `min_workers` is 3, but must be from 1 to 2, the number of workers, or a part such as \"50%\"",
            "13: `path` is `s3`, but must be a path such as `/`",
            "14: `status` is `20-30`, but must be statuses such as `200-299,404`",
            "15: `sni` is `a b`, but must be a name in DNS | leave it out to ask for no name; an address is never asked for by name",
            "16: `hold` is longer than `hold_max`",
        ]
    );
}
