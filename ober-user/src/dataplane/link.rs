//! Links: what ties a program to an interface or a network namespace. A pinned link is updated in place, so there is
//! no moment without a program; a new one is made only where none is.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, ProgramInfo, SkLookup, Xdp, XdpMode as AyaMode, links::FdLink, loaded_programs,
    xdp::XdpLinkId,
};

use super::{Error, chain, facts};
use crate::{config::XdpMode, file};

const LOOKUP: &str = "link_lookup";
/// A directory among the pins: the programs write the packet log.
pub(super) const LOG_MARK: &str = "packet_log";
const NATIVE: &str = "link_xdp_native_";
const GENERIC: &str = "link_xdp_generic_";

/// The pin of an interface's link; its name keeps the mode, which the kernel's link does not tell. File names on the
/// BPF file system hold no dots; interface names may (`eth0.100`).
fn xdp_pin(home: &Path, interface: &str, native: bool) -> PathBuf {
    let mode = if native { NATIVE } else { GENERIC };
    home.join(format!(
        "{mode}{}",
        interface.replace('%', "%25").replace('.', "%2e")
    ))
}

pub(super) fn is_link(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("link_"))
}

/// Attaches the socket lookup to this network namespace, or replaces the program that is there.
pub(super) fn lookup(home: &Path, program: &mut SkLookup) -> Result<(), Error> {
    let error = |reason: String| Error::AttachLookup { reason };
    let pin = home.join(LOOKUP);
    let info = program.info().map_err(|cause| error(chain(&cause)))?;
    if replace(
        home,
        &pin,
        &info,
        program.fd().map_err(|cause| error(chain(&cause)))?.as_fd(),
        0,
    )
    .map_err(|cause| error(cause.to_string()))?
    {
        return Ok(());
    }
    let namespace = file::open("/proc/thread-self/ns/net".as_ref(), file::Kind::Own)
        .map_err(|cause| error(cause.to_string()))?;
    let id = program
        .attach(namespace)
        .map_err(|cause| error(chain(&cause)))?;
    let link: FdLink = program
        .take_link(id)
        .map_err(|cause| error(chain(&cause)))?
        .into();
    link.pin(&pin).map_err(|cause| error(chain(&cause)))?;
    Ok(())
}

/// Attaches XDP to an interface, or replaces the program that is there. Returns whether it runs in native mode.
pub(super) fn xdp(
    home: &Path,
    program: &mut Xdp,
    interface: &str,
    mode: XdpMode,
) -> Result<bool, Error> {
    let error = |reason: String| Error::Attach {
        interface: interface.into(),
        reason,
    };
    let index = nix::net::if_::if_nametoindex(interface).map_err(|errno| {
        error(format!(
            "{errno}; `ip link` lists the interfaces that are here"
        ))
    })?;
    let info = program.info().map_err(|cause| error(chain(&cause)))?;
    let mut lost = None;
    for native in [true, false] {
        let pin = xdp_pin(home, interface, native);
        let unwanted = if native {
            mode == XdpMode::Generic
        } else {
            mode == XdpMode::Native
        };
        if unwanted && pin.exists() {
            tracing::warn!(
                interface,
                "the mode of XDP changes: the program is taken off and attached anew"
            );
            take_off(&pin).map_err(|cause| error(cause.to_string()))?;
            lost = Some(if native {
                XdpMode::Native
            } else {
                XdpMode::Generic
            });
        }
        let fd = program.fd().map_err(|cause| error(chain(&cause)))?.as_fd();
        if replace(home, &pin, &info, fd, index).map_err(|cause| error(cause.to_string()))? {
            return Ok(native);
        }
    }
    let result = make(home, program, interface, index, mode);
    if let (Err(_), Some(mode)) = (&result, lost) {
        make(home, program, interface, index, mode)?;
    }
    result
}

/// A new link, pinned.
fn make(
    home: &Path,
    program: &mut Xdp,
    interface: &str,
    index: u32,
    mode: XdpMode,
) -> Result<bool, Error> {
    let error = |reason: String| Error::Attach {
        interface: interface.into(),
        reason,
    };
    let (id, native) =
        attach(program, interface, index, mode).map_err(|cause| error(explain(&cause)))?;
    let link = program
        .take_link(id)
        .map_err(|cause| error(chain(&cause)))?;
    let link: FdLink = link
        .try_into()
        .map_err(|cause: aya::programs::links::LinkError| error(chain(&cause)))?;
    link.pin(xdp_pin(home, interface, native))
        .map_err(|cause| error(chain(&cause)))?;
    Ok(native)
}

