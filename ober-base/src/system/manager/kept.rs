//! Sockets that the manager keeps while no process has them: `FDSTORE=1` of `sd_notify(3)`. A daemon that starts when neither an
//! earlier daemon nor a worker is left gets them back by their names, with the connections that wait in them.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::sys::stat::fstat;

use super::notify::Notifier;

/// What the manager keeps for this service; the default keeps nothing.
#[derive(Clone, Debug, Default)]
pub struct KeptSockets {
    notifier: Notifier,
    store: Arc<Mutex<Store>>,
}

#[derive(Debug, Default)]
struct Store {
    /// Passed on at the start, and not yet taken or given up.
    given: BTreeMap<String, Arc<OwnedFd>>,
    /// By name: the inode of the socket that the manager keeps.
    kept: BTreeMap<String, Inode>,
}

/// The number of a socket among all of the machine; `None`: the kernel did not tell.
type Inode = Option<u64>;

impl KeptSockets {
    /// `given`: what the manager passed on at the start.
    pub(super) fn new(notifier: Notifier, given: impl Iterator<Item = (String, OwnedFd)>) -> Self {
        let given: BTreeMap<_, _> = given
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, fd)| (name, Arc::new(fd)))
            .collect();
        let kept = given.iter().map(|(name, fd)| (name.clone(), inode(fd)));
        let kept = kept.collect();
        let store = Arc::new(Mutex::new(Store { given, kept }));
        Self { notifier, store }
    }

    /// The socket that the manager passed on under this name.
    pub fn given(&self, name: &str) -> Option<Arc<OwnedFd>> {
        self.store().given.get(name).cloned()
    }

    /// Has the manager keep these sockets and no others. What was passed on and is not among them is closed.
    pub fn keep<F: AsFd>(&self, sockets: &BTreeMap<String, F>) {
        let mut store = self.store();
        store.given.clear();
        if !self.notifier.reports() {
            return;
        }
        let wanted = sockets.iter().map(|(name, fd)| (name.clone(), inode(fd)));
        let wanted: BTreeMap<String, Inode> = wanted.collect();
        let is_kept = |name: &String, inode: &Inode, kept: &BTreeMap<String, Inode>| {
            inode.is_some() && kept.get(name) == Some(inode)
        };
        for (name, inode) in &store.kept {
            if !is_kept(name, inode, &wanted) {
                self.notifier.close(name);
            }
        }
        for (name, fd) in sockets {
            if !is_kept(name, &wanted.get(name).copied().flatten(), &store.kept) {
                self.notifier.keep(name, fd.as_fd());
            }
        }
        store.kept = wanted;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic leaves no half-made change: each is complete before anything that could panic.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn inode(fd: &impl AsFd) -> Inode {
    fstat(fd).ok().map(|facts| facts.st_ino)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixDatagram, time::Duration};

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    /// The reports that have come, without their descriptors.
    fn reports(socket: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 500];
        let mut reports = Vec::new();
        while let Ok(length) = socket.recv(&mut bytes) {
            reports.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
        reports
    }

    #[test]
    fn the_manager_hears_of_each_socket_that_comes_goes_or_is_another_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let patience = Some(Duration::from_millis(50));
        socket.set_read_timeout(patience).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str()));
        let [old, same, new] = [listener(), listener(), listener()];
        let given = [("a", old.as_fd()), ("b", same.as_fd()), ("", new.as_fd())];
        let given = given.map(|(name, fd)| (name.to_owned(), fd.try_clone_to_owned().unwrap()));
        let kept = KeptSockets::new(notifier, given.into_iter());
        let same_inode = inode(kept.given("b").unwrap().as_ref());
        assert_eq!(same_inode, inode(&same));
        assert!(kept.given("c").is_none() && kept.given("").is_none());
        let name = |name: &str| name.to_owned();
        let now = BTreeMap::from([(name("b"), &same), (name("c"), &new)]);
        kept.keep(&now);
        let expected = ["FDSTOREREMOVE=1\nFDNAME=a", "FDSTORE=1\nFDNAME=c"];
        assert_eq!(reports(&socket), expected);
        assert!(kept.given("b").is_none(), "the daemon has it now");
        kept.keep(&now);
        assert_eq!(reports(&socket), [""; 0], "nothing has changed");
        kept.keep(&BTreeMap::from([(name("b"), &new)]));
        let expected = [
            "FDSTOREREMOVE=1\nFDNAME=b",
            "FDSTOREREMOVE=1\nFDNAME=c",
            "FDSTORE=1\nFDNAME=b",
        ];
        assert_eq!(reports(&socket), expected);
    }
}
