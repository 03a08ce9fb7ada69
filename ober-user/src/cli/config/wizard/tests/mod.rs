//! The questions, answered by a test in the place of a person.

mod clients;

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::{answer::split, *};
use crate::config::{Config, File, Texts, edit::View, tests::ConfigDirectory};

/// Answers in order; `None`: the default.
#[derive(Default)]
struct Script {
    answers: Vec<Option<&'static str>>,
    asked: Vec<String>,
    said: Vec<String>,
}

impl Script {
    fn of(answers: &[Option<&'static str>]) -> Self {
        Self {
            answers: answers.iter().rev().copied().collect(),
            ..Self::default()
        }
    }

    fn next(&mut self, prompt: &str) -> Option<&'static str> {
        self.asked.push(prompt.to_owned());
        self.answers.pop().flatten()
    }
}

impl Ask for Script {
    fn line(&mut self, question: &ask::Line<'_>) -> Result<String, Error> {
        let answer = self.next(question.prompt);
        let answer = answer.map_or(question.default.clone(), str::to_owned);
        (question.check)(&answer).map_err(Error::Usage)?;
        Ok(answer)
    }

    fn choose(&mut self, prompt: &str, among: &[String], default: usize) -> Result<usize, Error> {
        let Some(answer) = self.next(prompt) else {
            return Ok(default);
        };
        Ok(among.iter().position(|it| it.starts_with(answer)).unwrap())
    }

    fn agree(&mut self, prompt: &str, default: bool) -> Result<bool, Error> {
        Ok(self.next(prompt).map_or(default, |it| it == "yes"))
    }

    fn say(&mut self, words: &str) {
        self.said.push(words.to_owned());
    }
}

/// The text with the answers.
fn text_of(original: &Original, script: &mut Script) -> Result<String, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(asked(original, &original.main.text, script))
}

/// A directory with the files of a configuration, and its judge.
struct Stage(ConfigDirectory);

impl Stage {
    fn new() -> Self {
        Self(ConfigDirectory::new())
    }

    fn file(&self, name: &str, text: &str) -> File {
        File {
            path: self.0.path(name),
            text: text.to_owned(),
            mode: 0o600,
        }
    }

    fn original(&self, text: &str, further: &[(&str, &str)]) -> Original {
        let further = further.iter().map(|(name, text)| self.file(name, text));
        Original {
            main: self.file("ober.toml", text),
            is_new: text.is_empty(),
            further: further.collect(),
        }
    }

    /// The text with the answers, which is a configuration.
    fn asked(&self, original: &Original, script: &mut Script) -> String {
        let after = text_of(original, script).unwrap();
        if let Err(error) = self.judge(original, &after) {
            panic!("{error}\n{after}");
        }
        after
    }

    fn judge(&self, original: &Original, text: &str) -> Result<Config, crate::config::Error> {
        let texts: Texts = original.texts(original.with(text));
        self.0.judge(&texts)
    }

    /// The answers to a configuration in one file, and what comes of them.
    fn after(&self, text: &str, answers: &[Option<&'static str>]) -> (String, View, Script) {
        let original = self.original(text, &[]);
        let mut script = Script::of(answers);
        let after = self.asked(&original, &mut script);
        let view = original.view(&after);
        (after, view, script)
    }
}

/// A server of HTTP that answers everything with 200; its port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut some = [0; 1024];
            let read = stream.read(&mut some).unwrap_or(0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if read == 0 || stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    port
}

fn configured(port: u16) -> String {
    format!(
        "# node 7\n[node]\ninterfaces = ['lo'] # all we have\nrouters = 'routers'\n\n[bgp]\nas = 65001\n\
         [[bgp.neighbours]]\naddress = '192.0.2.254' # the rack's\nas = 65000\nhold_time = '9s'\n\n\
         [[services]]\nname = 's3'\nvips = ['192.0.2.10']\nbackend = 'rgw'\n[[services.listeners]]\nport = 80\naccess = 'frontend-http'\n\n\
         [backends.rgw]\nservers = ['127.0.0.1:{port}'] # one\n[lists.frontend-http]\nsources = ['weka[1-9]']\n\
         [lists.routers]\nsources = ['192.0.2.254']\n# the end\n"
    )
}

#[test]
fn a_person_who_keeps_every_answer_changes_no_byte() {
    let text = configured(server());
    let mut script = Script::default();
    let stage = Stage::new();
    let original = stage.original(&text, &[]);
    assert_eq!(stage.asked(&original, &mut script), text);
    assert!(
        script
            .said
            .iter()
            .any(|it| it.contains("ok") && it.contains("200")),
        "{:?}",
        script.said
    );
    assert_eq!(script.asked.len(), 10, "{:?}", script.asked);
}

#[test]
fn one_other_answer_changes_one_key() {
    let text = configured(server());
    let changes = |at: usize, answer: &'static str| {
        let mut answers = vec![None; at];
        answers.push(Some(answer));
        Stage::new().after(&text, &answers).0
    };
    for (at, answer, from, to) in [
        (2, "65009", "as = 65001", "as = 65009"),
        (4, "internal", "as = 65000", "as = \"internal\""),
        (
            5,
            "192.0.2.10, 192.0.2.11",
            "['192.0.2.10']",
            "['192.0.2.10', \"192.0.2.11\"]",
        ),
        (
            8,
            "weka[1-9], 10.0.0.0/8",
            "['weka[1-9]']",
            "['weka[1-9]', \"10.0.0.0/8\"]",
        ),
        (8, "open", "access = 'frontend-http'", "access = \"open\""),
        (9, "any", "routers = 'routers'\n", ""),
    ] {
        assert_eq!(changes(at, answer), text.replacen(from, to, 1), "{answer}");
    }
}

