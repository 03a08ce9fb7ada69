//! Whole runs on a storage server that answers as iproute2 6.1, kmod and systemd 252 do, and that fails the test in the moment in
//! which it would answer ARP for a VIP. Its files are real, below a directory of the test.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

use super::{Setup, print::Format};
use crate::host::{
    Host,
    bootstrap::Done,
    plan::{PartPlan, Tone},
    platform::{Platform, Said},
    record::{Author, Record},
    root::Root,
    tests::{Subject, survives_a_kill_at_every_step, tree},
    undo::{Back, How},
};

/// What the commands and the kernel know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    settings: BTreeMap<String, String>,
    /// Each interface: is it up, and its addresses.
    links: BTreeMap<String, (bool, BTreeSet<String>)>,
    modules: BTreeSet<String>,
    enabled: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Server {
    known: RefCell<Known>,
    /// Where its files are.
    files: PathBuf,
}

fn said(out: String) -> Said {
    Said {
        success: true,
        out,
        complaint: String::new(),
    }
}

const RP_FILTER: &str = "net.ipv4.conf.tunl0.rp_filter";

impl Server {
    /// The law: no VIP of IPv4 without the settings that keep this server silent.
    fn is_silent(&self) {
        let known = self.known.borrow();
        let vips = known.links["lo"].1.iter();
        let vips: Vec<_> = vips.filter(|it| it.starts_with("192.0.2.")).collect();
        let of = |key: &str| known.settings[&format!("net.ipv4.conf.all.{key}")].clone();
        let settings = [of("arp_ignore"), of("arp_announce")];
        let silent = settings == ["1".to_owned(), "2".to_owned()];
        assert!(vips.is_empty() || silent, "{vips:?} {settings:?}");
    }

    fn shown(&self) -> String {
        let known = self.known.borrow();
        let links = known.links.iter().map(|(name, (up, addresses))| {
            let addresses = addresses.iter().map(|it| {
                let (local, length) = it.split_once('/').unwrap();
                serde_json::json!({"local": local, "prefixlen": length.parse::<u8>().unwrap()})
            });
            let flags = if *up { vec!["UP", "LOWER_UP"] } else { vec![] };
            let kind = if name.starts_with("tun") { "ipip" } else { "ether" };
            serde_json::json!({"ifname": name, "link_type": kind, "flags": flags, "addr_info": addresses.collect::<Vec<_>>()})
        });
        serde_json::Value::Array(links.collect()).to_string()
    }

    fn obey(&self, words: &[&str]) -> Option<String> {
        let mut known = self.known.borrow_mut();
        let known = &mut *known;
        match words {
            ["ip", "address", "add", vip, "dev", "lo", ..] => {
                let lo = known.links.get_mut("lo")?;
                lo.1.insert((*vip).to_owned()).then(String::new)
            }
            ["ip", "address", "del", vip, "dev", "lo"] => {
                known.links.get_mut("lo")?.1.remove(*vip).then(String::new)
            }
            ["ip", "link", "set", name, to] => {
                known.links.get_mut(*name)?.0 = *to == "up";
                Some(String::new())
            }
            ["modprobe", "ipip"] => {
                known.modules.insert("ipip".to_owned());
                known
                    .links
                    .insert("tunl0".to_owned(), (false, BTreeSet::new()));
                known.settings.insert(RP_FILTER.to_owned(), "1".to_owned());
                Some(String::new())
            }
            ["modprobe", "--remove", "ipip"] => {
                known.links.remove("tunl0");
                known.settings.remove(RP_FILTER);
                known.modules.remove("ipip").then(String::new)
            }
            ["systemctl", "daemon-reload"] => Some(String::new()),
            ["systemctl", "is-enabled", unit] => {
                known.enabled.contains(*unit).then(|| "enabled".to_owned())
            }
            // systemd finds a unit by its file.
            ["systemctl", verb, "--now", unit] => {
                let file = self.files.join("etc/systemd/system").join(unit);
                file.exists().then_some(())?;
                if *verb == "enable" {
                    known.enabled.insert((*unit).to_owned());
                } else {
                    known.enabled.remove(*unit);
                }
                Some(String::new())
            }
            _ => None,
        }
    }
}

