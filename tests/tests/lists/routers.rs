//! Routing protocols are accepted from the routers on the list alone, once there is one.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{FromRawFd as _, OwnedFd},
    time::Duration,
};

use ober_tests::{
    lab::{Host, client4, client6},
    nodes::one::{Settings, Stage},
};

use crate::acl;

const BGP: u16 = 179;
const BFD: u16 = 3784;
const VRRP: i32 = 112;
const PATIENCE: Duration = Duration::from_millis(800);

/// The node's own addresses.
fn node() -> [IpAddr; 2] {
    [[10, 77, 0, 1].into(), [0xfd77, 0, 0, 0, 0, 0, 0, 1].into()]
}

/// The sockets that listen on the node.
struct Ears {
    _bgp: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Ears {
    fn new(host: &Host) -> Self {
        host.run(|| Self {
            _bgp: node()
                .map(|address| TcpListener::bind((address, BGP)).expect("port 179"))
                .into(),
            datagrams: node()
                .map(|address| UdpSocket::bind((address, BFD)).expect("port 3784"))
                .into_iter()
                .chain([vrrp().into()])
                .collect(),
        })
        .expect("enter the node")
    }

    /// Drops what has come, runs `speak`, and returns for each kind of datagram whether one came.
    fn hear(&self, speak: impl FnOnce()) -> Vec<bool> {
        let mut buffer = [0; 200];
        for socket in &self.datagrams {
            socket.set_nonblocking(true).expect("non-blocking");
            while socket.recv(&mut buffer).is_ok() {}
            socket.set_nonblocking(false).expect("blocking");
            socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        }
        speak();
        let mut heard = |socket: &UdpSocket| {
            let came = socket.recv(&mut buffer);
            let silence = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
            assert!(came.as_ref().err().is_none_or(silence), "{came:?}");
            came.is_ok()
        };
        self.datagrams.iter().map(&mut heard).collect()
    }
}

/// A raw IPv4 socket of protocol 112.
fn vrrp() -> OwnedFd {
    // SAFETY: no pointer is passed; the descriptor is ours alone.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, VRRP);
        assert!(socket >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(socket)
    }
}

/// Which of BGP (IPv4, IPv6), BFD (IPv4, IPv6) and VRRP of a client reach the node.
fn reach(stage: &Stage, ears: &Ears, client: usize) -> Vec<bool> {
    let host = &stage.cluster.clients[client];
    let mut bgp = Vec::new();
    let rest = ears.hear(|| {
        host.run(|| {
            for address in node() {
                let address = SocketAddr::new(address, BGP);
                bgp.push(TcpStream::connect_timeout(&address, PATIENCE).is_ok());
                let local = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(local).expect("a socket");
                socket.send_to(b"bfd", (address.ip(), BFD)).expect("send");
            }
            let socket = UdpSocket::from(vrrp());
            socket.send_to(b"vrrp", (node()[0], 0)).expect("send");
        })
        .expect("enter the client");
    });
    [bgp, rest].concat()
}

fn dropped(stage: &Stage) -> u64 {
    let counters = stage.counters().expect("counters");
    let count = counters.services[0].verdicts.get("router_denied").copied();
    count.unwrap_or_default().packets
}

#[test]
fn routing_protocols_are_accepted_from_listed_routers_alone_when_the_list_is_enabled() {
    let settings = Settings {
        extra: format!(
            "[lists.routers]\nsources = [\"{}\", \"{}\"]\n",
            client4(0),
            client6(0)
        ),
        ..Settings::default()
    };
    let mut stage = Stage::new("routers", &settings).expect("build the stage");
    let config = fs::read_to_string(&stage.ober.config).expect("read");
    stage.start().expect("start");
    let ears = Ears::new(&stage.cluster.node);
    assert_eq!(
        reach(&stage, &ears, 1),
        [true; 5],
        "nothing is checked without node.routers"
    );
    let enabled = config.replace("sample = 1", "sample = 1\nrouters = \"routers\"");
    fs::write(&stage.ober.config, enabled).expect("write");
    stage.cli(&["reload"]).expect("reload");
    assert_eq!(reach(&stage, &ears, 0), [true; 5]);
    assert_eq!(dropped(&stage), 0);
    assert_eq!(reach(&stage, &ears, 1), [false; 5]);
    // Two datagrams, one raw packet, and at least one SYN each.
    assert!(dropped(&stage) >= 5, "{}", dropped(&stage));
    let turned = format!("{},{}", client4(1), client6(1));
    acl(&stage, &["sync", "--routers", &turned]).says(0, &["2 added, 2 removed"]);
    assert_eq!(reach(&stage, &ears, 1), [true; 5]);
    assert_eq!(reach(&stage, &ears, 0), [false; 5]);
}