#[test]
fn another_neighbour_is_added_and_one_that_is_left_out_goes() {
    let text = configured(server());
    let answers = [None, None, None, Some("192.0.2.253"), Some("65010")];
    let (after, view, _) = Stage::new().after(&text, &answers);
    assert_eq!(view.names(&key(&["bgp", "neighbours"])), ["192.0.2.253"]);
    assert_eq!(
        view.text(&key(&["bgp", "neighbours", "192.0.2.253", "as"]))
            .unwrap(),
        "65010"
    );
    assert!(
        after.contains("# the end") && !after.contains("the rack's"),
        "{after}"
    );
}

#[test]
fn vrrp_takes_the_place_of_bgp_when_it_is_chosen() {
    let text = configured(server());
    let answers = [
        None,
        Some("VRRP"),
        Some("a=10.0.0.1, b=10.0.0.2+2001:db8::2"),
        Some("a"),
    ];
    let (after, view, _) = Stage::new().after(&text, &answers);
    assert!(view.get(&key(&["bgp"])).is_none(), "{after}");
    assert_eq!(view.text(&key(&["vrrp", "node"])).unwrap(), "a");
    assert_eq!(view.names(&key(&["vrrp", "nodes"])), ["a", "b"]);
    let second = key(&["vrrp", "nodes", "b", "addresses"]);
    assert_eq!(view.texts(&second), ["10.0.0.2", "2001:db8::2"]);
}

#[test]
fn a_first_configuration_of_each_kind_is_valid() {
    let stage = Stage::new();
    let original = stage.original("", &[]);
    let servers: &str = Box::leak(format!("127.0.0.1:{}", server()).into_boxed_str());
    let bgp = [Some("lo"), None, None, Some("192.0.2.254"), None];
    let vrrp = [
        Some("lo"),
        Some("VRRP"),
        Some("a=10.0.0.1, b=10.0.0.2"),
        Some("b"),
    ];
    let neither = [Some("lo"), Some("neither")];
    let file = [Some("a file"), Some("s3.pem")];
    let acme = [
        Some("issued"),
        Some("s3.example.org"),
        Some("yes"),
        Some("a@example.org"),
    ];
    for first in [&bgp[..], &vrrp, &neither] {
        for second in [&file[..], &acme, &[Some("later")]] {
            for clients in [None, Some("10.0.0.0/8, weka[1-3]")] {
                let middle = [Some("192.0.2.10"), Some(servers)];
                let answers = [first, &middle[..], second, &[clients]].concat();
                let after = stage.asked(&original, &mut Script::of(&answers));
                assert!(!after.contains("[]") && !after.contains("\"\""), "{after}");
                // Once more, and every answer kept.
                let again = stage.original(&after, &[]);
                assert_eq!(stage.asked(&again, &mut Script::default()), after);
            }
        }
    }
}

