//! Maps that user space maps into its memory (`BPF_F_MMAPABLE`): a change is one store, which is in force for the next
//! packet.

use std::{
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use ober_common::abi::{BgpPorts, HostLine, Node, Page, PageIndex, Ring, ServiceTable, Tags};

/// A value of the kernel contract that may live in shared memory.
///
/// # Safety
/// The type consists of integers without padding, and its size is a multiple of eight (the kernel rounds values up to
/// that).
pub unsafe trait Shared: Copy {}
// SAFETY: see `ober_common::abi`, where each size is asserted.
unsafe impl Shared for Node {}
// SAFETY: as above.
unsafe impl Shared for BgpPorts {}
// SAFETY: as above.
unsafe impl Shared for ServiceTable {}
// SAFETY: as above.
unsafe impl Shared for Ring {}
// SAFETY: as above.
unsafe impl Shared for PageIndex {}
// SAFETY: as above.
unsafe impl Shared for Page {}
// SAFETY: as above.
unsafe impl Shared for HostLine {}
// SAFETY: as above.
unsafe impl Shared for Tags {}

/// All values of one map, mapped into this process. The kernel programs read them at any moment, so words in force are
/// accessed only through the atomics below.
pub struct Memory<T> {
    start: NonNull<T>,
    count: usize,
    length: NonZeroUsize,
    values: PhantomData<T>,
}

// SAFETY: the memory belongs to the process; all shared access is by atomics, or to regions that are not in force.
unsafe impl<T: Shared> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Memory<T> {}

impl<T: Shared> Memory<T> {
    /// Maps `count` values of the BPF map behind `fd` into memory. They may be parts of one value of the map.
    pub fn map(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let length = (count * size_of::<T>()).next_multiple_of(4096);
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address the kernel chooses.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0)? };
        Ok(Self {
            start: start.cast(),
            count,
            length,
            values: PhantomData,
        })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The value at `place`, modulo the number of values, so that a wrong number cannot leave the mapping.
    pub fn at(&self, place: usize) -> NonNull<T> {
        // SAFETY: the remainder is below `count`, all of which is mapped.
        unsafe { self.start.add(place % self.count) }
    }

    /// A copy of the value at `place`. Words in force may change during the copy; each word by itself is whole.
    pub fn read(&self, place: usize) -> T {
        // SAFETY: mapped, and any bytes are a valid `T`.
        unsafe { self.at(place).read_volatile() }
    }

    /// Overwrites a value that is not in force, without a copy on the stack.
    pub fn fill(&self, place: usize, value: &T) {
        // SAFETY: mapped; no kernel program uses a value that is not in force, so a torn word does no harm.
        unsafe {
            std::ptr::copy_nonoverlapping(std::ptr::from_ref(value), self.at(place).as_ptr(), 1);
        }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `map`, and nothing borrows from it any more.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.length.get()) } {
            tracing::warn!(%error, "unmap BPF map memory");
        }
    }
}

/// The 64-bit word behind `pointer`, shared with the kernel.
///
/// # Safety
/// `pointer` points into a [`Memory`] that lives as long as the result is used.
pub unsafe fn word64<'a>(pointer: *mut u64) -> &'a AtomicU64 {
    // SAFETY: aligned within a `repr(C)` value that begins at a page of memory; both sides access it by whole words.
    unsafe { AtomicU64::from_ptr(pointer) }
}

/// The 32-bit word behind `pointer`.
///
/// # Safety
/// As [`word64`].
pub unsafe fn word32<'a>(pointer: *mut u32) -> &'a AtomicU32 {
    // SAFETY: as above.
    unsafe { AtomicU32::from_ptr(pointer) }
}

/// The 16-bit word behind `pointer`.
///
/// # Safety
/// As [`word64`].
pub unsafe fn word16<'a>(pointer: *mut u16) -> &'a AtomicU16 {
    // SAFETY: as above.
    unsafe { AtomicU16::from_ptr(pointer) }
}
