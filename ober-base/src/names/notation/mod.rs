//! The notation of addresses, prefixes, host names and servers: one parser for lists, rules, VIPs, proxies, servers and
//! sources. A text that is nearly an address is refused with the right notation, never treated as a host name: the name service
//! would be asked for it, and the host in the answer would be admitted.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The longest name the DNS can hold, and the longest of its labels (RFC 1035 section 2.3.4).
pub const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    #[error("{0:?} cannot be part of a name; names are made of letters, digits, '.', '-' and '_'")]
    Character(char),
    #[error("a host is missing here; write a name or an address")]
    Empty,
    #[error(
        "the name would be longer than {} characters; shorten it",
        LONGEST_NAME
    )]
    TooLong,
    #[error(
        "{label:?} has more than {} characters without a dot, which the DNS cannot hold",
        LONGEST_LABEL
    )]
    LongLabel { label: String },
    #[error("{0:?} has nothing between two dots, or before the first; remove a dot")]
    EmptyLabel(String),
    #[error("{0:?} begins with '-'; a name begins with a letter, a digit or '_'")]
    Dash(String),
    #[error("{0} is an address, not a name; leave the name out")]
    Address(IpAddr),
    #[error("{0} is a number, not a name")]
    Number(String),
    #[error(
        "{0:?} is not an IPv4 address; write four numbers from 0 to 255 without leading zeros or blanks"
    )]
    NotV4(String),
    #[error(
        "{0:?} is not an IPv6 address; a port belongs to servers only, after a name or [address]"
    )]
    NotV6(String),
    #[error("{0:?} is not a prefix; write 10.0.0.0/8 or fd00::/8")]
    NotPrefix(String),
    #[error(
        "{given} has bits set behind its length; write {meant} for the network, or the address alone"
    )]
    HostBits { given: String, meant: String },
    #[error("{given:?} has a mask; write {}", .meant.as_deref().unwrap_or("10.0.0.0/8"))]
    Mask {
        given: String,
        meant: Option<String>,
    },
    #[error(
        "{given:?} is not a range of IPv4 addresses; write {}, both ends whole, without blanks",
        .meant.as_deref().unwrap_or("10.0.0.1-10.0.0.9")
    )]
    Range {
        given: String,
        meant: Option<String>,
    },
    #[error("{0:?}: ranges are for IPv4; write a prefix such as fd00::/64, or the addresses")]
    RangeV6(String),
    #[error("{given:?} has a star; write {}", .meant.as_deref().unwrap_or("a prefix such as 10.0.0.0/24"))]
    Star {
        given: String,
        meant: Option<String>,
    },
    #[error("{given:?} names an interface, which cannot be said here; write {meant} alone")]
    Zone { given: String, meant: String },
    #[error("{given} has a length, and an address alone is wanted here; write {meant}")]
    Length { given: String, meant: IpAddr },
    #[error("{given} has brackets, which belong where a port may follow; write {meant}")]
    Brackets { given: String, meant: IpAddr },
    #[error("{given:?} is a URL; write {} alone", .meant.as_deref().unwrap_or("host:port"))]
    Url {
        given: String,
        meant: Option<String>,
    },
    #[error("{given} may be an address, or an address and a port; write {one} or {other}")]
    Ambiguous {
        given: String,
        one: String,
        other: String,
    },
    #[error("a prefix cannot be a server; name the servers")]
    PrefixAsServer,
    #[error("not a port; write a number from 1 to 65535 after the ':'")]
    Port,
    #[error("only a port may follow an address in brackets, as in [fd00::1]:7480")]
    AfterAddress,
}

/// A name, not yet resolved, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Host {
    Name(String),
    Addr(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Addr(address) => address.fmt(f),
        }
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl TryFrom<String> for Host {
    type Error = Miss;

    fn try_from(text: String) -> Result<Self, Miss> {
        host(&text)
    }
}

/// An address. An IPv4 address mapped into IPv6 becomes IPv4, which the packets will carry.
pub fn address(text: &str) -> Result<IpAddr, Miss> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical());
    }
    if let Some(meant) = bracketed(text) {
        let given = text.to_owned();
        return Err(Miss::Brackets { given, meant });
    }
    if let Ok(net) = text.parse::<IpNet>() {
        let (given, meant) = (text.to_owned(), net.addr());
        return Err(Miss::Length { given, meant });
    }
    Err(near(text).unwrap_or_else(|| no_address(text)))
}

