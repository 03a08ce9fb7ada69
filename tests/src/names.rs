//! A name server whose answers a test sets: addresses, a response code, or none at all.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata},
};

use crate::lab::Host;

/// The answer for a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These, of the family that was asked for.
    Addresses(Vec<IpAddr>),
    Code(ResponseCode),
    Silence,
    /// A service at this port of a target, which may hold any octets.
    Service {
        port: u16,
        target: Vec<Vec<u8>>,
    },
}

type Rules = BTreeMap<(String, RecordType), Says>;

/// Names without a rule do not exist.
#[derive(Debug)]
pub struct NameServer {
    rules: Arc<Mutex<Rules>>,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Listens at port 53 of the loopback address of a host.
    pub fn start(host: &Host) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], 53));
        let socket = host
            .run(|| UdpSocket::bind(address))?
            .context("listen at port 53")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut server = Self {
            rules: Arc::default(),
            asked: Arc::default(),
            over: Arc::default(),
            thread: None,
        };
        let (rules, asked) = (Arc::clone(&server.rules), Arc::clone(&server.asked));
        let over = Arc::clone(&server.over);
        server.thread = Some(std::thread::spawn(move || {
            let mut buffer = [0; 2000];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                asked.fetch_add(1, Ordering::Relaxed);
                let rules = rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(answer) = answer(&rules, &buffer[..length]) {
                    // A client that has gone is no failure of the server.
                    drop(socket.send_to(&answer, client));
                }
            }
        }));
        Ok(server)
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Sets the answer for a name, both families alike; with `*` at its end, for all names that begin so.
    pub fn tell(&self, name: &str, says: &Says) {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            self.tell_of(name, kind, says.clone());
        }
    }

    pub fn tell_of(&self, name: &str, kind: RecordType, says: Says) {
        self.rules().insert((name.to_owned(), kind), says);
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(rules: &Rules, question: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).ok()?.into_response();
    let query = message.queries.first()?.clone();
    let (name, kind) = (query.name().to_ascii(), query.query_type());
    let name = name.trim_end_matches('.');
    let begins = rules.iter().find(|((rule, of), _)| {
        let start = rule.strip_suffix('*');
        *of == kind && start.is_some_and(|start| name.starts_with(start))
    });
    let known = rules.get(&(name.to_owned(), kind));
    let says = known.or(begins.map(|(_, says)| says));
    let mut add = |data| {
        let record = Record::from_rdata(query.name().clone(), 1, data);
        message.add_answer(record);
    };
    match says {
        Some(Says::Silence) => return None,
        Some(Says::Addresses(addresses)) => {
            for address in addresses {
                match (address, kind) {
                    (IpAddr::V4(v4), RecordType::A) => add(RData::A(rdata::A(*v4))),
                    (IpAddr::V6(v6), RecordType::AAAA) => add(RData::AAAA(rdata::AAAA(*v6))),
                    _ => {}
                }
            }
        }
        Some(Says::Service { port, target }) => {
            let target = Name::from_labels(target.iter().map(Vec::as_slice)).ok()?;
            add(RData::SRV(rdata::SRV::new(1, 1, *port, target)));
        }
        Some(Says::Code(code)) => message.metadata.response_code = *code,
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message.to_vec().ok()
}
