//! Servers, their sources and checks, and the sources of lists.

use super::*;

#[test]
fn each_impossible_key_of_a_check_is_refused_by_name() {
    let text = r#"
[node]
interfaces = ["a"]
[backends.a.check]
kind = "tcp"
path = "/"
interval = "1s"
fast_interval = "2s"
[backends.b.check]
kind = "probe"
protocol = "udp"
send = '\q'
[backends.c.check]
kind = "probe"
expect = 'a'
pattern = '('
tls = {}
[backends.d.check]
kind = "exec"
command = ["check", "a"]
good = "1"
[backends.e.check]
kind = "tls"
tls = { verify = false, ca = "none.pem", nane = "x" }
[backends.f.check]
kind = "exec"
[backends.g.check]
kind = "htp"
"#;
    let syntax = ConfigDirectory::new().problems(text);
    assert_eq!(
        syntax,
        [
            "24: unknown key `nane` | did you mean `name`?",
            "28: unknown value `htp` | did you mean `http`?",
        ]
    );
    let text = text.replace(", nane = \"x\"", "").replace("htp", "tcp");
    assert_eq!(
        ConfigDirectory::new().problems(&text),
        [
            "6: `path` is not for a check of kind `tcp` | remove it, or write `kind = \"http\"`",
            "8: `fast_interval` is longer than `interval`",
            "11: a probe over UDP needs `send` and `expect` or `pattern`: no answer does not prove that the server works",
            "12: `send` has a backslash that begins nothing known | `\\r`, `\\n`, `\\t`, `\\\\` and `\\xNN` are; write the string between single quotes",
            "16: `expect` and `pattern` are written, but the answer is compared with one of them | remove one of the two",
            "16: `pattern` is no regular expression: unclosed group",
            "17: `tls` is for probes over TLS | remove it, or write `protocol = \"tls\"`",
            "20: `check` is no absolute path of a program | what a daemon runs is named in full",
            "21: `good` and `bad` belong together: any other output changes nothing | write both, or none and let the exit status decide",
            "24: `ca` has no effect with `verify = false` | remove it, or `verify = false`",
            "26: a check of kind `exec` has no `command` | write `command = [\"/path/to/program\"]`",
        ]
    );
}

#[test]
fn a_source_names_its_missing_keys_and_the_keys_of_other_kinds() {
    let source = |text: &str| {
        let text = format!("[node]\ninterfaces=['a']\n[[backends.b.discover]]\n{text}\n");
        ConfigDirectory::new().problems(&text)
    };
    let kinds =
        "`static`, `hostlist`, `dns`, `srv`, `docker`, `json`, `exec`, `plaintext` or `consul`";
    assert_eq!(
        source(""),
        [format!("3: a source without `kind` | {kinds}")]
    );
    assert_eq!(
        source("kind='static'\nservers=['a:0']"),
        ["5: `a:0` is no server: not a port; write a number from 1 to 65535 after the ':'"]
    );
    assert_eq!(
        source("kind='static'\nservers=['a w=1']"),
        [
            "5: `w=1` is none of `weight=NUMBER`, `tier=NUMBER`, `max_connections=NUMBER` and `name=HOST`"
        ]
    );
    assert_eq!(
        source("kind='dns'\nurl='http://a'\nlookup='a'"),
        [
            "5: `url` is not for a source of kind `dns` | remove it; it is for `docker`, `json`, `plaintext`, `consul`"
        ]
    );
    assert_eq!(
        source("kind='srv'\nlookup='a..b'"),
        [
            "5: `a..b` is no name that can be asked for: \"a..b\" has nothing between two dots, or before the first; remove a dot"
        ]
    );
    for kind in ["dns", "srv"] {
        for lookup in ["", "\nlookup=''"] {
            assert_eq!(
                source(&format!("kind='{kind}'{lookup}")),
                ["3: a source without `lookup` | write `lookup = \"_s3._tcp.example.net\"`"]
            );
        }
    }
    assert_eq!(
        source("kind='json'"),
        ["3: a source without `url` | write `url = \"http://host:port/path\"`"]
    );
    let url = "write http://host:port/path, https://host:port/path or unix:///path/to/socket";
    assert_eq!(
        source("kind='json'\nurl='consul:8500'"),
        [format!("5: `url` is `consul:8500` | {url}")]
    );
    assert_eq!(
        source("kind='json'\nurl='http://a'\nhost='a.b'"),
        ["6: `host` is `a.b`, but a JSON pointer begins with `/` | write `/a/b`"]
    );
    assert_eq!(
        source("kind='plaintext'\nurl='http://a'\npattern='(?<port>1)'"),
        ["6: `pattern` has no group `host` | write it as `(?<host>[^:]+)`"]
    );
    assert_eq!(
        source("kind='plaintext'\nurl='http://a'\npattern='(?<host>1)(?<wait>2)'"),
        [
            "6: `pattern` has an unknown group `wait` | known: `host`, `port`, `weight`, `tier`, `name`"
        ]
    );
}

#[test]
fn the_kind_of_a_source_decides_which_keys_it_needs() {
    let source = |text: &str| {
        let text = format!("[node]\ninterfaces=['a']\n[[backends.b.discover]]\n{text}\n");
        ConfigDirectory::new().problems(&text)
    };
    assert_eq!(
        source("kind='consul'"),
        ["3: a source without `service` | write `service = \"s3\"`"]
    );
    assert_eq!(
        source("kind='exec'\ncommand=['/none/of/these']"),
        ["5: there is no program /none/of/these | correct the path, or make the file executable"]
    );
    assert_eq!(
        source("kind='exec'\ncommand=['/bin/sh']\nfailpolicy='keep'"),
        ["6: unknown value `keep` | known: `keeplast`, `setempty`"]
    );
    assert_eq!(
        source("kind='dns'\nlookup='a'\n[[backends.b.discover]]\nkind='dns'\nlookup='a'"),
        ["6: the source `dns a` is written twice"]
    );
}

