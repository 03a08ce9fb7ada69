//! A node without a daemon, another host beside it, and what the command finds.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use ober_tests::{
    ingress::Ingress,
    lab::{Host, Lab},
};
use serde_json::Value;

/// The node is number 1 on the link, the other host number 2.
pub(crate) struct Bench {
    pub(crate) node: Host,
    pub(crate) other: Host,
    pub(crate) lab: Lab,
}

pub(crate) const OTHER: &str = "10.9.0.2";

impl Bench {
    pub(crate) fn new(name: &str) -> Self {
        let lab = Lab::new(name).expect("make a laboratory");
        let node = lab.host("node").expect("make the node");
        let other = lab.host("other").expect("make the other host");
        node.ip(&[format!(
            "link add eth0 type veth peer name eth0 netns {}",
            other.pid()
        )])
        .expect("a link");
        for (host, number) in [(&node, 1), (&other, 2)] {
            host.ip(&[
                format!("addr add 10.9.0.{number}/24 dev eth0"),
                format!("addr add fd09::{number}/64 dev eth0 nodad"),
                "link set eth0 up".to_owned(),
            ])
            .expect("addresses");
        }
        Self { node, other, lab }
    }

    /// A configuration with these lines, and one service that leads to `server`.
    pub(crate) fn config(
        &self,
        certificate: Option<&PathBuf>,
        server: &str,
        lines: &str,
    ) -> Ingress {
        let listener = match certificate {
            Some(path) => format!("port = 443\ncertificate = '{}'", path.display()),
            None => "port = 80\naccess = 'open'".to_owned(),
        };
        let text = format!(
            "[node]\ninstance = '{}'\ninterfaces = ['eth0']\nstate = '{directory}/state'\nrun = '{directory}/run'\n\
             [workers]\nmax_connections = 1000\n\
             [[services]]\nname = 's3'\nvips = ['192.0.2.10']\nbackend = 'rgw'\n[[services.listeners]]\n{listener}\n\
             [backends.rgw]\nservers = ['{server}']\n[backends.rgw.check]\npath = '/'\n{lines}",
            self.lab.instance(),
            directory = self.lab.directory().display(),
        );
        let file = self.lab.write("ober.toml", text).expect("write it");
        let mode = PermissionsExt::from_mode(0o600);
        fs::set_permissions(&file, mode).expect("protect it");
        Ingress::new(file)
    }

    /// A configuration with a `[bgp]` and no server to ask.
    pub(crate) fn bgp(&self, neighbour: &str) -> Ingress {
        let lines = format!(
            "[bgp]\nas = 65001\nrouter_id = '10.9.0.1'\n[[bgp.neighbours]]\naddress = '{OTHER}'\nas = 65002\n\
             connect_retry = '1s'\nfamilies = ['ipv4']\n{neighbour}\n"
        );
        self.config(None, "10.9.0.9:80", &lines)
    }
}

/// The findings of a command.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) code: i32,
    pub(crate) report: Value,
}

/// Runs `ober-user test` or `doctor`, and reads its JSON.
pub(crate) fn ask(host: &Host, ober: &Ingress, arguments: &[&str]) -> Found {
    let arguments = [arguments, &["--json"]].concat();
    let output = ober.try_cli(host, &arguments).expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text).unwrap_or_else(|error| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {text}{errors}")
    });
    Found {
        code: output.status.code().expect("it ended by itself"),
        report,
    }
}

impl Found {
    pub(crate) fn all(&self) -> &[Value] {
        let findings = self.report["findings"].as_array();
        findings.map_or(&[], Vec::as_slice)
    }

    /// The only finding of a part.
    pub(crate) fn one(&self, part: &str) -> &Value {
        let mut found = self.all().iter().filter(|it| it["part"] == part);
        let (first, second) = (found.next(), found.next());
        assert!(second.is_none(), "{self:#?}");
        first.unwrap_or_else(|| panic!("nothing of {part}: {self:#?}"))
    }

    /// Compares the only finding of a part: its verdict, and words of its reason and advice.
    #[track_caller]
    pub(crate) fn says(&self, part: &str, verdict: &str, reason: &str, advice: &str) {
        let one = self.one(part);
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(one["verdict"], verdict, "{one:#}");
        assert!(text("reason").contains(reason), "{one:#}");
        assert!(text("advice").contains(advice), "{one:#}");
        assert_eq!(self.report["verdict"], verdict, "{self:#?}");
        assert_eq!(self.code, i32::from(verdict == "failed"), "{self:#?}");
    }
}
