//! Maps that user space sees as memory (`BPF_F_MMAPABLE`): a change is one store, seen by the next packet.

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
/// Integers only, without padding, its size a multiple of eight (the kernel rounds values up to that).
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

/// All values of one map, mapped into this process. The kernel reads them at any moment, so words that are in force
/// are only touched through the atomics below.
pub struct Memory<T> {
    start: NonNull<T>,
    count: usize,
    length: NonZeroUsize,
    values: PhantomData<T>,
}

// SAFETY: the memory belongs to the process; all shared access goes through atomics or regions not in force.
unsafe impl<T: Shared> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Memory<T> {}

impl<T: Shared> Memory<T> {
    /// Maps the `count` values of the map behind `fd`, which may be parts of one.
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

    /// The value at `place`, which wraps at the map's size so that a bad number can never leave the mapping.
    pub fn at(&self, place: usize) -> NonNull<T> {
        // SAFETY: the remainder is below `count`, all of which is mapped.
        unsafe { self.start.add(place % self.count) }
    }

    /// A copy of the value at `place`. Words in force may change meanwhile; each word alone is whole.
    pub fn read(&self, place: usize) -> T {
        // SAFETY: mapped, and any bytes are a valid `T`.
        unsafe { self.at(place).read_volatile() }
    }

    /// Overwrites a value that is not in force, without a copy on the stack.
    pub fn fill(&self, place: usize, value: &T) {
        // SAFETY: mapped; the kernel does not read a value that is not in force, and a torn word harms nobody there.
        unsafe {
            std::ptr::copy_nonoverlapping(std::ptr::from_ref(value), self.at(place).as_ptr(), 1);
        }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, and nothing borrows from it any more.
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
    // SAFETY: aligned within a `repr(C)` value at a page's start; both sides touch it with whole-word accesses.
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
