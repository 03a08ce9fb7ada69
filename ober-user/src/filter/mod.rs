//! Programs that a socket asks the kernel to run on each packet before it is queued (classic BPF): whose packets, and which,
//! a protocol wants to hear. What they drop costs the thread that reads nothing.
//!
//! A program is a tree of decisions that each end in "take it" or "drop it", so it needs no jump back and no label.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::AsFd,
};

use ipnet::IpNet;
use socket2::{SockFilter, SockRef};

/// `SKF_NET_OFF`: a place counted from the network header, wherever the socket's own packets begin.
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
/// Cells of the program's memory: the words of an address, and the TTL behind them.
const TTL_CELL: u32 = 4;
/// `BPF_MAXINSNS`.
const LONGEST: usize = 4096;

/// A piece of a program after which nothing follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(Vec<Instruction>);

/// Code, jumps and value; [`SockFilter`] itself cannot be compared.
type Instruction = (u16, u8, u8, u32);

impl Block {
    /// The packet is queued whole.
    pub fn take() -> Self {
        Self(vec![(RETURN, 0, 0, u32::MAX)])
    }

    pub fn discard() -> Self {
        Self(vec![(RETURN, 0, 0, 0)])
    }

    fn then(mut first: Vec<Instruction>, rest: Self) -> Self {
        first.extend(rest.0);
        Self(first)
    }

    /// `yes` when the comparison with what was loaded last holds.
    fn decide(comparison: u16, value: u32, yes: Self, no: Self) -> Self {
        let mut block = match u8::try_from(yes.0.len()) {
            Ok(length) => vec![(comparison, 0, length, value)],
            // A conditional jump reaches 255 instructions; an unconditional one reaches all.
            Err(_) => {
                let length = u32::try_from(yes.0.len()).unwrap_or(u32::MAX);
                vec![(comparison, 1, 0, value), (JUMP, 0, 0, length)]
            }
        };
        block.extend(yes.0);
        block.extend(no.0);
        Self(block)
    }

    /// The block of the word that was loaded last; `cases` are in the order of their words.
    fn choose(cases: &[(u32, Self)], otherwise: &Self) -> Self {
        match cases {
            [] => otherwise.clone(),
            [(word, block)] => Self::decide(JUMP_IF_EQUAL, *word, block.clone(), otherwise.clone()),
            _ => {
                let (low, high) = cases.split_at(cases.len() / 2);
                let first = high.first().map_or(0, |(word, _)| *word);
                let (low, high) = (Self::choose(low, otherwise), Self::choose(high, otherwise));
                Self::decide(JUMP_IF_AT_LEAST, first, high, low)
            }
        }
    }