#[test]
fn an_empty_answer_is_refused_where_there_is_nothing_to_keep() {
    let stage = Stage::new();
    let original = stage.original("", &[]);
    let bgp = [Some("lo"), None, None, Some("192.0.2.254"), None];
    let acme = [
        Some("192.0.2.10"),
        Some("127.0.0.1:1"),
        Some("yes"),
        Some("issued"),
    ];
    let issued = [&bgp[..], &acme[..]].concat();
    for (answers, words) in [
        (&[Some("")][..], "an interface is wanted"),
        (&bgp[..3], "an address is wanted"),
        (&[Some("lo"), Some("VRRP")], "a node is wanted"),
        (
            &[Some("lo"), Some("VRRP"), Some("a=10.0.0.1")],
            "a name is wanted",
        ),
        (&bgp, "an address is wanted"),
        (&[&bgp[..], &acme[..1]].concat(), "a hostlist is wanted"),
        (&issued, "a name is wanted"),
        (
            &[&issued[..], &[Some("a.example.org"), Some("yes")]].concat(),
            "a mail address is wanted",
        ),
    ] {
        let refused = text_of(&original, &mut Script::of(answers)).unwrap_err();
        assert!(refused.to_string().contains(words), "{words}: {refused}");
    }
    let mut all = vec![None; 8];
    all.push(Some("open, 10.0.0.1"));
    let configured = stage.original(&configured(server()), &[]);
    let refused = text_of(&configured, &mut Script::of(&all)).unwrap_err();
    assert!(
        refused.to_string().contains("`open` stands alone"),
        "{refused}"
    );
}

#[test]
fn the_list_of_routers_follows_the_neighbours() {
    let text = configured(server());
    let stage = Stage::new();
    let routers = |view: &View| view.texts(&key(&["lists", "routers", "sources"]));
    let more = [None, None, None, Some("192.0.2.254, 192.0.2.253")];
    let (_, view, _) = stage.after(&text, &more);
    assert_eq!(routers(&view), ["192.0.2.254", "192.0.2.253"]);
    let (_, view, _) = stage.after(&text, &[None, None, None, Some("192.0.2.253")]);
    assert_eq!(routers(&view), ["192.0.2.253"]);
    let filled = text.replace("sources = ['192.0.2.254']\n", "");
    let (_, view, script) = stage.after(&filled, &more);
    assert!(routers(&view).is_empty());
    assert!(
        script
            .said
            .iter()
            .any(|it| it.contains("must have 192.0.2.253 too")),
        "{:?}",
        script.said
    );
}

#[test]
fn the_name_of_a_node_that_was_left_out_is_no_default() {
    let stage = Stage::new();
    let vrrp = "[vrrp]\nnode = 'a'\n[[vrrp.nodes]]\nname = 'a'\naddresses = ['10.0.0.1']\n\
                [[vrrp.nodes]]\nname = 'b'\naddresses = ['10.0.0.2']\n";
    let text = configured(server());
    let (bgp, services) = (
        text.find("[bgp]").unwrap(),
        text.find("[[services]]").unwrap(),
    );
    let text = format!("{}{vrrp}{}", &text[..bgp], &text[services..]);
    let answers = [None, None, Some("b=10.0.0.2, c=10.0.0.3")];
    let refused = text_of(&stage.original(&text, &[]), &mut Script::of(&answers));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("a name is wanted"), "{refused}");
}

#[test]
fn what_is_in_another_file_is_shown_as_default_and_never_written_here() {
    let text = configured(server());
    let bgp = text.find("[bgp]").unwrap();
    let services = text.find("[[services]]").unwrap();
    let main = format!("{}{}", &text[..bgp], &text[services..]);
    let stage = Stage::new();
    let original = stage.original(&main, &[("bgp.toml", &text[bgp..services])]);
    assert_eq!(stage.asked(&original, &mut Script::default()), main);
    let mut script = Script::of(&[None, None, Some("65009")]);
    assert_eq!(stage.asked(&original, &mut script), main);
    assert!(
        script
            .said
            .iter()
            .any(|it| it.contains("`bgp.as` belongs to ") && it.contains("/bgp.toml")),
        "{:?}",
        script.said
    );
}

#[test]
fn a_list_is_split_at_commas_outside_of_brackets() {
    assert_eq!(
        split("rgw[1,3-5]:80, rgw9 weight=2 ,,a, a"),
        ["rgw[1,3-5]:80", "rgw9 weight=2", "a"]
    );
    assert!(split(" , ").is_empty());
}
