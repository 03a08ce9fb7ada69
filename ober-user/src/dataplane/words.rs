//! The driver's own message when it refuses a program. The call that makes a link returns none (since Linux 6.6 it is
//! in a tracepoint, before that nowhere), but rtnetlink does.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::generated::{XDP_FLAGS_REPLACE, XDP_FLAGS_UPDATE_IF_NOEXIST};
use rtnetlink::{
    packet_core::Emitable as _,
    packet_route::link::{LinkAttribute, LinkMessage, LinkXdp},
};

use super::kernel;
use crate::system::netlink::question::{Family, Refusal, Want, ask};

const SET_LINK: u16 = 19;

/// Attaches by rtnetlink after a link was refused, to get the driver's message. If that succeeds, the cause of the
/// refusal is gone: the program is taken off again and a link is made.
pub(super) fn of(
    error: &io::Error,
    program: BorrowedFd<'_>,
    interface: u32,
    native: bool,
) -> Result<OwnedFd, Refusal> {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let mode = kernel::mode(native);
    let fd = program.as_raw_fd();
    let only_new = mode | XDP_FLAGS_UPDATE_IF_NOEXIST;
    if let Err(refusal) = set(interface, vec![LinkXdp::Fd(fd), LinkXdp::Flags(only_new)]) {
        return Err(Refusal {
            errno,
            words: refusal.words.filter(|_| refusal.errno == errno),
        });
    }
    let ours = LinkXdp::Flags(mode | XDP_FLAGS_REPLACE);
    let expected = LinkXdp::ExpectedFd(fd.cast_unsigned());
    set(interface, vec![LinkXdp::Fd(-1), ours, expected])?;
    Ok(kernel::attach_xdp(program, interface, native)?)
}

fn set(interface: u32, xdp: Vec<LinkXdp>) -> Result<(), Refusal> {
    let mut message = LinkMessage::default();
    message.header.index = interface;
    message.attributes.push(LinkAttribute::Xdp(xdp));
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    ask(Family::Route, SET_LINK, Want::Done, &bytes).map(drop)
}