    /// How long the program is.
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A field of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// Of the IP header, or of the ARP message: counted from the network header.
    Network(u32),
    /// Counted from where the socket's own packets begin.
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

/// Its destination.
pub const fn destination(six: bool) -> Field {
    Field::Network(if six { 24 } else { 16 })
}

const fn ttl(six: bool) -> Field {
    Field::Network(if six { 7 } else { 8 })
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

/// `rest` when the byte is this.
pub fn byte(field: Field, value: u8, rest: Block) -> Block {
    let load = vec![(LOAD_BYTE, 0, 0, field.at(0))];
    let decide = Block::decide(JUMP_IF_EQUAL, value.into(), rest, Block::discard());
    Block::then(load, decide)
}

/// `rest` when the packet's TTL or hop limit is at least this.
pub fn least_ttl(six: bool, least: u8, rest: Block) -> Block {
    let load = vec![(LOAD_BYTE, 0, 0, ttl(six).at(0))];
    let decide = Block::decide(JUMP_IF_AT_LEAST, least.into(), rest, Block::discard());
    Block::then(load, decide)
}

/// `rest` when the byte at this place behind the IP header is one of these. IPv4 headers differ in length.
pub fn payload_byte(six: bool, place: u32, values: &[u8], rest: &Block) -> Block {
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
    let cases = values.into_iter().map(|value| (value.into(), rest.clone()));
    let cases: Vec<_> = cases.collect();
    Block::then(load, Block::choose(&cases, &Block::discard()))
}

/// `hit` when the address in the field is one of these, `miss` otherwise. Addresses of the other family are never there.
pub fn one_of(six: bool, field: Field, addresses: &[IpAddr], hit: &Block, miss: &Block) -> Block {
    let cases = addresses.iter().filter(|it| it.is_ipv6() == six);
    let cases = cases.map(|address| (words(*address), hit.clone()));
    let tree = tree(0, &cases.collect(), miss);
    Block::then(keep_address(six, field), tree)
}

/// `hit` when the packet comes from one of these addresses with at least its TTL, `miss` otherwise. The first program that the
/// kernel has room for is the one to use: those behind it take more than they should, so whoever reads looks again.
pub fn senders(six: bool, senders: &BTreeMap<IpAddr, u8>, hit: &Block, miss: &Block) -> Vec<Block> {
    let here = senders.iter().filter(|(it, _)| it.is_ipv6() == six);
    let least = here.map(|(_, least)| *least).min();
    let ttl = vec![(LOAD_BYTE, 0, 0, ttl(six).at(0))];
    let near = least.map_or(miss.clone(), |least| {
        let far = Block::decide(JUMP_IF_AT_LEAST, least.into(), hit.clone(), miss.clone());
        Block::then(ttl, far)
    });
    let exact = senders_in(six, senders, 32, 128, hit, miss);
    // Networks stand for their addresses.
    let coarse = senders_in(six, senders, 24, 64, hit, miss);
    let mut programs = vec![exact, coarse, near];
    programs.retain(|program| program.len() <= LONGEST);
    programs
}

fn senders_in(
    six: bool,
    senders: &BTreeMap<IpAddr, u8>,
    length4: u8,
    length6: u8,
    hit: &Block,
    miss: &Block,
) -> Block {
    let mut networks: BTreeMap<IpAddr, u8> = BTreeMap::new();
    for (address, ttl) in senders.iter().filter(|(it, _)| it.is_ipv6() == six) {
        let length = if six { length6 } else { length4 };
        let network = IpNet::new(*address, length).map_or(*address, |it| it.network());
        let least = networks.entry(network).or_insert(*ttl);
        *least = (*least).min(*ttl);
    }
    let mut load = vec![(LOAD_BYTE, 0, 0, ttl(six).at(0)), (KEEP, 0, 0, TTL_CELL)];
    load.extend(keep_address(six, source(six)));
    if length4 < 32 {
        load.extend(mask_kept(six, if six { length6 } else { length4 }));
    }
    let cases = networks.into_iter().map(|(network, least)| {
        let ttl = vec![(LOAD_KEPT, 0, 0, TTL_CELL)];
        let far = Block::decide(JUMP_IF_AT_LEAST, least.into(), hit.clone(), miss.clone());
        (words(network), Block::then(ttl, far))
    });
    Block::then(load, tree(0, &cases.collect(), miss))
}

/// `hit` when the source is in one of these networks, `miss` otherwise.
pub fn networks(six: bool, networks: &[IpNet], hit: &Block, miss: &Block) -> Block {
    let mut block = miss.clone();
    for network in networks.iter().filter(|it| it.addr().is_ipv6() == six) {
        block = within(network, hit.clone(), &block);
    }
    Block::then(keep_address(six, source(six)), block)
}

/// The kept address is in the network.
fn within(network: &IpNet, hit: Block, miss: &Block) -> Block {
    let (addresses, masks) = (words(network.network()), words(network.netmask()));
    let pairs = addresses.into_iter().zip(masks).enumerate();
    let pairs = pairs
        .filter(|(_, (_, mask))| *mask != 0)
        .collect::<Vec<_>>();
    let mut block = hit;
    for (cell, (word, mask)) in pairs.into_iter().rev() {
        let cell = u32::try_from(cell).unwrap_or_default();
        let mut load = vec![(LOAD_KEPT, 0, 0, cell)];
        if mask != u32::MAX {
            load.push((AND, 0, 0, mask));
        }
        let decide = Block::decide(JUMP_IF_EQUAL, word, block, miss.clone());
        block = Block::then(load, decide);
    }
    block
}

/// The words of the address, in the program's memory.
fn keep_address(six: bool, field: Field) -> Vec<Instruction> {
    let count = if six { 4 } else { 1 };
    let keep = |word| [(LOAD_WORD, 0, 0, field.at(word * 4)), (KEEP, 0, 0, word)];
    (0..count).flat_map(keep).collect()
}

/// The bits behind a length are forgotten.
fn mask_kept(six: bool, length: u8) -> Vec<Instruction> {
    let ones = Ipv6Addr::from_bits(u128::MAX);
    let all: IpAddr = if six {
        ones.into()
    } else {
        std::net::Ipv4Addr::BROADCAST.into()
    };
    let masks = IpNet::new(all, length).map_or(Vec::new(), |net| words(net.netmask()));
    let mask = |(cell, mask): (usize, u32)| {
        let cell = u32::try_from(cell).unwrap_or_default();
        [
            (LOAD_KEPT, 0, 0, cell),
            (AND, 0, 0, mask),
            (KEEP, 0, 0, cell),
        ]
    };
    let partial = masks.into_iter().enumerate();
    let partial = partial.filter(|(_, mask)| *mask != u32::MAX);
    partial.flat_map(mask).collect()
}

/// Word after word, so that addresses of one network share their beginning.
fn tree(cell: u32, cases: &BTreeMap<Vec<u32>, Block>, miss: &Block) -> Block {
    let mut groups: BTreeMap<u32, BTreeMap<Vec<u32>, Block>> = BTreeMap::new();
    for (words, block) in cases {
        if let Some((first, rest)) = words.split_first() {
            let group = groups.entry(*first).or_default();
            group.insert(rest.to_vec(), block.clone());
        } else {
            return block.clone();
        }
    }
    let groups = groups.into_iter();
    let groups = groups.map(|(word, rest)| (word, tree(cell + 1, &rest, miss)));
    let choice = Block::choose(&groups.collect::<Vec<_>>(), miss);
    Block::then(vec![(LOAD_KEPT, 0, 0, cell)], choice)
}

/// Has the kernel run the first of these that it has room for on every packet of the socket from now on, in the place of what
/// it ran before.
pub fn attach(socket: &impl AsFd, programs: &[Block]) -> io::Result<()> {
    let mut result = Ok(());
    for block in programs {
        let program = block.0.iter();
        let program = program.map(|&(code, yes, no, value)| SockFilter::new(code, yes, no, value));
        result = replace(&SockRef::from(socket), &program.collect::<Vec<_>>());
        match &result {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Ok(()) | Err(_) => break,
        }
    }
    result
}

fn replace(socket: &SockRef<'_>, program: &[SockFilter]) -> io::Result<()> {
    match socket.attach_filter(program) {
        // The kernel counts the old one against the socket (`net.core.optmem_max`) until the new one is there.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
            match socket.detach_filter() {
                // There was none.
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
