//! The kernel half. Two programs look numbers up in maps and decide no policy; two more only count:
//!
//! ```text
//! ober          XDP        frame -> service? -> on its list? -> ring slot -> worker -> worker's CPU
//! ober_lookup   sk_lookup  new connection -> service? -> on its list? -> same slot -> worker's listening socket
//! ober_enqueue, ober_dequeue  tracepoints: steered packets that a CPU's queue or memory had no room for
//! ```
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "registers have 64 bits; what is cut here fits by the kernel's own contract"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "how aya's macros call a program"
)]

mod access;
mod count;
mod drops;
mod maps;
mod routing;
mod scattered;
mod sk_lookup;
mod steer;
mod xdp;

/// The kernel allows some helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
