//! A switch with nodes that share VIPs, and a client that asks which node has them.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    num::NonZeroU8,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use ober_programs::IP;
use ober_tests::{
    cpu,
    lab::{Host, Lab, until},
};
use ober_user::{
    api::status::vrrp::{Router as Status, Vrrp as Overview},
    machine::realtime::Thread,
    protocols::{
        routers::Routers,
        vrrp::{
            self, Answers, Garp, Pace, Preempt,
            configured::{Form, Instance, Peer, Transport, Vrrp},
            packet::{Coverage, Interval, Version, Vrid},
        },
    },
};

pub(crate) const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));
pub(crate) const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100));
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The address of a node, counted from 1.
pub(crate) fn address(number: u8, six: bool) -> IpAddr {
    if six {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(10, 77, 0, number).into()
    }
}

/// Hosts are dropped first, the laboratory last.
pub(crate) struct Segment {
    pub(crate) nodes: Vec<Host>,
    pub(crate) client: Host,
    pub(crate) switch: Host,
    pub(crate) lab: Lab,
}

impl Segment {
    pub(crate) fn new(name: &str, nodes: u8) -> Result<Self> {
        let lab = Lab::new(name)?;
        let switch = lab.host("switch")?;
        switch.ip(&[
            "link add br0 type bridge mcast_snooping 0",
            "link set br0 up",
        ])?;
        let host = |name: &str, number: u8| {
            let host = lab.host(name)?;
            switch.ip(&[
                format!(
                    "link add {name} type veth peer name eth0 netns {}",
                    host.pid()
                ),
                format!("link set {name} master br0 up"),
            ])?;
            host.ip(&[
                format!("addr add {}/24 dev eth0", address(number, false)),
                format!("addr add {}/64 dev eth0 nodad", address(number, true)),
                "link set eth0 up".to_owned(),
            ])?;
            Result::Ok(host)
        };
        let nodes = (1..=nodes)
            .map(|number| host(&format!("n{number}"), number))
            .collect::<Result<Vec<_>>>()?;
        let client = host("client", 99)?;
        Ok(Self {
            nodes,
            client,
            switch,
            lab,
        })
    }

    /// Does node `number`, from 1, have the address?
    pub(crate) fn has(&self, number: usize, vip: IpAddr) -> Result<bool> {
        Ok(addresses(&self.nodes[number - 1])?.contains(&format!(" {vip}/")))
    }

    /// Every address of node `number`, as `ip` shows it.
    pub(crate) fn shown(&self, number: usize) -> Result<String> {
        addresses(&self.nodes[number - 1])
    }

    /// Waits until this node alone has the address.
    pub(crate) fn wait_holder(&self, number: usize, vip: IpAddr) -> Result<()> {
        until(&format!("node {number} alone has {vip}"), SOON, || {
            for other in 1..=self.nodes.len() {
                if self.has(other, vip)? != (other == number) {
                    bail!("node {other}: {}", addresses(&self.nodes[other - 1])?);
                }
            }
            Ok(Some(()))
        })
    }

    /// The MAC of a node's interface.
    pub(crate) fn mac(&self, number: usize) -> Result<String> {
        let mut command = IP.command();
        let host = &self.nodes[number - 1];
        let output = host.output(command.args(["-o", "link", "show", "eth0"]))?;
        word_after(&String::from_utf8(output.stdout)?, "link/ether").context("eth0 has a MAC")
    }

    /// The link-local address of a node's interface.
    pub(crate) fn link_local(&self, number: usize) -> Result<IpAddr> {
        let mut command = IP.command();
        let arguments = ["-o", "-6", "addr", "show", "dev", "eth0", "scope", "link"];
        let output = self.nodes[number - 1].output(command.args(arguments))?;
        let text = word_after(&String::from_utf8(output.stdout)?, "inet6")
            .context("eth0 has a link-local address")?;
        Ok(text.split('/').next().unwrap_or_default().parse()?)
    }

    /// Waits until the client gets an answer from the address.
    pub(crate) fn answers(&self, vip: IpAddr) -> Result<()> {
        until(&format!("{vip} answers"), SOON, || {
            let answer = self.client.run(|| {
                TcpStream::connect_timeout(&SocketAddr::new(vip, 9), Duration::from_secs(1))
            })?;
            // No program listens, but the node that has the address refuses.
            let kind = answer.map_err(|error| error.kind()).err();
            Ok((kind == Some(ErrorKind::ConnectionRefused)).then_some(()))
        })
    }

    /// Asks for the address until the client's neighbour table has an entry for it.
    pub(crate) fn learn(&self, vip: IpAddr) -> Result<String> {
        until(&format!("somebody answers for {vip}"), SOON, || {
            self.client.run(|| {
                let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(any)?.send_to(b"?", SocketAddr::new(vip, 9))
            })??;
            self.neighbour(vip)
        })
    }

    /// The MAC that the client has for the address. Sends no question.
    pub(crate) fn neighbour(&self, vip: IpAddr) -> Result<Option<String>> {
        let mut command = IP.command();
        let output = self
            .client
            .output(command.args(["neigh", "show", &vip.to_string()]))?;
        Ok(word_after(&String::from_utf8(output.stdout)?, "lladdr"))
    }

