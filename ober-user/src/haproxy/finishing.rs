//! What processes that finish still have. HAProxy closes its command socket at the signal to finish, so the daemon asks
//! the kernel: which connections to the ports of the listeners does the process hold?
//!
//! An end at such a port belongs to a client: HAProxy's own connections to servers leave by ports that no listener has.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
};

use crate::system::netlink::{connections, question::Refusal};

/// A process that finishes its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finishing {
    pub pid: i32,
    /// Since when, in seconds since 1970. It takes no new connections: each that it has is at least as old.
    pub since: u64,
    /// The ports of its listeners; empty: an older daemon started it and did not record them.
    pub ports: BTreeSet<u16>,
}

/// How many connections of clients each process holds; without a process that ended or whose ports are not known. It blocks
/// for as long as the kernel needs to list the connections.
pub fn connections(finishing: &[Finishing]) -> Result<BTreeMap<i32, usize>, Refusal> {
    let ports: BTreeSet<u16> = finishing.iter().flat_map(|it| &it.ports).copied().collect();
    let mut sockets = HashSet::new();
    for port in ports {
        for six in [false, true] {
            let found = connections::of_port(port, six)?;
            sockets.extend(found.iter().map(|it| it.inode));
        }
    }
    let known = finishing.iter().filter(|it| !it.ports.is_empty());
    Ok(known
        .filter_map(|it| Some((it.pid, held(it.pid, &sockets)?)))
        .collect())
}

/// How many of these sockets the process has open.
fn held(pid: i32, sockets: &HashSet<u32>) -> Option<usize> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let inodes = links.filter_map(|link| inode(link.to_str()?));
    Some(inodes.filter(|inode| sockets.contains(inode)).count())
}

/// The number of a socket, from the name that `/proc` has for it.
fn inode(link: &str) -> Option<u32> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_process_has_the_connections_to_its_ports_that_it_accepted_and_has_not_closed() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut ports = BTreeSet::new();
        let mut kept = Vec::new();
        let count = |ports: &BTreeSet<u16>| {
            let one = Finishing {
                pid,
                since: 0,
                ports: ports.clone(),
            };
            connections(&[one]).unwrap()
        };
        for address in [[127, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into()] {
            let listener = TcpListener::bind(SocketAddr::new(address, 0)).unwrap();
            let at = listener.local_addr().unwrap();
            ports.insert(at.port());
            for _ in 0..3 {
                // The client's end has another port, and does not count.
                let client = TcpStream::connect(at).unwrap();
                kept.push((client, listener.accept().unwrap().0));
            }
        }
        assert_eq!(count(&ports), [(pid, 6)].into());
        // A client that has gone: HAProxy has not closed its end yet, and the process cannot end before it does.
        kept[0].0.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(count(&ports), [(pid, 6)].into());
        kept.truncate(2);
        assert_eq!(count(&ports), [(pid, 2)].into());
        assert_eq!(count(&BTreeSet::new()), BTreeMap::new(), "not known");
    }

    #[test]
    fn a_process_that_has_ended_is_left_out() {
        let gone = Finishing {
            pid: i32::MAX,
            since: 0,
            ports: [1].into(),
        };
        assert_eq!(connections(&[gone]).unwrap(), BTreeMap::new());
        assert_eq!(inode("socket:[4711]"), Some(4711));
        assert_eq!(inode("pipe:[4711]"), None);
    }
}
