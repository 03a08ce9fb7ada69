//! Memory that goes back to the machine.

/// Call it once, before threads start. Left alone, the allocator learns from the first million addresses to keep
/// blocks of their size for good, and does so once for every thread that ever had such a list.
pub fn keep_no_large_blocks() {
    const LARGE: libc::c_int = 256 << 10;
    // SAFETY: sets a parameter of the allocator; a refusal leaves its default, which only costs memory.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// A million addresses pass through this process now and then; their memory goes back to the machine. Call it when
/// nobody waits for an answer any more.
pub fn release() {
    // SAFETY: only returns free memory of the allocator to the kernel.
    unsafe { libc::malloc_trim(0) };
}
