//! Bytes that end where mapped memory ends: reading one byte too many is a segmentation fault. The kernel's header parser takes
//! addresses, not a slice, so nothing else on the host would notice.

use std::{cell::RefCell, num::NonZeroUsize, ptr::NonNull};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};

/// Bytes of the longest input; the rest of a longer one is left out.
pub(crate) const ROOM: usize = 64 * 1024;
const PAGE: usize = 4096;

/// One for each thread; the mapping leaks when the thread ends.
struct Fence(NonNull<u8>);

thread_local! {
    static FENCE: RefCell<Fence> = RefCell::new(Fence::new());
}

impl Fence {
    fn new() -> Self {
        let size = const { NonZeroUsize::new(ROOM + PAGE).unwrap() };
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private mapping wherever the kernel has room; nothing else is there.
        let start = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE) };
        let start = start.unwrap_or_else(|error| panic!("map {size} bytes: {error}"));
        // SAFETY: the last page of the mapping just made, which nothing uses yet.
        let fenced = unsafe { mprotect(start.byte_add(ROOM), PAGE, ProtFlags::PROT_NONE) };
        fenced.unwrap_or_else(|error| panic!("close the page behind: {error}"));
        Self(start.cast())
    }
}

/// Calls `work` with the address of the first byte and the address after the last one.
pub(crate) fn with(bytes: &[u8], work: impl FnOnce(usize, usize)) {
    let bytes = bytes.get(..ROOM).unwrap_or(bytes);
    FENCE.with_borrow_mut(|fence| {
        // SAFETY: within the mapping, since there are at most `ROOM` of them; it is ours alone and overlaps nothing.
        let start = unsafe {
            let start = fence.0.add(ROOM - bytes.len());
            start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            start
        };
        let start = start.addr().get();
        work(start, start + bytes.len());
    });
}
