//! Kinds `dns` and `srv`: questions to a name server and what their answers mean. [`net`] sends them. The system's own
//! resolver does not do: it keeps the response code to itself, and a name that has no address for the moment is not the same
//! as one that does not exist or a server that could not find out.

pub(super) mod net;

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

use super::Found;

/// Fits every path without fragments (RFC 9715).
const PAYLOAD: u16 = 1232;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("find a name server in {}: {source}; write `nameserver`", path.display())]
    System { path: PathBuf, source: io::Error },
    #[error("there is no name server in /etc/resolv.conf; write `nameserver`")]
    NoServer,
    #[error("ask {server} for {question}: {source}")]
    Talk {
        server: SocketAddr,
        question: String,
        source: io::Error,
    },
    #[error("ask {server} for {question}: no answer within {patience:?}")]
    Silent {
        server: SocketAddr,
        question: String,
        patience: Duration,
    },
    #[error("ask {server} for {question}: {code}")]
    Code {
        server: SocketAddr,
        question: String,
        code: ResponseCode,
    },
    #[error("`{0}` is no name the DNS could hold")]
    Name(String),
    #[error("make a question: {0}")]
    Encode(#[from] hickory_proto::ProtoError),
}

/// A name, complete even without its last dot.
pub(crate) fn read_name(text: &str) -> Option<Name> {
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let good = |label: &str| (1..64).contains(&label.len()) && label.bytes().all(letter);
    if !labels.all(good) {
        return None;
    }
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    message.set_edns(edns);
    message
}

/// A datagram, if it is the answer to this question: anybody may send one.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let ours = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && (answer.queries == question.queries || answer.queries.is_empty());
    ours.then_some(answer)
}

fn shown(message: &Message) -> String {
    let mut text = String::new();
    for query in &message.queries {
        // Writing to a String cannot fail.
        write!(text, "{} {}", query.name(), query.query_type()).unwrap_or_default();
    }
    text
}

/// The addresses in these records, of `owner` alone if one is named: answers hold aliases, additions other hosts.
fn addresses(records: &[Record], owner: Option<&Name>) -> Vec<IpAddr> {
    let wanted = |record: &&Record| owner.is_none_or(|owner| record.name == *owner);
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let mut found: Vec<_> = records.iter().filter(wanted).filter_map(address).collect();
    found.sort();
    found.dedup();
    found
}

/// A server that a record SRV names, before its addresses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Service {
    target: Name,
    port: NonZeroU16,
    weight: u32,
    tier: u32,
}

/// RFC 2782: a lower priority is a lower tier; the target `.` means that the service is not offered. Weight 0 is "hardly ever"
/// there, and "no new work" here: it becomes 1, and the others count a thousandfold where such a server is among them.
fn services(answer: &Message) -> Vec<Service> {
    let srv = |record: &Record| match &record.data {
        RData::SRV(srv) if !srv.target.is_root() => Some(srv.clone()),
        _ => None,
    };
    let records: Vec<_> = answer.answers.iter().filter_map(srv).collect();
    let scale = if records.iter().any(|srv| srv.weight == 0) {
        1000
    } else {
        1
    };
    let service = |srv: &hickory_proto::rr::rdata::SRV| {
        Some(Service {
            port: NonZeroU16::new(srv.port)?,
            weight: (u32::from(srv.weight) * scale).max(1),
            tier: srv.priority.into(),
            target: srv.target.clone(),
        })
    };
    records.iter().filter_map(service).collect()
}

impl Service {
    /// One server for each address. Of both families IPv4 alone, or the machine would count twice.
    fn at(&self, addresses: &[IpAddr]) -> Vec<Found> {
        let name = self.target.to_ascii();
        let found = one_family(addresses).map(|address| Found {
            weight: self.weight,
            tier: self.tier,
            name: Some(name.trim_end_matches('.').to_owned()),
            ..Found::new(address.to_string(), self.port)
        });
        found.collect()
    }
}

fn one_family(addresses: &[IpAddr]) -> impl Iterator<Item = &IpAddr> {
    let v4 = addresses.iter().any(IpAddr::is_ipv4);
    addresses
        .iter()
        .filter(move |address| address.is_ipv4() == v4)
}

/// The name servers in the text of resolv.conf.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next())??;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests;
