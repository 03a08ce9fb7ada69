//! A node that speaks BGP from this process, and a router beside it.

use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use ober_programs::{Command, SS};
use ober_tests::lab::{self, Host, Lab, Process};
use ober_user::{
    announce::{self, gate::Standing},
    api::status::bgp::{self as status, Neighbour},
    config::{Config, Env},
    machine::realtime::Thread,
    protocols::{
        bfd,
        bgp::{self, Handle},
    },
};
use tokio::{runtime, sync::oneshot};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const VIP4: &str = "192.0.2.10";
pub(crate) const VIP6: &str = "2001:db8::10";
pub(crate) const ROUTER4: &str = "10.9.0.2";
pub(crate) const ROUTER6: &str = "fd09::2";
pub(crate) const ROUTER_LINK: &str = "fe80::2";
/// The environment variable that makes this program a speaker with that section, and nothing else.
const VICTIM: &str = "OBER_BGP_VICTIM";

/// The node is number 1 on the link, the router number 2; both in both families.
pub(crate) struct Topology {
    pub(crate) node: Host,
    pub(crate) router: Host,
    pub(crate) lab: Lab,
}

impl Topology {
    pub(crate) fn new(name: &str) -> Self {
        let lab = Lab::new(name).expect("make a laboratory");
        let node = lab.host("node").expect("make the node");
        let router = lab.host("router").expect("make the router");
        let link = format!("link add r0 type veth peer name r0 netns {}", router.pid());
        node.ip(&[
            &link,
            "link set r0 addrgenmode none",
            "addr add fe80::1/64 dev r0 nodad",
            "addr add 10.9.0.1/24 dev r0",
            "addr add fd09::1/64 dev r0 nodad",
            "link set r0 up",
        ])
        .expect("wire the node");
        router
            .ip(&[
                "link set r0 addrgenmode none",
                "addr add fe80::2/64 dev r0 nodad",
                "addr add 10.9.0.2/24 dev r0",
                "addr add fd09::2/64 dev r0 nodad",
                "link set r0 up",
            ])
            .expect("wire the router");
        Self { node, router, lab }
    }

    /// Makes room for another router in the same place.
    pub(crate) fn forget_routers(&self) {
        for peer in ["frr-router", "bird-router"] {
            let directory = self.lab.directory().join(peer);
            if directory.exists() {
                std::fs::remove_dir_all(directory).expect("remove what a router left");
            }
        }
    }

    /// Drops packets of BFD that leave the node or come in, or lets them pass again. A rule drops incoming packets only when it
    /// comes before the table of the node's own addresses.
    pub(crate) fn cut_bfd(&self, cut: bool) {
        let rule = |verb, port| format!("rule {verb} pref 10 ipproto udp dport {port} blackhole");
        let lines = if cut {
            let first = ["rule add pref 100 lookup local", "rule del pref 0"];
            [
                first.map(str::to_owned),
                [rule("add", 3784), rule("add", 4784)],
            ]
        } else {
            let last = ["rule add pref 0 lookup local", "rule del pref 100"];
            [
                [rule("del", 3784), rule("del", 4784)],
                last.map(str::to_owned),
            ]
        };
        self.node.ip(&lines.concat()).expect("cut BFD");
    }

    /// Drops every IPv4 packet that leaves the router or comes to it, as if its power had gone, or lets them pass again. It
    /// does not answer ARP either.
    pub(crate) fn cut_router(&self, cut: bool) {
        // The rule comes before the table of the router's own addresses.
        let lines: &[&str] = if cut {
            &[
                "rule add pref 10 blackhole",
                "rule add pref 100 lookup local",
                "rule del pref 0",
            ]
        } else {
            &[
                "rule add pref 0 lookup local",
                "rule del pref 100",
                "rule del pref 10",
            ]
        };
        self.router.ip(lines).expect("cut the router");
    }