impl Platform for Server {
    fn is_running(&self) -> bool {
        true
    }

    fn setting(&self, key: &str) -> io::Result<Option<String>> {
        Ok(self.known.borrow().settings.get(key).cloned())
    }

    fn is_settable(&self, _key: &str) -> bool {
        true
    }

    fn set(&self, key: &str, value: &str) -> io::Result<()> {
        let absent = io::Error::from(io::ErrorKind::NotFound);
        let mut known = self.known.borrow_mut();
        *known.settings.get_mut(key).ok_or(absent)? = value.to_owned();
        drop(known);
        self.is_silent();
        Ok(())
    }

    fn exists(&self, path: &str) -> bool {
        let module = path.strip_prefix("/sys/module/");
        let loaded = module.is_some_and(|it| self.known.borrow().modules.contains(it));
        loaded || path == "/run/systemd/system"
    }

    async fn run(&self, words: &[&str]) -> Result<Said, String> {
        if words == ["ip", "-json", "address", "show"] {
            return Ok(said(self.shown()));
        }
        let done = self.obey(words);
        self.is_silent();
        Ok(done.map_or_else(Said::default, said))
    }
}

struct Bench {
    directory: tempfile::TempDir,
    host: Host<Server>,
    setup: Setup,
}

fn setup(vips: &[&str], mode: super::Mode) -> Setup {
    Setup {
        vips: vips.iter().map(|it| it.parse().unwrap()).collect(),
        mode,
        interface: Some("eth1".parse().unwrap()),
    }
}

const VIPS: [&str; 2] = ["192.0.2.10", "2001:db8::10"];

impl Bench {
    fn new(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for path in ["etc/systemd/system", "var/lib"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let server = Server {
            files: directory.path().to_owned(),
            ..Server::default()
        };
        let mut known = server.known.borrow_mut();
        for interface in ["all", "eth1"] {
            for key in ["arp_ignore", "arp_announce", "rp_filter"] {
                let key = format!("net.ipv4.conf.{interface}.{key}");
                let strict = if key.ends_with("rp_filter") { "1" } else { "0" };
                known.settings.insert(key, strict.to_owned());
            }
        }
        for (name, address) in [("lo", "127.0.0.1/8"), ("eth1", "192.0.2.2/24")] {
            let addresses = [address.to_owned()].into();
            known.links.insert(name.to_owned(), (true, addresses));
        }
        drop(known);
        Self {
            host: Host {
                root: Root::below(directory.path().to_owned()),
                machine: server,
            },
            directory,
            setup,
        }
    }

    async fn plan(&self) -> PartPlan {
        let record = Record::read(&self.host.root, Author::BackendSetup).unwrap();
        let facts = super::look(&self.host, &record, &self.setup).await;
        super::plan(&facts.unwrap(), &self.setup)
    }
}

impl Subject for Bench {
    type Machine = Server;
    type Whole = (BTreeMap<PathBuf, String>, Known);
    const AUTHOR: Author = Author::BackendSetup;

    fn fresh() -> Self {
        Self::new(setup(&VIPS[..1], super::Mode::Ipip))
    }

    fn host(&self) -> &Host<Server> {
        &self.host
    }

    async fn plans(&self) -> Vec<PartPlan> {
        vec![self.plan().await]
    }

