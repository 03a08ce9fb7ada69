//! The system calls on links and programs that aya does not offer.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{
    XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info,
    bpf_link_type, bpf_prog_info,
};

/// What the kernel says about a link: its program, and the interface or network namespace it attaches the program to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) program: u32,
    /// 0 for a link to a network namespace.
    pub(super) interface: u32,
    namespace: u32,
    xdp: bool,
}

impl Info {
    /// Does the link attach its program to this interface, or to our network namespace? A link whose interface or
    /// namespace is gone stays pinned without effect, and another interface may have the name. `interface`: the number
    /// of the interface now, ignored for a link to a namespace.
    pub(super) fn holds(&self, interface: u32) -> io::Result<bool> {
        if self.xdp {
            Ok(self.interface == interface && interface != 0)
        } else {
            Ok(self.namespace == own_namespace()?)
        }
    }
}

fn own_namespace() -> io::Result<u32> {
    use std::os::linux::fs::MetadataExt as _;
    let data = std::fs::metadata("/proc/thread-self/ns/net")?;
    u32::try_from(data.st_ino()).map_err(io::Error::other)
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: `attr` is a whole, initialised union, and the memory it points to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(result).map_err(io::Error::other)
    }
}

/// Opens a pinned link.
pub(super) fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: plain integers, for which zero is valid.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens the link with this id.
pub(super) fn open_link(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: as in `open`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    let fd = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel to describe the link or program.
///
/// # Safety `T` must be the structure by which the kernel describes this kind of descriptor.
unsafe fn describe<T>(fd: &OwnedFd) -> io::Result<T> {
    // SAFETY: as in `open`; the caller vouches that `T` is such a structure too.
    let (mut attr, mut info): (bpf_attr, T) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    attr.info.bpf_fd = fd.as_raw_fd().cast_unsigned();
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    attr.info.info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

pub(super) fn info(link: &OwnedFd) -> io::Result<Info> {
    // SAFETY: the descriptor is a link's.
    let info: bpf_link_info = unsafe { describe(link) }?;
    let xdp = info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32;
    // SAFETY: all members are integers, for which any bytes are valid; the kind of the link tells which one the kernel
    // filled.
    let (interface, namespace) = unsafe {
        (
            info.__bindgen_anon_1.xdp.ifindex,
            info.__bindgen_anon_1.netns.netns_ino,
        )
    };
    Ok(Info {
        program: info.prog_id,
        interface: if xdp { interface } else { 0 },
        namespace,
        xdp,
    })
}

/// The name of the program with this id.
pub(super) fn program_name(id: u32) -> io::Result<String> {
    // SAFETY: as in `open`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    let fd = bpf(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is a program's.
    let info: bpf_prog_info = unsafe { describe(&program) }?;
    let letters = info.name.iter().take_while(|letter| **letter != 0);
    let bytes: Vec<u8> = letters.map(|letter| letter.cast_unsigned()).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `BPF_LINK_CREATE`: a new link of the program to the interface with this number.
pub(super) fn attach_xdp(
    program: BorrowedFd<'_>,
    interface: u32,
    native: bool,
) -> io::Result<OwnedFd> {
    // SAFETY: as in `open`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = interface;
    attr.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
    attr.link_create.flags = mode(native);
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The flag of a mode, the same for links and for netlink.
pub(super) fn mode(native: bool) -> u32 {
    if native {
        XDP_FLAGS_DRV_MODE
    } else {
        XDP_FLAGS_SKB_MODE
    }
}

/// `BPF_OBJ_PIN`.
pub(super) fn pin(object: &OwnedFd, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: as in `open`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = object.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// `BPF_LINK_DETACH`: when this returns, no packet goes through the program any more.
pub(super) fn detach(link: &OwnedFd) -> io::Result<()> {
    // SAFETY: as in `open`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// `BPF_LINK_UPDATE`: the next packet goes through the new program.
pub(super) fn update(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: as in `open`.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_update.link_fd = link.as_raw_fd().cast_unsigned();
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}