fn attach(
    program: &mut Xdp,
    interface: &str,
    index: u32,
    mode: XdpMode,
) -> Result<(XdpLinkId, bool), ProgramError> {
    if mode != XdpMode::Generic {
        match program.attach_to_if_index(index, AyaMode::Driver) {
            Ok(id) => return Ok((id, true)),
            Err(cause) if mode == XdpMode::Native => return Err(cause),
            Err(cause) => tracing::warn!(
                interface,
                reason = chain(&cause),
                "no native XDP here, falling back to generic mode, which is several times slower"
            ),
        }
    }
    program
        .attach_to_if_index(index, AyaMode::Skb)
        .map(|id| (id, false))
}

fn explain(cause: &ProgramError) -> String {
    let text = chain(cause);
    if text.contains("os error 16") {
        return format!(
            "{text}; another XDP program is attached: see `ip link show`, and detach it first"
        );
    }
    if text.contains("os error 95") {
        return format!(
            "{text}; the driver has no native XDP: set node.xdp = \"auto\" or \"generic\""
        );
    }
    text
}

/// Replaces the program in the pinned link, if that link still holds on. `false`: there is none.
fn replace(
    home: &Path,
    pin: &Path,
    fresh: &ProgramInfo,
    program: BorrowedFd<'_>,
    interface: u32,
) -> io::Result<bool> {
    if !pin.exists() {
        return Ok(false);
    }
    let link = kernel::open(pin)?;
    let info = kernel::info(&link)?;
    if !info.holds(interface) {
        fs::remove_file(pin)?;
        return Ok(false);
    }
    let running = loaded(info.program);
    // The pin of a program that must go is gone already.
    let pinned = |running: &ProgramInfo| {
        facts::programs(home)
            .iter()
            .any(|pinned| pinned.id == running.id())
    };
    let same = |running: &ProgramInfo| alike(running, fresh) && pinned(running);
    if !running.is_some_and(|running| same(&running)) {
        kernel::update(&link, program)?;
    }
    Ok(true)
}

fn loaded(id: u32) -> Option<ProgramInfo> {
    loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
}

/// The program behind a pinned link.
pub(super) fn behind(pin: &Path) -> Option<ProgramInfo> {
    loaded(kernel::info(&kernel::open(pin).ok()?).ok()?.program)
}

/// Do both do the same on the same maps? The tag leaves the maps out, so those are compared too.
pub(super) fn alike(one: &ProgramInfo, other: &ProgramInfo) -> bool {
    one.tag() == other.tag() && maps(one) == maps(other)
}

/// The pinned maps a program uses. The log's map and the read-only data are made anew with every load.
fn maps(program: &ProgramInfo) -> BTreeSet<u32> {
    program
        .map_ids()
        .ok()
        .flatten()
        .unwrap_or_default()
        .into_iter()
        .filter(|id| is_pinned_map(*id))
        .collect()
}

fn is_pinned_map(id: u32) -> bool {
    aya::maps::MapInfo::from_id(id).is_ok_and(|info| {
        info.name_as_str()
            .is_some_and(|name| name != "AYA_LOGS" && !name.starts_with('.'))
    })
}

/// Is the interface's link pinned and still tied to it?
pub fn holds(home: &Path, interface: &str) -> bool {
    let index = nix::net::if_::if_nametoindex(interface).unwrap_or(0);
    [true, false]
        .into_iter()
        .filter_map(|native| kernel::open(&xdp_pin(home, interface, native)).ok())
        .any(|link| kernel::info(&link).is_ok_and(|info| info.holds(index)))
}

/// Does the socket lookup run in this network namespace?
pub fn looks_up(home: &Path) -> bool {
    let link = kernel::open(&home.join(LOOKUP)).and_then(|link| kernel::info(&link));
    link.is_ok_and(|info| info.holds(0))
}

/// Does the interface's link run in native mode?
pub fn native(home: &Path, interface: &str) -> bool {
    xdp_pin(home, interface, true).exists()
}

/// The links of a directory with the programs they run, so that a change can be undone.
pub(super) struct Links(Vec<(PathBuf, ProgramInfo)>);