    fn whole(&self) -> Self::Whole {
        let mut files = BTreeMap::new();
        tree(self.directory.path(), &mut files);
        (files, self.host.machine.known.borrow().clone())
    }
}

fn failures(done: &[Done]) -> Vec<&str> {
    done.iter().filter_map(|it| it.failed.as_deref()).collect()
}

fn settings(bench: &Bench) -> String {
    fs::read_to_string(bench.directory.path().join("etc/sysctl.d/60-ober-vip.conf")).unwrap()
}

#[tokio::test]
async fn a_storage_server_is_set_up_as_planned_a_second_run_has_nothing_to_do_and_an_undo_restores()
{
    for (mode, changes) in [(super::Mode::Dr, 10), (super::Mode::Ipip, 14)] {
        // The fake has no ip6_tunnel.
        let vips = if mode == super::Mode::Dr {
            &VIPS[..]
        } else {
            &VIPS[..1]
        };
        let bench = Bench::new(setup(vips, mode));
        let before = bench.whole();
        let planned = bench.changes().await;
        assert_eq!(
            planned.len(),
            changes - usize::from(vips.len() == 1),
            "{planned:#?}"
        );
        assert_eq!(bench.whole(), before, "looking changes nothing");
        let done = bench.apply().await;
        assert_eq!(failures(&done), [""; 0]);
        let known = bench.host.machine.known.borrow().clone();
        assert_eq!(known.links["lo"].1.len(), 1 + vips.len());
        assert!(known.enabled.contains("ober-vip.service"));
        for key in ["all", "eth1"].map(|it| format!("net.ipv4.conf.{it}.arp_ignore")) {
            assert_eq!(known.settings[&key], "1");
            assert!(settings(&bench).contains(&format!("{key} = 1\n")));
        }
        if mode == super::Mode::Ipip {
            assert!(known.links["tunl0"].0);
            assert_eq!(known.settings[RP_FILTER], "0");
            assert_eq!(known.settings["net.ipv4.conf.all.rp_filter"], "0");
        }
        assert_eq!(bench.changes().await, []);
        let undone = bench.undo().await;
        assert!(undone.iter().all(|it| it.failed.is_none()), "{undone:#?}");
        assert_eq!(bench.whole(), before);
        assert_eq!(bench.undo().await, []);
    }
}

/// The machine fails the test in the moment in which it would answer for a VIP.
#[tokio::test]
async fn a_setup_or_an_undo_that_is_killed_at_any_step_can_be_run_again_and_never_answers_for_a_vip()
 {
    survives_a_kill_at_every_step::<Bench>().await;
}

#[tokio::test]
async fn an_undo_leaves_the_module_of_other_tunnels_and_the_settings_of_a_vip_that_stays() {
    let stays = |undone: &[Back]| -> Vec<String> {
        let kept = undone.iter().filter(|it| it.how == How::Keep);
        kept.map(|it| it.stays(Author::BackendSetup)).collect()
    };
    let bench = Bench::new(setup(&VIPS[..1], super::Mode::Ipip));
    bench.apply().await;
    let tunnel = ("tun7".to_owned(), (true, BTreeSet::new()));
    bench.host.machine.known.borrow_mut().links.extend([tunnel]);
    let said = stays(&bench.undo().await);
    assert_eq!(said, ["module ipip stays: tun7 would go with it"]);
    assert!(bench.host.machine.known.borrow().modules.contains("ipip"));

    let bench = Bench::new(setup(&VIPS[..1], super::Mode::Dr));
    bench.apply().await;
    {
        let mut known = bench.host.machine.known.borrow_mut();
        let lo = &mut known.links.get_mut("lo").unwrap().1;
        lo.remove("192.0.2.10/32");
        lo.insert("192.0.2.10/24".to_owned());
    }
    let said = stays(&bench.undo().await);
    assert!(
        said[0].starts_with("VIP 192.0.2.10/32 on lo stays: it is a network of /24"),
        "{said:?}"
    );
    let silent = "net.ipv4.conf.all.arp_ignore stays: VIP 192.0.2.10/32 on lo stays, and this server would answer for it";
    assert!(said.iter().any(|it| it == silent), "{said:?}");
    assert_eq!(
        bench.host.machine.known.borrow().settings["net.ipv4.conf.all.arp_ignore"],
        "1"
    );
}

#[tokio::test]
async fn a_vip_that_is_not_named_any_more_goes_and_one_of_the_administrator_stays() {
    let mut bench = Bench::new(setup(&VIPS, super::Mode::Dr));
    let lo = |bench: &Bench| bench.host.machine.known.borrow().links["lo"].1.clone();
    let own = "192.0.2.99/32".to_owned();
    {
        let mut known = bench.host.machine.known.borrow_mut();
        for key in ["all", "eth1"] {
            for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
                let key = format!("net.ipv4.conf.{key}.{name}");
                known.settings.insert(key, value.to_owned());
            }
        }
        known.links.get_mut("lo").unwrap().1.insert(own.clone());
    }
    let before = bench.whole();
    bench.apply().await;
    bench.setup = setup(&["192.0.2.99", "2001:db8::10"], super::Mode::Dr);
    assert_eq!(failures(&bench.apply().await), [""; 0]);
    let now = ["127.0.0.1/8".to_owned(), own, "2001:db8::10/128".to_owned()];
    assert_eq!(lo(&bench), now.into());
    bench.undo().await;
    assert_eq!(bench.whole(), before);
}

