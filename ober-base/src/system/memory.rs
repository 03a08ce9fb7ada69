//! Gives memory back to the machine.

/// Call it once, before threads start. With its default, the allocator keeps blocks as large as the first list of a million
/// addresses, for good and once for every thread that had such a list.
pub fn keep_no_large_blocks() {
    const LARGE: libc::c_int = 256 << 10;
    // SAFETY: sets a parameter of the allocator; a refusal leaves its default, which only costs memory.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// Gives free memory back to the machine after this process handled a list of perhaps a million addresses. Call it when no
/// client waits for an answer any more.
pub fn release() {
    // SAFETY: only returns free memory of the allocator to the kernel.
    unsafe { libc::malloc_trim(0) };
}