    /// Speaks as `[bgp]` says, with both VIPs announced and settled.
    pub(crate) fn speak(&self, bgp: &str) -> Speaker {
        let speaker = self.listen(bgp);
        speaker.both(Standing::Announced);
        speaker.handle.settled();
        speaker
    }

    /// Speaks as `[bgp]` says, and has nothing to advertise yet.
    pub(crate) fn listen(&self, bgp: &str) -> Speaker {
        let namespace = self.node.namespace().expect("the node");
        let config = config(bgp);
        let (sender, receiver) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter the node");
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let (handle, bfd, _thread) = both_protocols(&config).await;
                sender
                    .send((handle, bfd, runtime::Handle::current()))
                    .expect("tell");
                stopped.await.unwrap_or_default();
            });
        });
        let (handle, bfd, runtime) = receiver.recv().expect("it speaks");
        Speaker {
            handle,
            bfd,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The same in a process of its own, for tests that freeze or kill it.
    pub(crate) fn victim(&self, bgp: &str) -> Process {
        // A test's thread bears its name.
        let thread = std::thread::current();
        let test = thread.name().expect("a test's thread");
        let mut command = Command::again().expect("own path");
        command
            .args(["--exact", test, "--nocapture"])
            .env(VICTIM, bgp);
        self.node.spawn(&mut command).expect("start a speaker")
    }
}

/// BGP, and BFD that reports to it, as the daemon has them.
async fn both_protocols(config: &Config) -> (Arc<Handle>, Arc<bfd::Handle>, Thread) {
    let bgp = bgp::start(config.bgp.as_ref().expect("[bgp]")).expect("start speaking");
    let bgp = Arc::new(bgp);
    let thread = Thread::start().expect("start the thread of BFD");
    let (changes, mut paths) = tokio::sync::mpsc::unbounded_channel();
    let bfd = bfd::start(&thread, changes);
    let speaker = Arc::clone(&bgp);
    tokio::spawn(async move {
        while let Some(bfd::StateChange { peer, state, .. }) = paths.recv().await {
            speaker.bfd(peer, announce::path(state));
        }
    });
    bfd.set(announce::sessions(config))
        .await
        .expect("start BFD");
    (bgp, Arc::new(bfd), thread)
}

/// The longest segment of the BGP connection, as the kernel of the host has it.
pub(crate) fn longest_segment(host: &Host) -> u32 {
    let mut ss = SS.command();
    ss.args([
        "-tniOH",
        "state",
        "established",
        "( sport = :179 or dport = :179 )",
    ]);
    let text = host.output(&mut ss).expect("ask the kernel").stdout;
    let text = String::from_utf8(text).expect("text");
    let mut words = text.split_whitespace();
    let found = words.find_map(|word| word.strip_prefix("mss:"));
    found
        .unwrap_or_else(|| panic!("no segment size in {text}"))
        .parse()
        .expect("a number")
}

/// Is this process one that [`Stage::victim`] started? Then it speaks until it is killed.
pub(crate) fn become_victim() {
    let Ok(bgp) = std::env::var(VICTIM) else {
        return;
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (handle, _bfd, _thread) = both_protocols(&config(&bgp)).await;
        for vip in [VIP4, VIP6] {
            handle.stand(vip.parse().expect("an address"), Standing::Announced);
        }
        handle.settled();
        std::future::pending::<()>().await;
    });
}

/// The section in a whole configuration.
pub(crate) fn config(bgp: &str) -> Config {
    let env = Env {
        variables: [("PATH".to_owned(), std::env::var("PATH").expect("PATH"))].into(),
        cpus: vec![0],
        ..Env::default()
    };
    let text = format!(
        "[node]\ninterfaces = ['r0']\n[[services]]\nname = 's3'\nvips = ['{VIP4}', '{VIP6}']\nbackend = 'b'\n\
         [[services.listeners]]\nport = 80\naccess = 'open'\n[backends.b]\nservers = ['10.8.0.1:80']\n{bgp}"
    );
    let config = Config::parse(&text, Path::new("/"), &env);
    config.unwrap_or_else(|error| panic!("{error}"))
}

