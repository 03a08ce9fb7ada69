//! The BFD control packet, RFC 5880 section 4.1, without authentication.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//! |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//! +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//! |                       My Discriminator                        |
//! +---------------------------------------------------------------+
//! |                      Your Discriminator                       |
//! +---------------------------------------------------------------+
//! |                 Desired Min TX Interval (us)                  |
//! +---------------------------------------------------------------+
//! |                 Required Min RX Interval (us)                 |
//! +---------------------------------------------------------------+
//! |              Required Min Echo RX Interval (us)               |
//! +---------------------------------------------------------------+
//! ```

use std::{
    num::{NonZeroU8, NonZeroU32},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Bytes of every packet that is sent.
pub(super) const LENGTH: usize = 24;
/// Bytes of a packet with the shortest authentication section.
const AUTHENTICATED: u8 = 26;
const VERSION: u8 = 1;

/// Identifies a session to its peer. Random, so that a host off the path cannot guess it.
pub type Discriminator = NonZeroU32;

/// A duration in the unit of BFD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u32);

impl Micros {
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}

impl From<Duration> for Micros {
    /// A longer duration becomes the longest possible one, 71 minutes.
    fn from(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
    }
}

/// The state of a session, RFC 5880 section 6.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Taken down by an administrator: says nothing about the path.
    AdminDown,
    #[default]
    Down,
    /// This end receives the peer; does the peer receive this end?
    Init,
    Up,
}

impl State {
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    /// The name in status, metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "admin_down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }

    /// From the two highest bits.
    const fn of(flags: u8) -> Self {
        match flags >> 6 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }
}

/// Why a session left its last state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Diagnostic {
    #[default]
    None,
    TimeExpired,
    EchoFailed,
    NeighborSignaledDown,
    ForwardingReset,
    PathDown,
    ConcatenatedPathDown,
    AdminDown,
    ReverseConcatenatedPathDown,
    /// 9 to 31, reserved for later use.
    Reserved(u8),
}

impl Diagnostic {
    /// The name in status and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::TimeExpired => "detection time expired",
            Self::EchoFailed => "echo failed",
            Self::NeighborSignaledDown => "neighbour signalled down",
            Self::ForwardingReset => "forwarding plane reset",
            Self::PathDown => "path down",
            Self::ConcatenatedPathDown => "concatenated path down",
            Self::AdminDown => "administratively down",
            Self::ReverseConcatenatedPathDown => "reverse concatenated path down",
            Self::Reserved(_) => "reserved",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::TimeExpired => 1,
            Self::EchoFailed => 2,
            Self::NeighborSignaledDown => 3,
            Self::ForwardingReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdminDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Reserved(code) => code & 0x1f,
        }
    }

    /// From the five lowest bits.
    const fn of(first: u8) -> Self {
        match first & 0x1f {
            0 => Self::None,
            1 => Self::TimeExpired,
            2 => Self::EchoFailed,
            3 => Self::NeighborSignaledDown,
            4 => Self::ForwardingReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdminDown,
            8 => Self::ReverseConcatenatedPathDown,
            code => Self::Reserved(code),
        }
    }
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Shorter than a packet, or than its own length field.
    Length,
    Version,
    /// A detection multiplier of zero.
    Multiplier,
    /// The multipoint bit, which must be zero.
    Multipoint,
    /// Authentication, which is not supported.
    Authentication,
    /// My Discriminator is zero.
    MyDiscriminator,
    /// Init or Up without Your Discriminator.
    State,
    /// Your Discriminator of a session that does not exist.
    YourDiscriminator,
    /// No Your Discriminator, and no session with that peer.
    NoSession,
    /// TTL too small: the packet passed a router that it must not pass.
    Ttl,
    /// To the port of the other kind of session, single-hop or multihop.
    Port,
    /// The session is administratively down.
    AdminDown,
}

