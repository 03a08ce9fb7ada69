//! Foreign programs: one for XDP, which passes everything, and one that leads packets past XDP.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context, Result};
use ober_user::system::netlink::question::{Family, Want, ask};
use rtnetlink::{
    packet_core::Emitable as _,
    packet_route::link::{LinkAttribute, LinkMessage, LinkXdp},
};

const SET_LINK: u16 = 19;
const NATIVE: u32 = 1 << 2;
const GENERIC: u32 = 1 << 1;
/// Commands and kinds of bpf(2).
const LOAD: libc::c_long = 5;
const CREATE_LINK: libc::c_long = 28;
const UPDATE_LINK: libc::c_long = 29;
const OPEN_PIN: libc::c_long = 7;
const CLASSIFIER: u32 = 3;
const XDP: u32 = 6;
const XDP_HOOK: u32 = 37;
const TCX_INGRESS_HOOK: u32 = 46;
/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

fn bpf(command: libc::c_long, attribute: &mut [u32; 32]) -> io::Result<i32> {
    // SAFETY: the attribute is longer than any of these commands reads, and zero where it was not set.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attribute.as_mut_ptr(),
            size_of_val(attribute),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(io::Error::other)
}

fn words(pointer: u64) -> [u32; 2] {
    let bytes = pointer.to_ne_bytes();
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    [word(0), word(4)]
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The program, called `strange`.
#[derive(Debug)]
pub struct Strange(OwnedFd);

impl Strange {
    pub fn load() -> Result<Self> {
        let licence = c"GPL";
        let mut attribute = [0_u32; 32];
        attribute[0] = XDP;
        attribute[1] = 2;
        attribute[2..4].copy_from_slice(&words(PASS.as_ptr() as u64));
        attribute[4..6].copy_from_slice(&words(licence.as_ptr() as u64));
        // `prog_name` begins at byte 48.
        attribute[12] = u32::from_ne_bytes(*b"stra");
        attribute[13] = u32::from_ne_bytes(*b"nge\0");
        // `expected_attach_type`, as aya sets it: without it the program could not be put into a link of ours.
        attribute[17] = XDP_HOOK;
        let program = bpf(LOAD, &mut attribute).context("load a program that passes everything")?;
        Ok(Self(owned(program)))
    }

    /// Attaches it by rtnetlink to an interface of the calling thread's namespace.
    pub fn by_netlink(&self, interface: &str, native: bool) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = nix::net::if_::if_nametoindex(interface)?;
        let mode = if native { NATIVE } else { GENERIC };
        let xdp = vec![LinkXdp::Fd(self.0.as_raw_fd()), LinkXdp::Flags(mode)];
        message.attributes.push(LinkAttribute::Xdp(xdp));
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        ask(Family::Route, SET_LINK, Want::Done, &bytes).context("attach by rtnetlink")?;
        Ok(())
    }

    /// Attaches it by a link, which holds until it is dropped.
    pub fn by_link(&self, interface: &str, native: bool) -> Result<OwnedFd> {
        let mut attribute = [0_u32; 32];
        attribute[0] = self.0.as_raw_fd().cast_unsigned();
        attribute[1] = nix::net::if_::if_nametoindex(interface)?;
        attribute[2] = XDP_HOOK;
        attribute[3] = if native { NATIVE } else { GENERIC };
        Ok(owned(
            bpf(CREATE_LINK, &mut attribute).context("attach by a link")?,
        ))
    }

    /// Puts it in the place of the program in a pinned link.
    pub fn take_over(&self, pin: &std::path::Path) -> Result<()> {
        let path = CString::new(pin.display().to_string())?;
        let mut attribute = [0_u32; 32];
        attribute[..2].copy_from_slice(&words(path.as_ptr() as u64));
        let link = owned(bpf(OPEN_PIN, &mut attribute).context("open the link")?);
        let mut attribute = [0_u32; 32];
        attribute[0] = link.as_raw_fd().cast_unsigned();
        attribute[1] = self.0.as_raw_fd().cast_unsigned();
        bpf(UPDATE_LINK, &mut attribute).context("exchange the program")?;
        Ok(())
    }
}

/// Leads what comes in by some interfaces straight to the other end of a veth, in another namespace: `bpf_redirect_peer`, as
/// Kubernetes networks do it. The packets are received there, and the XDP program of its driver gets none of them. It holds
/// until it is dropped.
#[derive(Debug)]
pub struct Detour {
    _links: Vec<OwnedFd>,
}

impl Detour {
    /// `to`: the near end of the veth. All interfaces are of the calling thread's namespace.
    pub fn new(from: &[&str], to: &str) -> Result<Self> {
        let to = u64::from(nix::net::if_::if_nametoindex(to)?);
        // `bpf_skb_change_type(packet, PACKET_HOST)`, since its destination is not the interface it came in by; then
        // `return bpf_redirect_peer(to, 0)`.
        let text: [u64; 6] = [
            0x02b7,
            0x0000_0020_0000_0085,
            to << 32 | 0x01b7,
            0x02b7,
            0x0000_009b_0000_0085,
            0x95,
        ];
        let licence = c"GPL";
        let mut attribute = [0_u32; 32];
        attribute[0] = CLASSIFIER;
        attribute[1] = u32::try_from(text.len())?;
        attribute[2..4].copy_from_slice(&words(text.as_ptr() as u64));
        attribute[4..6].copy_from_slice(&words(licence.as_ptr() as u64));
        let program = owned(bpf(LOAD, &mut attribute).context("load a detour")?);
        let link = |interface: &&str| {
            let mut attribute = [0_u32; 32];
            attribute[0] = program.as_raw_fd().cast_unsigned();
            attribute[1] = nix::net::if_::if_nametoindex(*interface)?;
            attribute[2] = TCX_INGRESS_HOOK;
            let link = bpf(CREATE_LINK, &mut attribute);
            Ok(owned(link.context("lead packets past a driver")?))
        };
        let links = from.iter().map(link).collect::<Result<_>>()?;
        Ok(Self { _links: links })
    }
}

/// Pins of links below a directory of pins.
pub fn links(pins: &std::path::Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(pins).with_context(|| format!("read {}", pins.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.retain(|name| name.starts_with("link_"));
    names.sort();
    Ok(names)
}
