//! Classic BPF programs that the kernel runs on each packet before it queues it for a socket: they select the senders and
//! packets that a protocol needs. A dropped packet costs the reading thread nothing.
//!
//! A program is a tree of decisions that ends in "take" or "drop", so two programs are joined by starting the second where the
//! first would end.
//!
//! It never judges a packet in this process: the kernel does, before it queues the packet.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsFd,
    sync::{Mutex, PoisonError},
};

use ipnet::IpNet;
use socket2::{SockFilter, SockRef};

/// `SKF_NET_OFF`: offsets count from the network header, wherever the socket's own data begins.
const NETWORK: u32 = 0xfff0_0000;
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_BEHIND: u16 = 0x50;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const LOAD_KEPT: u16 = 0x60;
const KEEP: u16 = 0x02;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Cells of the program's memory: the words of an address come first, then the TTL.
const TTL_CELL: u32 = 4;
/// `BPF_MAXINSNS`.
const LONGEST: usize = 4096;

/// A complete program: every path ends in taking or dropping the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(Vec<Instruction>);

/// Code, jumps and value; [`SockFilter`] itself cannot be compared.
type Instruction = (u16, u8, u8, u32);

/// The whole packet is queued.
const TAKE: Instruction = (RETURN, 0, 0, u32::MAX);
const DROP: Instruction = (RETURN, 0, 0, 0);

impl Block {
    pub fn take() -> Self {
        Self(vec![TAKE])
    }

    pub fn discard() -> Self {
        Self(vec![DROP])
    }

    /// Takes packets that both take.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.goes_on(TAKE, other)
    }

    /// Takes packets that either takes.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.goes_on(DROP, other)
    }

    /// Takes packets that this one drops.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        for instruction in &mut self.0 {
            *instruction = match *instruction {
                TAKE => DROP,
                DROP => TAKE,
                other => other,
            };
        }
        self
    }

    /// Continues with `other` where this program would end with `end`.
    fn goes_on(mut self, end: Instruction, other: Self) -> Self {
        let length = self.0.len();
        for (at, instruction) in self.0.iter_mut().enumerate() {
            if *instruction == end {
                let left = u32::try_from(length - at - 1).unwrap_or(u32::MAX);
                *instruction = (JUMP, 0, 0, left);
            }
        }
        self.0.extend(other.0);
        self
    }

    fn after(mut first: Vec<Instruction>, rest: Self) -> Self {
        first.extend(rest.0);
        Self(first)
    }

    /// Continues with `yes` when the comparison with the loaded value holds, otherwise with `no`.
    fn decide(comparison: u16, value: u32, yes: Self, no: Self) -> Self {
        let mut block = if let Ok(length) = u8::try_from(yes.0.len()) {
            vec![(comparison, 0, length, value)]
        } else {
            // A conditional jump reaches 255 instructions; an unconditional one has no limit.
            let length = u32::try_from(yes.0.len()).unwrap_or(u32::MAX);
            vec![(comparison, 1, 0, value), (JUMP, 0, 0, length)]
        };
        block.extend(yes.0);
        block.extend(no.0);
        Self(block)
    }

    /// Takes the packet when the loaded value is at least this.
    fn at_least(value: u32) -> Self {
        Self::decide(JUMP_IF_AT_LEAST, value, Self::take(), Self::discard())
    }

    /// Continues with the case of the loaded word; `cases` are sorted by their words.
    fn choose(cases: &[(u32, Self)]) -> Self {
        match cases {
            [] => Self::discard(),
            [(word, block)] => Self::decide(JUMP_IF_EQUAL, *word, block.clone(), Self::discard()),
            _ => {
                let (low, high) = cases.split_at(cases.len() / 2);
                let first = high.first().map_or(0, |(word, _)| *word);
                let (low, high) = (Self::choose(low), Self::choose(high));
                Self::decide(JUMP_IF_AT_LEAST, first, high, low)
            }
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A field of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// Offset from the network header, in an IP header or an ARP message.
    Network(u32),
    /// Offset from the beginning of the socket's own data.
    Own(u32),
}

impl Field {
    fn at(self, offset: u32) -> u32 {
        match self {
            Self::Network(place) => NETWORK + place + offset,
            Self::Own(place) => place + offset,
        }
    }
}

/// The source address of an IP packet.
pub const fn source(six: bool) -> Field {
    Field::Network(if six { 8 } else { 12 })
}

/// The destination address of an IP packet.
pub const fn destination(six: bool) -> Field {
    Field::Network(if six { 24 } else { 16 })
}

fn load_ttl(six: bool) -> Instruction {
    (LOAD_BYTE, 0, 0, NETWORK + if six { 7 } else { 8 })
}

fn words(address: IpAddr) -> Vec<u32> {
    match address {
        IpAddr::V4(address) => vec![address.to_bits()],
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let word = |shift: u32| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or_default();
            vec![word(96), word(64), word(32), word(0)]
        }
    }
}