    /// Waits until the client has this MAC for the address, without a question of its own.
    pub(crate) fn wait_neighbour(&self, vip: IpAddr, mac: &str) -> Result<()> {
        until(&format!("the client believes {vip} at {mac}"), SOON, || {
            let found = self.neighbour(vip)?;
            if found.as_deref() != Some(mac) {
                bail!("it believes {found:?}");
            }
            Ok(Some(()))
        })
    }
}

fn addresses(host: &Host) -> Result<String> {
    let mut command = IP.command();
    let output = host.output(command.args(["-o", "addr"]))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn word_after(text: &str, key: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|word| *word != key);
    words.nth(1).map(str::to_owned)
}

/// One virtual router as most tests have it: node `own` of `nodes`, VRID 51.
pub(crate) fn config(own: u8, nodes: u8, vip: IpAddr, priority: u8) -> Vrrp {
    let others = (1..=nodes).filter(|number| *number != own);
    let peers = others.map(|number| Peer {
        address: address(number, vip.is_ipv6()),
        ttl: 255..=255,
    });
    Vrrp {
        interface: "eth0".to_owned(),
        transport: Transport::Unicast(peers.collect()),
        sources: Vec::new(),
        version: Version::V3,
        interval: Interval::new(Version::V3, Duration::from_millis(100)).expect("in range"),
        coverage: Coverage::PseudoHeader,
        answers: Answers {
            lower: true,
            higher: false,
        },
        garp: Garp {
            repeat: 2,
            delay: Duration::from_secs(1),
            refresh: Duration::ZERO,
        },
        pace: Pace::default(),
        garp_interfaces: Vec::new(),
        form: Form::default(),
        virtual_mac: false,
        instances: vec![Instance {
            vips: vec![vip],
            excluded: Vec::new(),
            link_local: None,
            vrid: Vrid(NonZeroU8::new(51).expect("not zero")),
            priority,
            preempt: Preempt::After(Duration::ZERO),
        }],
    }
}

/// Our VRRP in a host, with a thread and a runtime of its own.
pub(crate) struct Node {
    handle: Option<vrrp::Handle>,
    thread: Option<Thread>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    /// Starts with every gate open.
    pub(crate) fn start(host: &Host, config: &Vrrp) -> Result<Self> {
        let mut node = Self::closed(host, config)?;
        for vip in config.vips() {
            node.gate(vip, true);
        }
        Ok(node)
    }

    /// Starts with every gate closed.
    pub(crate) fn closed(host: &Host, config: &Vrrp) -> Result<Self> {
        host.run(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let thread = Thread::start()?;
            let handle = {
                let _inside = runtime.enter();
                vrrp::start(&thread, config)?
            };
            Ok(Self {
                handle: Some(handle),
                thread: Some(thread),
                runtime,
            })
        })?
    }

    pub(crate) fn gate(&mut self, vip: IpAddr, open: bool) {
        self.handle.as_mut().expect("it runs").gate(vip, open);
    }

    pub(crate) fn configure(&mut self, host: &Host, config: &Vrrp) -> Result<()> {
        let (handle, runtime) = (
            self.handle.as_mut().expect("it runs"),
            self.runtime.handle(),
        );
        host.run(|| {
            let _inside = runtime.enter();
            handle.configure(config)
        })??;
        Ok(())
    }

    /// Called as the daemon does when an address of the node came or went.
    pub(crate) fn addresses_changed(&mut self, host: &Host) -> Result<()> {
        let handle = self.handle.as_mut().expect("it runs");
        host.run(|| handle.addresses_changed())
    }

    fn overview(&self) -> Overview {
        (&self.handle.as_ref().expect("it runs").overview()).into()
    }

    /// The only virtual router.
    pub(crate) fn status(&self) -> Status {
        self.all().swap_remove(0)
    }

    /// All virtual routers.
    pub(crate) fn all(&self) -> Vec<Status> {
        self.overview().routers
    }

    pub(crate) fn routers(&mut self, routers: Routers) {
        self.handle.as_mut().expect("it runs").routers(routers);
    }

    /// Called as the daemon does before a VIP leaves.
    pub(crate) fn let_go(&mut self, vips: &[IpAddr]) {
        let vips = vips.iter().copied().collect();
        self.handle.as_mut().expect("it runs").let_go(&vips);
    }

    /// CPU time of its real-time thread so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu::spent(self.thread.as_ref().expect("it runs"))
    }

    /// Refused packets, by reason.
    pub(crate) fn rejected(&self) -> BTreeMap<String, u64> {
        self.overview().rejected
    }

    pub(crate) fn all_taken(&self) -> bool {
        self.rejected().values().all(|count| *count == 0)
    }

    /// A planned end: resigns, removes the addresses.
    pub(crate) fn stop(mut self) {
        let handle = self.handle.take().expect("it runs");
        self.runtime.block_on(handle.stop());
    }

    /// The thread ends as if it had crashed: nothing is sent or removed any more.
    pub(crate) fn crash(&mut self) {
        drop(self.thread.take());
    }

    pub(crate) fn wait_state(&self, state: &str) -> Result<Status> {
        until(&format!("state {state}"), SOON, || {
            let status = self.status();
            if status.state.name() != state {
                bail!("{status:?}");
            }
            Ok(Some(status))
        })
    }
}
