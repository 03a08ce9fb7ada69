//! How much memory a thread has asked for.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes, given back or not. Has no destructor and needs no memory itself, so an allocator may use it.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which also counts. In a program that has another global allocator every count is 0.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

fn count(bytes: usize) {
    // A thread that ends may still allocate; its sum is not read any more.
    ASKED
        .try_with(|asked| asked.set(asked.get().saturating_add(bytes)))
        .unwrap_or_default();
}

// SAFETY: the system's allocator does all the work; counting touches no memory that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes this thread asks for while `work` runs.
pub(crate) fn during(work: impl FnOnce()) -> usize {
    let before = ASKED.get();
    work();
    ASKED.get().saturating_sub(before)
}