/// Takes packets whose TTL or hop limit is at least this.
pub fn least_ttl(six: bool, least: u8) -> Block {
    Block::after(vec![load_ttl(six)], Block::at_least(least.into()))
}

/// Takes packets whose byte at this offset behind the IP header is one of these. IPv4 headers differ in length; for IPv6 the
/// socket's own data begins behind all headers.
pub fn payload_byte(six: bool, place: u32, values: &[u8]) -> Block {
    let mut values: Vec<u8> = values.to_vec();
    values.sort_unstable();
    values.dedup();
    let load = if six {
        vec![(LOAD_BYTE, 0, 0, place)]
    } else {
        vec![
            (LOAD_HEADER_LENGTH, 0, 0, NETWORK),
            (LOAD_BYTE_BEHIND, 0, 0, NETWORK + place),
        ]
    };
    let cases = values
        .into_iter()
        .map(|value| (value.into(), Block::take()));
    Block::after(load, Block::choose(&cases.collect::<Vec<_>>()))
}

/// Takes packets whose address in this field is one of these. Addresses of the other family never match.
pub fn one_of(six: bool, field: Field, addresses: &[IpAddr]) -> Block {
    let cases = addresses
        .iter()
        .filter(|it| it.is_ipv6() == six)
        .map(|address| (words(*address), Block::take()));
    Block::after(keep_address(six, field), tree(0, &cases.collect()))
}

/// Takes packets that come from one of these addresses with at least its TTL. The first program that the kernel has room for is
/// used: later ones also take packets of other senders, so the reader checks again.
pub fn senders(six: bool, senders: &BTreeMap<IpAddr, u8>) -> Vec<Block> {
    let here = senders.iter().filter(|(it, _)| it.is_ipv6() == six);
    let least = here.map(|(_, least)| *least).min();
    let near = least.map_or(Block::discard(), |least| least_ttl(six, least));
    let exact = senders_in(six, senders, if six { 128 } else { 32 });
    // Networks in place of their addresses.
    let coarse = senders_in(six, senders, if six { 64 } else { 24 });
    let mut programs = vec![exact, coarse, near];
    programs.retain(|program| program.len() <= LONGEST);
    programs
}

fn senders_in(six: bool, senders: &BTreeMap<IpAddr, u8>, length: u8) -> Block {
    let mut networks: BTreeMap<IpAddr, u8> = BTreeMap::new();
    for (address, ttl) in senders.iter().filter(|(it, _)| it.is_ipv6() == six) {
        let network = IpNet::new(*address, length).map_or(*address, |it| it.network());
        let least = networks.entry(network).or_insert(*ttl);
        *least = (*least).min(*ttl);
    }
    let mut load = vec![load_ttl(six), (KEEP, 0, 0, TTL_CELL)];
    load.extend(keep_address(six, source(six)));
    load.extend(mask_kept(six, length));
    let cases = networks.into_iter().map(|(network, least)| {
        let ttl = vec![(LOAD_KEPT, 0, 0, TTL_CELL)];
        let near = Block::after(ttl, Block::at_least(least.into()));
        (words(network), near)
    });
    Block::after(load, tree(0, &cases.collect()))
}

/// Takes packets whose source is in one of these networks.
pub fn networks(six: bool, networks: &[IpNet]) -> Block {
    let here = networks.iter().filter(|it| it.addr().is_ipv6() == six);
    let any = here.fold(Block::discard(), |block, network| block.or(within(network)));
    Block::after(keep_address(six, source(six)), any)
}

