//! The questions, answered by a test in the place of a person.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::*;
use crate::config::File;

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
    fn line(&mut self, question: &Line<'_>) -> Result<String, Error> {
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

fn original(text: &str, further: &[(&str, &str)]) -> Original {
    let file = |path: &str, text: &str| File {
        path: path.into(),
        text: text.to_owned(),
        mode: 0o600,
    };
    Original {
        main: file("/etc/ober/ober.toml", text),
        is_new: text.is_empty(),
        further: further
            .iter()
            .map(|(path, text)| file(path, text))
            .collect(),
    }
}

fn talk(original: &Original, script: &mut Script) -> Result<String, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(asked(original, &original.main.text, script))
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
    assert_eq!(talk(&original(&text, &[]), &mut script).unwrap(), text);
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
        talk(&original(&text, &[]), &mut Script::of(&answers)).unwrap()
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
    let after = talk(&original(&text, &[]), &mut Script::of(&answers)).unwrap();
    let view = View::of([&original(&after, &[]).main]);
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
    let after = talk(&original(&text, &[]), &mut Script::of(&answers)).unwrap();
    let view = View::of([&original(&after, &[]).main]);
    assert!(view.get(&key(&["bgp"])).is_none(), "{after}");
    assert_eq!(view.text(&key(&["vrrp", "node"])).unwrap(), "a");
    assert_eq!(view.names(&key(&["vrrp", "nodes"])), ["a", "b"]);
    let second = key(&["vrrp", "nodes", "b", "addresses"]);
    assert_eq!(view.texts(&second), ["10.0.0.2", "2001:db8::2"]);
}

#[test]
fn a_certificate_by_acme_needs_agreement_and_opens_port_80() {
    let text = configured(server());
    let until = [None; 7];
    let answers = [
        &until[..],
        &[
            Some("issued"),
            Some("s3.example.org"),
            Some("yes"),
            Some("ops@example.org"),
        ],
    ]
    .concat();
    let after = talk(&original(&text, &[]), &mut Script::of(&answers)).unwrap();
    let view = View::of([&original(&after, &[]).main]);
    assert_eq!(
        view.texts(&key(&["services", "s3", "listeners", "443", "acme"])),
        ["s3.example.org"]
    );
    assert_eq!(
        view.texts(&key(&["acme", "contact"])),
        ["mailto:ops@example.org"]
    );
    let answers = [
        &until[..],
        &[Some("issued"), Some("s3.example.org"), Some("no")],
    ]
    .concat();
    let after = talk(&original(&text, &[]), &mut Script::of(&answers)).unwrap();
    assert_eq!(after, text);
}

#[test]
fn what_is_in_another_file_is_shown_as_default_and_never_written_here() {
    let text = configured(server());
    let bgp = text.find("[bgp]").unwrap();
    let services = text.find("[[services]]").unwrap();
    let main = format!("{}{}", &text[..bgp], &text[services..]);
    let original = original(
        &main,
        &[("/etc/ober/config.d/bgp.toml", &text[bgp..services])],
    );
    assert_eq!(talk(&original, &mut Script::default()).unwrap(), main);
    let mut script = Script::of(&[None, None, Some("65009")]);
    assert_eq!(talk(&original, &mut script).unwrap(), main);
    assert!(
        script
            .said
            .iter()
            .any(|it| it.contains("`bgp.as` belongs to /etc/ober/config.d/bgp.toml")),
        "{:?}",
        script.said
    );
}

#[test]
fn a_list_is_split_at_commas_outside_of_brackets() {
    assert_eq!(
        split("rgw[1,3-5]:80, rgw9 weight=2 ,,a"),
        ["rgw[1,3-5]:80", "rgw9 weight=2", "a"]
    );
    assert!(split(" , ").is_empty());
}
