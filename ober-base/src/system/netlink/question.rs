//! One question to the kernel over netlink, answered before the call returns. A refusal comes with the text of the kernel or
//! the driver (`NETLINK_EXT_ACK`).

use std::{fmt, io};

use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE,
        NLMSG_ERROR, NetlinkBuffer, NlasIterator,
    },
    sys::{Socket, SocketAddr, protocols},
};

/// Bytes of a message's header, which an error message repeats.
const HEADER: usize = 16;
/// The attribute of an error that holds the text.
const WORDS: u16 = 1;

/// Why the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub errno: i32,
    /// The text of the kernel or the driver.
    pub words: Option<String>,
}

impl Refusal {
    pub fn io(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            words: None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.io())?;
        match &self.words {
            Some(words) => write!(out, ": {words}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// The netlink family that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Route,
    Generic,
    /// Sockets of this network namespace.
    Sockets,
}

/// The kind of answer that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// An acknowledgement alone.
    Done,
    /// One answer.
    One,
    /// Every object there is.
    All,
}

/// Sends one message of that type and returns the payloads of the answers.
pub fn ask(family: Family, kind: u16, want: Want, payload: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    let protocol = match family {
        Family::Route => protocols::NETLINK_ROUTE,
        Family::Generic => protocols::NETLINK_GENERIC,
        Family::Sockets => protocols::NETLINK_SOCK_DIAG,
    };
    let socket = Socket::new(protocol)?;
    socket.set_ext_ack(true)?;
    socket.set_cap_ack(true)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let more = match want {
        Want::Done | Want::One => NLM_F_ACK,
        Want::All => NLM_F_DUMP,
    };
    socket.send(&message(kind, NLM_F_REQUEST | more, payload), 0)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        if collect(&bytes, &mut answers)? {
            return Ok(answers);
        }
    }
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = HEADER + payload.len();
    let mut bytes = vec![0; length];
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(u32::try_from(length).unwrap_or(u32::MAX));
    header.set_message_type(kind);
    header.set_flags(flags);
    header.set_sequence_number(1);
    header.payload_mut().copy_from_slice(payload);
    bytes
}

/// Reads the messages of one datagram. Returns whether the last one was among them.
fn collect(mut bytes: &[u8], answers: &mut Vec<Vec<u8>>) -> Result<bool, Refusal> {
    while !bytes.is_empty() {
        let Ok(message) = NetlinkBuffer::new_checked(bytes) else {
            return Err(io::Error::from_raw_os_error(libc::EBADMSG).into());
        };
        match message.message_type() {
            NLMSG_ERROR => return verdict(message.flags(), message.payload()).map(|()| true),
            // A dump that failed ends with an error number.
            NLMSG_DONE if message.payload().is_empty() => return Ok(true),
            NLMSG_DONE => return verdict(0, message.payload()).map(|()| true),
            _ => answers.push(message.payload().to_vec()),
        }
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(false)
}

/// An error with the number 0 is an acknowledgement.
fn verdict(flags: u16, payload: &[u8]) -> Result<(), Refusal> {
    let number = payload.first_chunk().copied().map(i32::from_ne_bytes);
    let errno = number.unwrap_or(-libc::EBADMSG).saturating_neg();
    if errno == 0 {
        return Ok(());
    }
    let rest = payload
        .get(4 + HEADER..)
        .filter(|_| flags & NLM_F_ACK_TLVS != 0);
    // Without `NLM_F_CAPPED` the whole question is repeated before the text.
    let rest = rest.filter(|_| flags & NLM_F_CAPPED != 0 || payload.len() == 4 + HEADER);
    let words = rest.and_then(|rest| {
        let mut attributes = NlasIterator::new(rest).filter_map(Result::ok);
        let found = attributes.find(|it| it.kind() == WORDS)?;
        let text = String::from_utf8_lossy(found.value());
        Some(text.trim_end_matches('\0').to_owned())
    });
    Err(Refusal { errno, words })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An error as the kernel sends it; its text may be empty.
    fn refusal(errno: i32, words: &str) -> Vec<u8> {
        let mut payload = (-errno).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        let mut flags = NLM_F_CAPPED;
        if !words.is_empty() {
            flags |= NLM_F_ACK_TLVS;
            let text = [words.as_bytes(), b"\0"].concat();
            payload.extend(u16::try_from(4 + text.len()).unwrap().to_ne_bytes());
            payload.extend(WORDS.to_ne_bytes());
            payload.extend(&text);
            payload.resize(payload.len().next_multiple_of(4), 0);
        }
        message(NLMSG_ERROR, flags, &payload)
    }

    #[test]
    fn netlink_answers_are_gathered_to_the_end_and_a_refusal_has_the_kernels_message() {
        let mut answers = Vec::new();
        let some = [message(16, 0, b"first"), message(16, 0, b"second!!")];
        let padded: Vec<u8> = some
            .iter()
            .flat_map(|one| {
                let mut one = one.clone();
                one.resize(one.len().next_multiple_of(4), 0);
                one
            })
            .collect();
        assert_eq!(collect(&padded, &mut answers), Ok(false));
        assert_eq!(
            collect(&message(NLMSG_DONE, 0, &[0; 4]), &mut answers),
            Ok(true)
        );
        assert_eq!(answers, [b"first".to_vec(), b"second!!".to_vec()]);
        let failed = message(NLMSG_DONE, 0, &(-libc::ENOENT).to_ne_bytes());
        let failed = collect(&failed, &mut answers);
        assert_eq!(failed.map_err(|it| it.errno), Err(libc::ENOENT));
        assert_eq!(collect(&refusal(0, ""), &mut answers), Ok(true));
        for text in ["", "virtio_net: MTU too large to enable XDP"] {
            let words = Some(text.to_owned()).filter(|text| !text.is_empty());
            let errno = libc::EINVAL;
            assert_eq!(
                collect(&refusal(errno, text), &mut answers),
                Err(Refusal { errno, words })
            );
        }
    }

    #[test]
    fn the_running_kernel_answers_a_netlink_request_or_refuses_it_with_an_error_number() {
        // `RTM_GETLINK` for an interface that does not exist.
        let mut header = [0; 16];
        header[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let refused = ask(Family::Route, 18, Want::One, &header);
        assert_eq!(refused.map_err(|it| it.errno), Err(libc::ENODEV));
        let all = ask(Family::Route, 18, Want::All, &[0; 16]);
        assert!(!all.unwrap().is_empty(), "there is a loopback at least");
    }

    proptest! {
        #[test]
        fn reading_an_arbitrary_netlink_answer_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), flags: u16) {
            collect(&bytes, &mut Vec::new()).unwrap_or_default();
            verdict(flags, &bytes).unwrap_or_default();
        }
    }
}