/// Checks the fault of each case, written alone in line 4.
fn judged(directory: &ConfigDirectory, before: &str, after: &str, cases: &[(&str, &str)]) {
    for (written, expected) in cases {
        let text = format!("[node]\ninterfaces = ['a']\n{before}'{written}'{after}\n");
        let problems = directory.problems(&text);
        let [problem] = &problems[..] else {
            panic!("{written}: {problems:?}")
        };
        assert!(
            problem.starts_with("4: ") && problem.contains(expected),
            "{written}: {problem}"
        );
    }
}

#[test]
fn faults_in_list_sources_are_reported_with_their_lines() {
    let cases = [
        ("10.0.0.1/24", "write 10.0.0.0/24 for the network"),
        ("-", "it belongs to a command"),
        ("10.0.0.*", "write 10.0.0.0/24"),
        ("10.0.0.1:80", "a port belongs to servers only"),
        (
            "n[0-9999999]",
            "over the limit of 1000000; use a prefix, or raise limits.expansion",
        ),
        ("10.0.0.0/255.255.255.0", "write 10.0.0.0/24"),
        ("fe80::1%eth0", "write fe80::1 alone"),
        (
            "10.0.0.1 - 10.0.0.9",
            "write 10.0.0.1-10.0.0.9 (column 10 of it)",
        ),
        ("10.1.0.10-20", "write 10.1.0.10-10.1.0.20"),
        ("a..b", "remove a dot"),
        ("n[1-", "add ']'"),
        ("@", "followed by the path of a file"),
    ];
    judged(
        &ConfigDirectory::new(),
        "[lists.x]\nsources = ['n1', ",
        "]",
        &cases,
    );
}

#[test]
fn faults_in_servers_are_reported_with_their_lines() {
    let cases = [
        ("http://172.31.9.2:9000", "write 172.31.9.2:9000 alone"),
        ("172.31.9.2:0", "from 1 to 65535"),
        ("172.31.9.0/24", "a prefix cannot be a server"),
        ("fd00::2:9000", "write [fd00::2:9000] or [fd00::2]:9000"),
        ("n[1-5000]", "over the limit of 4096; raise limits.servers"),
        ("n[1-2]:80 colour=3", "says nothing about servers"),
        ("host.1:80", "is a number, not a name"),
        ("10.1.0.10-20:80", "both ends whole"),
    ];
    judged(
        &ConfigDirectory::new(),
        "[backends.b]\nservers = ['n1', ",
        "]",
        &cases,
    );
}

#[test]
fn relative_paths_of_name_files_start_at_the_configurations_directory() {
    let directory = ConfigDirectory::new();
    let text = "[node]\ninterfaces = ['a']\n[lists.x]\nsources = ['n1,@hosts.txt', '@/nonexistent']\n[backends.b]\n\
                servers = ['@rgw.txt weight=2']\n[[backends.b.discover]]\nkind = 'hostlist'\nservers = ['@more.txt']\n";
    let config = directory.parse(text).unwrap();
    let beside = |file: &str| format!("@{}", directory.path(file).display());
    let sources = [
        format!("n1,{}", beside("hosts.txt")),
        "@/nonexistent".into(),
    ];
    assert_eq!(config.lists["x"].sources, sources);
    let backend = &config.backends["b"];
    assert_eq!(backend.servers, [format!("{} weight=2", beside("rgw.txt"))]);
    assert_eq!(
        backend.discover[0].kind,
        sections::discover::Kind::Hostlist(vec![beside("more.txt")])
    );
}

/// The machine's authorities vouch for every host, so a certificate proves nothing about an address.
#[test]
fn a_server_written_as_an_address_is_refused_where_tls_verifies_names_and_each_remedy_is_accepted()
{
    let directory = ConfigDirectory::new();
    fs::write(directory.path("ca.pem"), chain_and_key()).unwrap();
    let text = |servers: &str, tls: &str| {
        format!(
            "[node]\ninterfaces = ['a']\n[backends.b]\nservers = ['{servers}']\ntls = {{ {tls} }}\n"
        )
    };
    for servers in [
        "10.0.0.1:443",
        "[fd00::1]:443",
        "rgw1.test,10.0.0.1:443 weight=2",
    ] {
        let problems = directory.problems(&text(servers, ""));
        let [problem] = &problems[..] else {
            panic!("{servers}: {problems:?}")
        };
        assert!(
            problem.contains("has no name to hold its certificate to"),
            "{problem}"
        );
        for remedy in ["`server_name`", "`ca`", "host names", "`verify = false`"] {
            assert!(problem.contains(remedy), "{remedy}: {problem}");
        }
    }
    for (servers, tls) in [
        ("10.0.0.1:443", "server_name = 's3.test'"),
        ("10.0.0.1:443", "verify = false"),
        ("10.0.0.1:443", "ca = 'ca.pem'"),
        ("rgw1.test:443", ""),
    ] {
        let accepted = directory.parse(&text(servers, tls));
        assert!(accepted.is_ok(), "{servers} {tls}: {accepted:?}");
    }
}
