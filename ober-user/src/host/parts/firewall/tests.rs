use std::{collections::BTreeSet, io};

use super::{
    managers::{Opening, Zones},
    *,
};
use crate::host::{
    plan::{Change, Tone},
    platform::Said,
    record::{Author, Record},
    root::Root,
    undo::{self, How},
    wants::{Configured, Transport},
};

fn to(address: &str, port: u16) -> Passage {
    Passage {
        transport: Transport::Tcp,
        to: Some(address.parse().unwrap()),
        port: Some(port),
    }
}

/// A ruleset whose table `inet filter` has a chain `input` with this policy and these rules.
fn input(policy: &str, rules: &[&str]) -> Ruleset {
    let rules: Vec<String> = rules
        .iter()
        .zip(1..)
        .map(|(rule, handle)| {
            format!(r#",{{"rule":{{"family":"inet","table":"filter","chain":"input","handle":{handle},"expr":[{rule}]}}}}"#)
        })
        .collect();
    let rules = rules.concat();
    let text = format!(
        r#"{{"nftables":[{{"metainfo":{{"version":"1.0.6"}}}},{{"table":{{"family":"inet","name":"filter","handle":1}}}},
        {{"chain":{{"family":"inet","table":"filter","name":"input","handle":1,"type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}},
        {{"chain":{{"family":"inet","table":"filter","name":"web","handle":2}}}},
        {{"rule":{{"family":"inet","table":"filter","chain":"web","handle":90,"expr":[
            {{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{{"set":[80,443]}}}}}},{{"accept":null}}]}}}}
        {rules}]}}"#
    );
    Ruleset::read(&text).unwrap()
}

const ACCEPT: &str = r#"{"accept":null}"#;
const DROP: &str = r#"{"drop":null}"#;
const ESTABLISHED: &str =
    r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
const SSH: &str =
    r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}"#;
const HTTPS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[80,{"range":[440,450]}]}}}"#;
const VIPS: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":{"prefix":{"addr":"192.0.2.0","len":24}}}}"#;
const OTHERS: &str = r#"{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"192.0.2.10"}}"#;
const SENDER: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.1"}}"#;
const NAMED: &str = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":"@open"}}"#;
const LO: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}}"#;
const ETH: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth*"}}"#;
const UDP: &str = r#"{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"udp"}}"#;
const JUMP: &str = r#"{"counter":{"packets":0,"bytes":0}},{"jump":{"target":"web"}}"#;
const BY_STATE: &str = r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}],["invalid",{"drop":null}]]}}}"#;
const BY_NEW: &str =
    r#"{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["new",{"jump":{"target":"web"}}]]}}}"#;
const OLD: &str = r#"{"xt":{"type":"match","name":"addrtype"}}"#;

