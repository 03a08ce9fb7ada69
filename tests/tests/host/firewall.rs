//! A firewall of nftables with a policy that drops, on a node of the laboratory, and a client on the other end of its link.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use ober_programs::{Command, NFT, SH, UNSHARE};
use ober_tests::{
    lab::{Host, Lab, program},
    mounts,
};

use crate::{Ran, bootstrap};

const RULES: &str = "table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    meta l4proto ipv6-icmp accept
    tcp dport 22 accept
  }
}
";
const CHAIN: &str = "inet/filter/input";
const PATIENCE: Duration = Duration::from_millis(700);

struct Bench {
    node: Host,
    other: Host,
    lab: Lab,
    config: String,
}

impl Bench {
    fn new() -> Self {
        let lab = Lab::new("firewall").expect("a laboratory");
        let [node, other] = ["node", "other"].map(|name| lab.host(name).expect("a host"));
        let link = format!(
            "link add eth0 type veth peer name eth0 netns {}",
            other.pid()
        );
        node.ip(&[link]).expect("a link");
        for (host, number) in [(&node, 1), (&other, 2)] {
            host.ip(&[
                format!("addr add 10.9.0.{number}/24 dev eth0"),
                "link set eth0 up".to_owned(),
            ])
            .expect("an address");
        }
        let text = format!(
            "[node]\ninstance = '{}'\ninterfaces = ['eth0']\nstate = '{directory}/state'\nrun = '{directory}/run'\n\
             [[services]]\nname = 's3'\nvips = ['10.9.0.1']\nbackend = 'rgw'\n\
             [[services.listeners]]\nport = 80\naccess = 'open'\n\
             [backends.rgw]\nservers = ['10.9.0.9:80']\n",
            lab.instance(),
            directory = lab.directory().display(),
        );
        let config = lab.write("ober.toml", text).expect("write it");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(lab.directory().join("var")).unwrap();
        let rules = lab.write("rules", RULES).expect("write it");
        let mut load = NFT.command();
        node.output(load.arg("-f").arg(rules)).expect("a firewall");
        let config = config.display().to_string();
        Self {
            node,
            other,
            lab,
            config,
        }
    }

    fn run(&self, command: &Command) -> Ran {
        // Its record stays out of this machine's own.
        let var = mounts::bind(&self.lab.directory().join("var"), "/var/lib".as_ref());
        let mut command = UNSHARE.before(["--mount"], &SH.in_turn(&[&var, command]));
        self.node.try_output(&mut command).unwrap().into()
    }

    fn bootstrap(&self, arguments: &[&str]) -> Ran {
        let mut command = bootstrap(arguments);
        command.args(["--config", &self.config]);
        self.run(&command)
    }

    /// The verdict of `doctor` on the firewall; `None`: it has nothing to say.
    fn doctor(&self) -> Option<String> {
        let mut command = Command::own(program("ober-user").unwrap());
        command.args(["doctor", "--json", "--config", &self.config]);
        let report: serde_json::Value = serde_json::from_str(&self.run(&command).out).unwrap();
        let mut findings = report["findings"].as_array().unwrap().iter();
        let found = findings.find(|it| it["object"] == "firewall TCP 10.9.0.1:80")?;
        Some(found["verdict"].as_str().unwrap().to_owned())
    }

    fn ruleset(&self) -> String {
        let mut command = NFT.args(["list", "ruleset"]);
        let output = self.node.output(&mut command).expect("its rules");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Which of the ports a client reaches.
    fn reached(&self, ports: [u16; 3]) -> [bool; 3] {
        let at = |port| SocketAddr::from(([10, 9, 0, 1], port));
        let listen = || ports.map(|port| TcpListener::bind(at(port)).unwrap());
        let listeners = self.node.run(listen).unwrap();
        let connect = || ports.map(|port| TcpStream::connect_timeout(&at(port), PATIENCE).is_ok());
        let reached = self.other.run(connect).unwrap();
        drop(listeners);
        reached
    }
}

#[test]
fn a_rule_for_a_vip_goes_into_the_named_chain_lets_clients_in_and_is_taken_away_alone() {
    let bench = Bench::new();
    let ports = [22, 80, 81];
    let before = bench.ruleset();
    assert_eq!(bench.reached(ports), [true, false, false]);
    assert_eq!(bench.doctor().as_deref(), Some("failed"));
    let only = |more: &[&'static str]| [&["--only", "firewall", "-y"][..], more].concat();
    // Without the name of a chain the command is shown, and nothing is done.
    bench.bootstrap(&only(&[])).says(
        0,
        &[
            "TCP 10.9.0.1:80",
            "ip daddr 10.9.0.1 tcp dport 80 accept",
            "nothing to do",
        ],
    );
    bench
        .bootstrap(&only(&["--firewall-chain", "inet/filter/none"]))
        .says(1, &["there is no chain inet/filter/none", CHAIN]);
    assert_eq!(bench.ruleset(), before);
    let named = only(&["--firewall-chain", CHAIN]);
    bench.bootstrap(&named).says(0, &["firewall: 1 changed"]);
    assert_eq!(bench.reached(ports), [true, true, false]);
    assert_eq!(bench.doctor(), None);
    bench.bootstrap(&named).says(0, &["nothing to do"]);
    // Somebody adds a rule meanwhile, which stays.
    let mut rule = NFT.args("add rule inet filter input tcp dport 81 accept".split(' '));
    bench.node.output(&mut rule).unwrap();
    bench.bootstrap(&["--undo", "-y"]).says(0, &["-> absent"]);
    assert_eq!(bench.reached(ports), [true, false, true]);
    let after = bench.ruleset().replace("\t\ttcp dport 81 accept\n", "");
    assert_eq!(after, before);
}