impl Links {
    pub(super) fn read(home: &Path) -> Self {
        let entries = fs::read_dir(home).into_iter().flatten().flatten();
        let running = |path: PathBuf| behind(&path).map(|program| (path, program));
        Self(
            entries
                .map(|entry| entry.path())
                .filter(|path| is_link(path))
                .filter_map(running)
                .collect(),
        )
    }

    /// Gives every link the program it had, and removes those that were not there.
    pub(super) fn put_back(&self, home: &Path) -> io::Result<()> {
        for (path, program) in &self.0 {
            let link = kernel::open(path)?;
            if kernel::info(&link)?.program != program.id() {
                let program = program.fd().map_err(io::Error::other)?;
                kernel::update(&link, program.as_fd())?;
            }
        }
        for entry in fs::read_dir(home)? {
            let path = entry?.path();
            if is_link(&path) && !self.0.iter().any(|(old, _)| *old == path) {
                take_off(&path)?;
            }
        }
        Ok(())
    }
}

/// Ends a pinned link. Its last descriptor alone would end it too, but at some later time, and until then the interface
/// is busy for whoever attaches next.
pub(super) fn take_off(pin: &Path) -> io::Result<()> {
    kernel::detach(&kernel::open(pin)?)?;
    fs::remove_file(pin)
}

/// Takes the program off every interface but the named ones.
pub(super) fn remove_others(home: &Path, interfaces: &[String]) -> Result<(), Error> {
    let error = |source| Error::Remove {
        path: home.into(),
        source,
    };
    let pins = |interface: &String| [true, false].map(|native| xdp_pin(home, interface, native));
    let keep: Vec<_> = interfaces.iter().flat_map(pins).collect();
    for entry in fs::read_dir(home).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let ours = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("link_xdp_"));
        if ours && !keep.contains(&path) {
            take_off(&path).map_err(error)?;
        }
    }
    Ok(())
}

/// Moves every link pin to another directory of the same file system.
pub(super) fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (is_link(&path), path.file_name()) {
            fs::rename(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// The link calls aya does not offer for both link kinds.
mod kernel {
    use std::{
        ffi::CString,
        io,
        os::{
            fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
            unix::ffi::OsStrExt as _,
        },
        path::Path,
    };

    use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};

    pub(super) struct Info {
        pub(super) program: u32,
        interface: u32,
        namespace: u32,
        xdp: bool,
    }

    impl Info {
        /// A link whose interface or namespace is gone stays pinned but ties nothing; and names may be given anew.
        pub(super) fn holds(&self, interface: u32) -> bool {
            if self.xdp {
                self.interface == interface && interface != 0
            } else {
                self.namespace == own_namespace()
            }
        }
    }

    fn own_namespace() -> u32 {
        use std::os::linux::fs::MetadataExt as _;
        std::fs::metadata("/proc/thread-self/ns/net")
            .map_or(0, |data| u32::try_from(data.st_ino()).unwrap_or(0))
    }

    fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
        // SAFETY: `attr` is a whole, initialised union, and what it points to outlives the call.
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

    pub(super) fn info(link: &OwnedFd) -> io::Result<Info> {
        // SAFETY: as in `open`.
        let (mut attr, mut info): (bpf_attr, bpf_link_info) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        attr.info.bpf_fd = link.as_raw_fd().cast_unsigned();
        attr.info.info = std::ptr::from_mut(&mut info) as u64;
        attr.info.info_len = u32::try_from(size_of::<bpf_link_info>()).map_err(io::Error::other)?;
        bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
        let xdp = info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32;
        // SAFETY: the kind says which member the kernel filled; all are integers.
        let (interface, namespace) = unsafe {
            (
                info.__bindgen_anon_1.xdp.ifindex,
                info.__bindgen_anon_1.netns.netns_ino,
            )
        };
        Ok(Info {
            program: info.prog_id,
            interface,
            namespace,
            xdp,
        })
    }

    /// `BPF_LINK_DETACH`: no packet meets the program any more when this returns.
    pub(super) fn detach(link: &OwnedFd) -> io::Result<()> {
        // SAFETY: as in `open`.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
        bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
    }

    /// `BPF_LINK_UPDATE`: the next packet meets the new program.
    pub(super) fn update(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: as in `open`.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.link_update.link_fd = link.as_raw_fd().cast_unsigned();
        attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd().cast_unsigned();
        bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
    }
}