#[test]
fn what_becomes_of_a_packet_is_read_from_the_rules_and_left_open_where_they_ask_more() {
    let passage = to("192.0.2.10", 443);
    let interfaces = ["eth1".to_owned()];
    let both = |rules: &[&str]| rules.join(",");
    let (accepted, dropped, unsure) = ("accepted", "dropped", "unsure");
    for (policy, rules, expected) in [
        ("accept", vec![], accepted),
        ("drop", vec![], dropped),
        (
            "drop",
            vec![both(&[ESTABLISHED, ACCEPT]), both(&[SSH, ACCEPT])],
            dropped,
        ),
        ("drop", vec![both(&[HTTPS, ACCEPT])], accepted),
        ("drop", vec![both(&[VIPS, HTTPS, ACCEPT])], accepted),
        ("drop", vec![both(&[OTHERS, ACCEPT])], dropped),
        ("drop", vec![both(&[LO, ACCEPT])], dropped),
        ("drop", vec![both(&[ETH, ACCEPT])], accepted),
        ("drop", vec![both(&[UDP, ACCEPT])], dropped),
        ("drop", vec![JUMP.to_owned()], accepted),
        ("drop", vec![BY_STATE.to_owned()], dropped),
        ("drop", vec![BY_NEW.to_owned()], accepted),
        ("drop", vec![both(&[SENDER, ACCEPT])], unsure),
        ("drop", vec![both(&[NAMED, ACCEPT])], unsure),
        ("drop", vec![both(&[OLD, ACCEPT])], unsure),
        ("accept", vec![DROP.to_owned()], dropped),
        ("accept", vec![both(&[SENDER, DROP])], unsure),
        (
            "accept",
            vec![both(&[HTTPS, ACCEPT]), DROP.to_owned()],
            accepted,
        ),
        (
            "accept",
            vec![r#"{"reject":{"type":"icmpx","expr":"admin-prohibited"}}"#.to_owned()],
            dropped,
        ),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let found = match input(policy, &rules).fate(&passage, &interfaces) {
            Fate::Accepted => accepted,
            Fate::Dropped(chain) => {
                assert_eq!(chain.to_string(), "inet/filter/input");
                dropped
            }
            Fate::Unsure => unsure,
        };
        assert_eq!(found, expected, "policy {policy}: {rules:?}");
    }
    let other = to("2001:db8::10", 443);
    let ruleset = input("drop", &[&both(&[VIPS, ACCEPT])]);
    assert!(matches!(
        ruleset.fate(&other, &interfaces),
        Fate::Dropped(_)
    ));
    assert_eq!(Ruleset::read("no JSON"), None);
}

#[test]
fn rules_go_into_the_chain_that_the_operator_names_and_are_shown_otherwise() {
    let mut wants = needs(vec![to("192.0.2.10", 443), to("192.0.2.10", 80)]);
    let https = format!("{HTTPS},{ACCEPT}").replace("80,", "81,");
    let mut facts = FirewallFacts {
        managers: Managers::default(),
        ruleset: Some(input("drop", &[&https])),
    };
    let shown = plan(&facts, &wants);
    assert_eq!(shown.changes, []);
    assert_eq!(shown.remarks.len(), 1);
    let rule = "ip daddr 192.0.2.10 tcp dport 80 accept";
    assert!(advice(&shown).contains(rule), "{shown:?}");
    facts.managers.ufw = Some(BTreeSet::new());
    wants.firewall_chain = Some("inet/filter/input".to_owned());
    let inserted = plan(&facts, &wants);
    let objects: Vec<String> = inserted
        .changes
        .iter()
        .map(|it| it.object.to_string())
        .collect();
    assert_eq!(objects, [format!("rule `{rule}` in inet/filter/input")]);
    wants.firewall_chain = Some("ip/filter/INPUT".to_owned());
    let refused = plan(&facts, &wants);
    assert_eq!(refused.remarks[0].tone, Tone::Refused);
    assert!(advice(&refused).contains("inet/filter/input"));
}

#[test]
fn firewalld_and_ufw_get_a_rule_for_all_that_the_configuration_needs_and_they_lack() {
    let vrrp = Passage {
        transport: Transport::Vrrp,
        to: None,
        port: None,
    };
    let wants = Wants {
        configured: Some(Configured {
            interfaces: vec!["eth1".to_owned(), "eth2".to_owned()],
            passages: vec![to("192.0.2.10", 443), to("2001:db8::10", 80), vrrp],
            ..Configured::default()
        }),
        ..Wants::default()
    };
    let ufw = |rule: &str| Opening::Ufw(rule.to_owned());
    let mut facts = FirewallFacts::default();
    facts.managers.ufw = Some([ufw("allow 80/tcp"), ufw("allow 22/tcp")].into());
    let objects = |facts: &FirewallFacts| {
        let changes = plan(facts, &wants).changes;
        changes.into_iter().map(|it| it.object).collect::<Vec<_>>()
    };
    let https = ufw("allow to 192.0.2.10 port 443 proto tcp");
    let expected = [https, ufw("allow to any proto vrrp")].map(Object::Opening);
    assert_eq!(objects(&facts), expected);
    facts.ruleset = Some(input("accept", &[]));
    assert_eq!(objects(&facts), []);

    let rich = |zone: &str, permanent, rule: &str| Opening::Firewalld {
        zone: zone.to_owned(),
        permanent,
        rule: rule.to_owned(),
    };
    let six = r#"rule family="ipv6" destination address="2001:db8::10" port port="80" protocol="tcp" accept"#;
    let four = r#"rule family="ipv4" destination address="192.0.2.10" port port="443" protocol="tcp" accept"#;
    let any = r#"rule protocol value="vrrp" accept"#;
    let zones = Zones {
        default: "public".to_owned(),
        of: managers::interfaces_of(
            "dmz\n  interfaces: eth1 eth7\npublic (default)\n  interfaces: lan0\n  sources: 10.0.0.0/8\n",
        ),
        rules: [
            rich("dmz", false, six),
            rich("dmz", true, six),
            rich("public", true, six),
            rich("public", false, four),
        ]
        .into(),
    };
    assert_eq!(zones.of.len(), 3);
    assert_eq!(zones.of["lan0"], "public");
    facts = FirewallFacts::default();
    facts.managers.firewalld = Some(zones);
    let expected = [
        rich("dmz", false, four),
        rich("dmz", true, four),
        rich("public", true, four),
        rich("public", false, six),
        rich("dmz", false, any),
        rich("dmz", true, any),
        rich("public", false, any),
        rich("public", true, any),
    ];
    assert_eq!(objects(&facts), expected.map(Object::Opening));
}

/// A configuration that needs these, on one interface.
fn needs(passages: Vec<Passage>) -> Wants {
    Wants {
        configured: Some(Configured {
            interfaces: vec!["eth1".to_owned()],
            passages,
            ..Configured::default()
        }),
        ..Wants::default()
    }
}

fn advice(plan: &PartPlan) -> String {
    plan.remarks[0].advice.clone().unwrap()
}

#[test]
fn a_rule_of_ufw_for_the_same_target_stays_and_one_that_refuses_is_named() {
    let wants = needs(vec![to("192.0.2.10", 80)]);
    let with = |rule: &str| {
        let mut facts = FirewallFacts::default();
        facts.managers.ufw = Some([Opening::Ufw(rule.to_owned())].into());
        plan(&facts, &wants)
    };
    for accepting in [
        "allow 80/tcp comment 'web, of the administrator'",
        "allow log 80",
        "allow log-all to 192.0.2.10 port 80 proto tcp comment 'x'",
    ] {
        let plan = with(accepting);
        assert_eq!(plan.changes, [], "{accepting}");
        assert_eq!(plan.remarks[0].tone, Tone::Ok, "{accepting}: {plan:?}");
    }
    for refusing in [
        "deny to 192.0.2.10 port 80 proto tcp",
        "limit 80/tcp",
        "reject log 80 comment 'closed'",
    ] {
        let plan = with(refusing);
        assert_eq!(plan.changes, [], "{refusing}");
        assert_eq!(plan.remarks[0].tone, Tone::Warning, "{refusing}: {plan:?}");
        assert!(advice(&plan).contains(&format!("ufw delete {refusing}")));
    }
    assert_eq!(with("deny 8080/tcp").changes.len(), 1);
}

#[test]
fn a_chain_that_no_manager_fills_is_named_beside_the_managers_rule() {
    let wants = needs(vec![to("192.0.2.10", 80)]);
    let mut facts = FirewallFacts::default();
    facts.managers.ufw = Some(std::collections::BTreeSet::new());
    facts.ruleset = Some(input("drop", &[]));
    let plan = plan(&facts, &wants);
    assert_eq!(plan.changes.len(), 1);
    assert!(plan.remarks[0].words.contains("inet/filter/input drops it"));
    assert!(advice(&plan).contains("--firewall-chain inet/filter/input"));
    assert!(facts.managers.fills("ip/filter/INPUT") && !facts.managers.fills("inet/firewalld/x"));
}

/// A machine on which no command can be run.
struct Silent;

impl Platform for Silent {
    fn is_running(&self) -> bool {
        true
    }

    fn setting(&self, _: &str) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn is_settable(&self, _: &str) -> bool {
        false
    }

    fn set(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn exists(&self, _: &str) -> bool {
        false
    }

    async fn run(&self, _: &[&str]) -> Result<Said, String> {
        Err("No such file or directory".to_owned())
    }
}

#[tokio::test]
async fn a_rule_that_cannot_be_looked_for_is_not_taken_for_gone_and_stays_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host {
        root: Root::below(directory.path().to_owned()),
        machine: Silent,
    };
    let object = Object::Rule {
        chain: "inet/filter/input".into(),
        rule: to("192.0.2.10", 443).rule(),
    };
    let change = Change {
        object,
        before: State::Absent,
        after: State::value(THERE),
        between: Vec::new(),
        reason: String::new(),
    };
    let (mut record, _lock) = Record::open(&host.root, Author::Bootstrap).unwrap();
    record.note(Part::Firewall, &change).unwrap();
    let mut all = undo::plan(&host, &record, &Part::ALL).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].how, How::Keep);
    assert!(
        all[0].found.to_string().contains("nft --json list ruleset"),
        "{all:?}"
    );
    undo::run(&host, &mut record, &mut all).await;
    // It is a failure, which ends an `uninstall` before the record goes.
    let failed = all[0].failed.as_ref().unwrap();
    assert!(
        failed.contains("start or install what keeps it"),
        "{failed}"
    );
    assert_eq!(record.entries().len(), 1);
}

#[test]
fn a_ruleset_that_cannot_be_listed_is_not_called_good() {
    let wants = Wants {
        configured: Some(Configured::default()),
        ..Wants::default()
    };
    let plan = plan(&FirewallFacts::default(), &wants);
    assert_eq!(plan.remarks[0].tone, Tone::Warning, "{plan:?}");
    assert!(plan.remarks[0].advice.is_some());
}
