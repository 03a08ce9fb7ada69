//! Loaded before the C library (`LD_PRELOAD`), it lets the wall clock of one process jump by the seconds that the file
//! `OBER_CLOCK` holds. All other clocks go on as they are. `build.rs` compiles it.

use std::{
    ffi::{c_int, c_long},
    fs::File,
    os::unix::fs::FileExt as _,
    sync::OnceLock,
};

const CLOCK_REALTIME: c_int = 0;
#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const SYS_CLOCK_GETTIME: c_long = 113;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// `clock_gettime(2)`.
///
/// # Safety
/// As that of the C library: `time` points to a `timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel as it is.
    let result = unsafe { syscall(SYS_CLOCK_GETTIME, c_long::from(clock), time) };
    if result == 0 && clock == CLOCK_REALTIME {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).seconds += offset() };
    }
    if result == 0 { 0 } else { -1 }
}

/// The file's seconds; 0 where there is no such file.
fn offset() -> i64 {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| File::open(std::env::var_os("OBER_CLOCK")?).ok());
    let mut bytes = [0; 8];
    match file {
        Some(file) if file.read_exact_at(&mut bytes, 0).is_ok() => i64::from_ne_bytes(bytes),
        _ => 0,
    }
}