#[tokio::test]
async fn what_would_do_harm_is_refused_whole_and_a_later_file_that_contradicts_is_named() {
    let bench = Bench::new(setup(&["192.0.2.2"], super::Mode::Dr));
    let plan = bench.plan().await;
    assert!(plan.is_refused() && plan.changes.is_empty(), "{plan:#?}");
    assert!(plan.remarks[0].words.contains("an address of eth1"));
    let mut bench = Bench::new(setup(&VIPS, super::Mode::Dr));
    bench.setup.interface = Some("eth7".parse().unwrap());
    let plan = bench.plan().await;
    assert!(plan.is_refused() && plan.changes.is_empty(), "{plan:#?}");
    let bench = Bench::new(setup(&VIPS, super::Mode::Dr));
    let later = bench.directory.path().join("etc/sysctl.d");
    fs::create_dir(&later).unwrap();
    fs::write(
        later.join("99-own.conf"),
        "net.ipv4.conf.*.arp_ignore = 0\n",
    )
    .unwrap();
    let plan = bench.plan().await;
    let warned = plan.remarks.iter().filter(|it| it.tone == Tone::Warning);
    let objects: Vec<&str> = warned.map(|it| it.object.as_str()).collect();
    assert_eq!(
        objects,
        [
            "net.ipv4.conf.all.arp_ignore",
            "net.ipv4.conf.eth1.arp_ignore"
        ]
    );
}

#[test]
fn addresses_and_names_that_cannot_be_meant_are_refused() {
    for (text, words) in [
        ("192.0.2.0/24", "is a network"),
        ("127.0.0.1", "no VIP"),
        ("0.0.0.0", "no VIP"),
        ("224.0.0.18", "no VIP"),
        ("fe80::1", "no VIP"),
        ("::ffff:192.0.2.1", "no VIP"),
        ("rgw1", "an address is wanted"),
    ] {
        let refused = text.parse::<super::setup::Vip>().unwrap_err();
        assert!(refused.contains(words), "{text}: {refused}");
    }
    assert_eq!(
        "192.0.2.1/32"
            .parse::<super::setup::Vip>()
            .unwrap()
            .to_string(),
        "192.0.2.1/32"
    );
    for text in ["", "lo", "a b", "$(x)", "a'b", "interface-of-16c"] {
        text.parse::<super::setup::Interface>().unwrap_err();
    }
    // A dot of its name is no separator of the key.
    let mut dotted = setup(&VIPS, super::Mode::Dr);
    dotted.interface = Some("eth0.100".parse().unwrap());
    let settings = dotted.settings();
    assert_eq!(settings[1].key, "net/ipv4/conf/eth0.100/arp_ignore");
    assert_eq!(
        settings[1].file(),
        "/proc/sys/net/ipv4/conf/eth0.100/arp_ignore"
    );
}

#[test]
fn every_format_has_the_vips_and_netplan_says_what_it_cannot_do() {
    let setup = setup(&VIPS, super::Mode::Ipip);
    for format in [Format::Sh, Format::Ansible, Format::Netplan] {
        let text = super::print::print(&setup, format);
        for vip in ["192.0.2.10/32", "2001:db8::10/128"] {
            assert!(text.contains(vip), "{text}");
        }
        assert!(
            text.contains("arp_ignore") && text.contains("tunl0"),
            "{text}"
        );
    }
    let text = super::print::print(&setup, Format::Netplan);
    assert!(
        text.contains("sets no arp_ignore") && text.contains("lifetime: 0"),
        "{text}"
    );
}