impl Refusal {
    pub const ALL: [Self; 12] = [
        Self::Length,
        Self::Version,
        Self::Multiplier,
        Self::Multipoint,
        Self::Authentication,
        Self::MyDiscriminator,
        Self::State,
        Self::YourDiscriminator,
        Self::NoSession,
        Self::Ttl,
        Self::Port,
        Self::AdminDown,
    ];

    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::Multiplier => "multiplier",
            Self::Multipoint => "multipoint",
            Self::Authentication => "authentication",
            Self::MyDiscriminator => "my_discriminator",
            Self::State => "state",
            Self::YourDiscriminator => "your_discriminator",
            Self::NoSession => "no_session",
            Self::Ttl => "ttl",
            Self::Port => "port",
            Self::AdminDown => "admin_down",
        }
    }
}

/// A control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of the packet, each with a meaning of its own"
)]
pub struct Control {
    pub diagnostic: Diagnostic,
    pub state: State,
    /// P: answer at once.
    pub poll: bool,
    /// F: the answer to a Poll.
    pub fin: bool,
    /// C: the sender's BFD runs on when its control plane stops.
    pub independent: bool,
    /// D: the sender wants no periodic packets while both are Up.
    pub demand: bool,
    pub multiplier: NonZeroU8,
    pub mine: Discriminator,
    /// `None`: the sender does not know this end's discriminator.
    pub yours: Option<Discriminator>,
    pub min_tx: Micros,
    /// Zero: the sender wants no periodic packets.
    pub min_rx: Micros,
    pub min_echo_rx: Micros,
}

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

impl Control {
    pub fn encode(&self) -> [u8; LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = self.state.code() << 6
            | flag(self.poll, POLL)
            | flag(self.fin, FINAL)
            | flag(self.independent, INDEPENDENT)
            | flag(self.demand, DEMAND);
        let [m0, m1, m2, m3] = self.mine.get().to_be_bytes();
        let [y0, y1, y2, y3] = self.yours.map_or(0, NonZeroU32::get).to_be_bytes();
        let [t0, t1, t2, t3] = self.min_tx.0.to_be_bytes();
        let [r0, r1, r2, r3] = self.min_rx.0.to_be_bytes();
        let [e0, e1, e2, e3] = self.min_echo_rx.0.to_be_bytes();
        #[rustfmt::skip]
        let bytes = [
            VERSION << 5 | self.diagnostic.code(), flags, self.multiplier.get(), 24,
            m0, m1, m2, m3,
            y0, y1, y2, y3,
            t0, t1, t2, t3,
            r0, r1, r2, r3,
            e0, e1, e2, e3,
        ];
        bytes
    }

    /// Section 6.8.6 in its order, as far as the bytes alone decide.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.first().is_some_and(|first| first >> 5 != VERSION) {
            return Err(Refusal::Version);
        }
        let header = bytes.first_chunk::<LENGTH>().ok_or(Refusal::Length)?;
        let [first, flags, multiplier, length, ..] = *header;
        let set = |bit: u8| flags & bit != 0;
        let least = if set(AUTHENTICATION) {
            AUTHENTICATED
        } else {
            24
        };
        if length < least || usize::from(length) > bytes.len() {
            return Err(Refusal::Length);
        }
        let multiplier = NonZeroU8::new(multiplier).ok_or(Refusal::Multiplier)?;
        if set(MULTIPOINT) {
            return Err(Refusal::Multipoint);
        }
        let mine = Discriminator::new(word::<4>(header)).ok_or(Refusal::MyDiscriminator)?;
        let (yours, state) = (Discriminator::new(word::<8>(header)), State::of(flags));
        if yours.is_none() && matches!(state, State::Init | State::Up) {
            return Err(Refusal::State);
        }
        if set(AUTHENTICATION) {
            return Err(Refusal::Authentication);
        }
        Ok(Self {
            diagnostic: Diagnostic::of(first),
            state,
            poll: set(POLL),
            fin: set(FINAL),
            independent: set(INDEPENDENT),
            demand: set(DEMAND),
            multiplier,
            mine,
            yours,
            min_tx: Micros(word::<12>(header)),
            min_rx: Micros(word::<16>(header)),
            min_echo_rx: Micros(word::<20>(header)),
        })
    }
}

fn word<const AT: usize>(header: &[u8; LENGTH]) -> u32 {
    const { assert!(AT + 4 <= LENGTH) };
    u32::from_be_bytes([header[AT], header[AT + 1], header[AT + 2], header[AT + 3]])
}