/// A network with its length. A host's address with a length, as `ip address` prints it, is refused: it would silently include
/// the whole network.
pub fn prefix(text: &str) -> Result<IpNet, Miss> {
    let net: IpNet = text
        .parse()
        .map_err(|_no_prefix| near(text).unwrap_or_else(|| Miss::NotPrefix(text.to_owned())))?;
    if net.trunc() != net {
        return Err(Miss::HostBits {
            given: text.to_owned(),
            meant: net.trunc().to_string(),
        });
    }
    let mapped = match (net.addr().to_canonical(), net) {
        (IpAddr::V4(addr), IpNet::V6(net)) => net
            .prefix_len()
            .checked_sub(96)
            .and_then(|length| IpNet::new(addr.into(), length).ok()),
        _ => None,
    };
    Ok(mapped.unwrap_or(net))
}

/// A prefix, or an address as a prefix of full length.
pub fn network(text: &str) -> Result<IpNet, Miss> {
    if text.contains('/') {
        prefix(text)
    } else {
        address(text).map(IpNet::from)
    }
}

/// A name or an address.
pub fn host(text: &str) -> Result<Host, Miss> {
    if text.contains([':', '%', '*', '/']) || means_an_address(text) {
        return address(text).map(Host::Addr);
    }
    name(text)?;
    Ok(Host::Name(text.to_owned()))
}

/// A host name that fits into the DNS, with or without a final dot. May be a number: Slurm may call a node 1. Callers that ask
/// the DNS check that.
pub fn name(text: &str) -> Result<(), Miss> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Some(c) = text.chars().find(|c| !legal(*c)) {
        return Err(Miss::Character(c));
    }
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() {
        return Err(Miss::Empty);
    }
    if bare.len() > LONGEST_NAME {
        return Err(Miss::TooLong);
    }
    let mut labels = bare.split('.');
    if labels.clone().any(str::is_empty) {
        return Err(Miss::EmptyLabel(text.to_owned()));
    }
    if let Some(label) = labels.find(|label| label.len() > LONGEST_LABEL) {
        let label = label.to_owned();
        return Err(Miss::LongLabel { label });
    }
    if bare.starts_with('-') {
        return Err(Miss::Dash(text.to_owned()));
    }
    Ok(())
}

/// `host:port`, `[address]:port`, or either without the port, which is then `port`. An IPv6 address without brackets that
/// could be a shorter one with a port is refused.
pub fn server(text: &str, port: NonZeroU16) -> Result<(Host, NonZeroU16), Miss> {
    if let Some((inside, rest)) = text.strip_prefix('[').and_then(|it| it.split_once(']')) {
        let address = address(inside)?;
        if address.is_ipv4() && !inside.contains(':') {
            return Err(Miss::NotV6(inside.to_owned()));
        }
        let port = match rest.strip_prefix(':') {
            Some(written) => self::port(written)?,
            None if rest.is_empty() => port,
            None => return Err(Miss::AfterAddress),
        };
        return Ok((Host::Addr(address), port));
    }
    if let Some(miss) = near(text) {
        return Err(miss);
    }
    match text.split_once(':') {
        Some((name, written)) if !written.contains(':') => {
            Ok((self::host(name)?, self::port(written)?))
        }
        Some(_) => Ok((Host::Addr(unambiguous(text)?), port)),
        None => Ok((host(text)?, port)),
    }
}

/// An address without brackets where a port could follow.
pub fn unambiguous(text: &str) -> Result<IpAddr, Miss> {
    let found = address(text)?;
    let Some((before, last)) = text.rsplit_once(':').filter(|_| found.is_ipv6()) else {
        return Ok(found);
    };
    if before.parse::<Ipv6Addr>().is_ok() && port(last).is_ok() {
        return Err(Miss::Ambiguous {
            given: text.to_owned(),
            one: format!("[{text}]"),
            other: format!("[{before}]:{last}"),
        });
    }
    Ok(found)
}

/// `parse` alone would accept a sign.
pub fn port(text: &str) -> Result<NonZeroU16, Miss> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Miss::Port)
}