/// `[bgp]` with one neighbour, and more keys of it.
pub(crate) fn bgp(address: &str, more: &str) -> String {
    format!(
        "[bgp]\nas = 65001\n[[bgp.neighbours]]\naddress = '{address}'\nas = 65002\nconnect_retry = '1s'\n{more}\n"
    )
}

/// The same with a port that neighbours may connect to.
pub(crate) fn listening(address: &str, more: &str) -> String {
    bgp(address, more).replace(
        "as = 65001",
        "as = 65001\nlisten = ['0.0.0.0:179', '[::]:179']",
    )
}

/// Speaks until it is dropped; then its sessions end without a NOTIFICATION.
pub(crate) struct Speaker {
    pub(crate) handle: Arc<Handle>,
    pub(crate) bfd: Arc<bfd::Handle>,
    runtime: runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Speaker {
    pub(crate) fn both(&self, standing: Standing) {
        for vip in [VIP4, VIP6] {
            self.stand(vip, standing);
        }
    }

    pub(crate) fn stand(&self, vip: &str, standing: Standing) {
        self.handle
            .stand(vip.parse().expect("an address"), standing);
    }

    /// A reload.
    pub(crate) fn configure(&self, bgp: &str) {
        let (handle, bfd, config) = (self.handle.clone(), self.bfd.clone(), config(bgp));
        // Sockets must be made in the node's namespace.
        let work = self.runtime.spawn(async move {
            let bgp = config.bgp.as_ref().expect("[bgp]");
            handle.configure(bgp).expect("a reload");
            bfd.set(announce::sessions(&config))
                .await
                .expect("a reload");
        });
        self.runtime.block_on(work).expect("a reload");
    }

    /// Prepares a reload and drops it; the words of the refusal.
    pub(crate) fn try_prepare(&self, bgp: &str) -> Result<(), String> {
        let (handle, config) = (self.handle.clone(), config(bgp));
        let work = self.runtime.spawn(async move {
            let prepared = handle.prepare(config.bgp.as_ref().expect("[bgp]"));
            prepared.map(drop).map_err(|error| error.to_string())
        });
        self.runtime.block_on(work).expect("no panic")
    }

    pub(crate) fn flush(&self) {
        self.runtime.block_on(self.handle.flushed());
    }

    pub(crate) fn neighbours(&self) -> Vec<Neighbour> {
        status::neighbours(&self.handle.overview())
    }

    pub(crate) fn neighbour(&self, address: &str) -> Neighbour {
        let address: IpAddr = address.parse().expect("an address");
        let found = self
            .neighbours()
            .into_iter()
            .find(|it| it.address == address);
        found.expect("a neighbour")
    }

    /// Waits until the neighbour is as wanted.
    pub(crate) fn until(
        &self,
        address: &str,
        what: &str,
        wanted: impl Fn(&Neighbour) -> bool,
    ) -> Neighbour {
        let what = format!("neighbour {address}: {what}");
        lab::until(&what, PATIENCE, || {
            let neighbour = self.neighbour(address);
            anyhow::ensure!(wanted(&neighbour), "{neighbour:#?}");
            Ok(Some(neighbour))
        })
        .unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub(crate) fn established(&self, address: &str) -> Neighbour {
        self.until(address, "established", |it| {
            it.state.name() == "established"
        })
    }

    /// Ends every session as a planned stop does.
    pub(crate) fn stop(&self, message: &str) {
        self.runtime.block_on(async {
            self.handle.stop(message).await;
            self.bfd.admin_down().await.expect("take BFD down");
        });
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop.take();
        let Some(thread) = self.thread.take() else {
            return;
        };
        let ended = thread.join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "the speaker's thread panicked"
        );
    }
}