/// Takes the packet when the kept address is in the network.
fn within(network: &IpNet) -> Block {
    let (addresses, masks) = (words(network.network()), words(network.netmask()));
    let mut block = Block::take();
    for ((cell, word), mask) in (0..).zip(addresses).zip(masks) {
        if mask == 0 {
            break;
        }
        let mut load = vec![(LOAD_KEPT, 0, 0, cell)];
        if mask != u32::MAX {
            load.push((AND, 0, 0, mask));
        }
        let same = Block::decide(JUMP_IF_EQUAL, word, Block::take(), Block::discard());
        block = block.and(Block::after(load, same));
    }
    block
}

/// Loads the words of the address into the program's memory.
fn keep_address(six: bool, field: Field) -> Vec<Instruction> {
    let count = if six { 4 } else { 1 };
    let keep = |word| [(LOAD_WORD, 0, 0, field.at(word * 4)), (KEEP, 0, 0, word)];
    (0..count).flat_map(keep).collect()
}

/// Clears the bits of the kept address behind this length.
fn mask_kept(six: bool, length: u8) -> Vec<Instruction> {
    let ones: IpAddr = if six {
        Ipv6Addr::from_bits(u128::MAX).into()
    } else {
        Ipv4Addr::BROADCAST.into()
    };
    let masks = IpNet::new(ones, length).map_or(Vec::new(), |net| words(net.netmask()));
    let partial = (0..).zip(masks).filter(|(_, mask)| *mask != u32::MAX);
    let mask = |(cell, mask)| {
        [
            (LOAD_KEPT, 0, 0, cell),
            (AND, 0, 0, mask),
            (KEEP, 0, 0, cell),
        ]
    };
    partial.flat_map(mask).collect()
}

/// Compares word after word, so that addresses of one network share their first words.
fn tree(cell: u32, cases: &BTreeMap<Vec<u32>, Block>) -> Block {
    let mut groups: BTreeMap<u32, BTreeMap<Vec<u32>, Block>> = BTreeMap::new();
    for (words, block) in cases {
        let Some((first, rest)) = words.split_first() else {
            return block.clone();
        };
        let group = groups.entry(*first).or_default();
        group.insert(rest.to_vec(), block.clone());
    }
    let groups = groups
        .into_iter()
        .map(|(word, rest)| (word, tree(cell + 1, &rest)));
    let choice = Block::choose(&groups.collect::<Vec<_>>());
    Block::after(vec![(LOAD_KEPT, 0, 0, cell)], choice)
}

/// Makes the kernel run the first of these programs that it has room for on every packet of the socket, in place of the earlier
/// one.
pub fn attach(socket: &impl AsFd, programs: &[Block]) -> io::Result<()> {
    let mut result = Ok(());
    for block in programs {
        let program = block
            .0
            .iter()
            .map(|&(code, yes, no, value)| SockFilter::new(code, yes, no, value));
        result = replace(&SockRef::from(socket), &program.collect::<Vec<_>>());
        match &result {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Ok(()) | Err(_) => break,
        }
    }
    result
}

/// The programs that a socket was given last, so that it is not touched when nothing changed.
#[derive(Debug, Default)]
pub struct Attached(Mutex<Vec<Block>>);

impl Attached {
    /// As [`attach`]. Returns whether the socket was touched, which it always is after a failure.
    pub fn attach(&self, socket: &impl AsFd, programs: &[Block]) -> io::Result<bool> {
        // The lock is never held across a wait.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.is_empty() && *last == programs {
            return Ok(false);
        }
        last.clear();
        attach(socket, programs)?;
        last.extend_from_slice(programs);
        Ok(true)
    }
}

fn replace(socket: &SockRef<'_>, program: &[SockFilter]) -> io::Result<()> {
    match socket.attach_filter(program) {
        // The kernel counts the old program against the socket (`net.core.optmem_max`) until the new one replaces it.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
            match socket.detach_filter() {
                // There was no program.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            socket.attach_filter(program)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests;