/// Is the text an address, right or wrong, rather than a name? Four numbers with dots, alone or followed by a dash or two dots;
/// and any text of digits, dots and dashes with a dot in it.
pub fn means_an_address(text: &str) -> bool {
    let numeric = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    if text.contains('.') && text.bytes().all(numeric) {
        return text.bytes().any(|byte| byte.is_ascii_digit());
    }
    let Some(rest) = behind_four_numbers(text) else {
        return false;
    };
    rest.starts_with('-') || rest.starts_with("..")
}

/// The text after four numbers with dots between them.
fn behind_four_numbers(text: &str) -> Option<&str> {
    let mut rest = text;
    for octet in 0..4 {
        if octet > 0 {
            rest = rest.strip_prefix('.')?;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest = rest.get(digits..).filter(|_| digits > 0)?;
    }
    Some(rest)
}

/// Does the last label make the name a number? A resolver reads such names as addresses in the old notation: 1 is 0.0.0.1,
/// 010.1 is 8.0.0.1. The URL standard has the same rule.
pub fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Common slips, whose messages help more than "this is no address".
pub fn near(text: &str) -> Option<Miss> {
    let given = text.to_owned();
    if let Some((_, rest)) = text.split_once("://") {
        let meant = rest.split(['/', '?', '#']).next().map(ToOwned::to_owned);
        let meant = meant.filter(|meant| !meant.is_empty());
        return Some(Miss::Url { given, meant });
    }
    if let Some((before, _)) = text.split_once('%') {
        let meant = before.trim_start_matches('[').to_owned();
        let meant = meant.parse::<IpAddr>().is_ok().then_some(meant);
        return meant.map(|meant| Miss::Zone { given, meant });
    }
    if text.contains('*') {
        let meant = starred(text);
        return Some(Miss::Star { given, meant });
    }
    if let Some((network, mask)) = text.split_once('/')
        && mask.contains(['.', ':'])
    {
        let meant = masked(network, mask);
        return Some(Miss::Mask { given, meant });
    }
    let first = text.split_once('-').map(|(first, _)| first);
    if first.is_some_and(|first| first.parse::<Ipv6Addr>().is_ok()) {
        return Some(Miss::RangeV6(given));
    }
    if means_an_address(text) && (text.contains('-') || text.contains("..")) {
        let meant = ranged(text);
        return Some(Miss::Range { given, meant });
    }
    None
}

/// 192.168.0.* as a network of whole octets.
fn starred(text: &str) -> Option<String> {
    let octets: Vec<&str> = text.split('.').collect();
    let known = octets.iter().take_while(|octet| **octet != "*").count();
    let numbers: Option<Vec<u8>> = octets[..known].iter().map(|it| it.parse().ok()).collect();
    let mut numbers = numbers.filter(|_| octets.len() == 4)?;
    if octets[known..].iter().any(|octet| *octet != "*") {
        return None;
    }
    numbers.resize(4, 0);
    let numbers: [u8; 4] = numbers.try_into().ok()?;
    Some(format!("{}/{}", Ipv4Addr::from(numbers), known * 8))
}

fn masked(network: &str, mask: &str) -> Option<String> {
    let (address, mask): (IpAddr, IpAddr) = (network.parse().ok()?, mask.parse().ok()?);
    let net = IpNet::with_netmask(address, mask).ok()?;
    Some(net.trunc().to_string())
}

/// 10.1.0.10-20, 10.1.0.10..20, 10.1.0.10..10.1.0.20: the text after the dash or dots holds the last numbers of the end.
fn ranged(text: &str) -> Option<String> {
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (first, last.trim_start_matches(['.', '='])),
        None => text.split_once('-')?,
    };
    let first: Ipv4Addr = first.parse().ok()?;
    let mut octets = first.octets();
    let numbers: Option<Vec<u8>> = last.split('.').map(|it| it.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() <= 4)?;
    octets[4 - numbers.len()..].copy_from_slice(&numbers);
    let last = Ipv4Addr::from(octets);
    (first <= last).then(|| format!("{first}-{last}"))
}

/// `[fd00::1]` where only an address may be.
fn bracketed(text: &str) -> Option<IpAddr> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse().ok()
}

fn no_address(text: &str) -> Miss {
    if text.contains(':') {
        Miss::NotV6(text.to_owned())
    } else {
        Miss::NotV4(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
