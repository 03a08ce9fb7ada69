//! The benchmark's wrapper: writes the next flow's bytes into the packet, drains the store buffer, and calls the
//! program under test. It reads the clock once for each chunk of packets. It is never attached to an interface.
//!
//! The kernel lets a program array hold only programs that agree on multi-buffer support: hence one wrapper with it,
//! for our program, and one without, for programs that lack it.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    clippy::cast_possible_truncation,
    reason = "the kernel hands the context by value; ports and flow numbers are cut on purpose"
)]
#![feature(asm_experimental_arch)]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};
use ober_common::bench::{CHUNK, Run, STAMPS, WORDS};

#[map]
static RUN: Array<Run> = Array::with_max_entries(1, 0);

/// The program under test, if it supports multi-buffer packets.
#[map]
static WITH_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program under test, if it does not.
#[map]
static WITHOUT_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[xdp(frags)]
fn wrap_frags(ctx: XdpContext) -> u32 {
    if refresh(&ctx).is_some() {
        // SAFETY: nothing here needs to be dropped.
        unsafe { WITH_FRAGS.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[xdp]
fn wrap_plain(ctx: XdpContext) -> u32 {
    if refresh(&ctx).is_some() {
        // SAFETY: as above.
        unsafe { WITHOUT_FRAGS.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// The floor: its time is subtracted from every figure.
#[xdp(frags)]
fn empty_frags(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The floor for programs without multi-buffer support.
#[xdp]
fn empty_plain(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn refresh(ctx: &XdpContext) -> Option<()> {
    let run = RUN.get_ptr_mut(0)?;
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + WORDS * 8 > end {
        return None;
    }
    // SAFETY: the map's one value; there is only one run at a time.
    let run = unsafe { &mut *run };
    let count = run.count;
    if count & (CHUNK - 1) == 0 {
        // SAFETY: reads the clock.
        run.stamps[(count / CHUNK) as usize & (STAMPS - 1)] = unsafe { bpf_ktime_get_ns() };
    }
    // With an odd factor every flow comes once, in an order that the CPU's prefetcher cannot guess.
    let flow = (count.wrapping_mul(0x9e37_79b1) & run.mask) as u32;
    let source = run.source.wrapping_add(flow.wrapping_mul(run.source_step));
    let port = run.port.wrapping_add(flow.wrapping_mul(run.port_step)) as u16;
    for word in 0..WORDS {
        // SAFETY: checked above.
        unsafe { put(start + word * 8, run.head[word]) };
    }
    // SAFETY: the last byte written is below the end checked above.
    unsafe {
        if run.wide == 1 {
            put(start + 34, source.to_be());
            put(start + 54, port.to_be());
        } else {
            put(start + 26, source.to_be());
            put(start + 34, port.to_be());
        }
    }
    // A locked addition waits until all stores have reached the cache, as they have when a network card wrote them.
    // SAFETY: an aligned word within the map's value.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) &raw mut run.count, in(reg) 1u64);
    }
    Some(())
}

/// A store at an address of any alignment, which BPF allows on machines where the kernel does.
#[inline(always)]
unsafe fn put<T>(address: usize, value: T) {
    // SAFETY: the caller vouches for the memory.
    unsafe { core::ptr::write_volatile(address as *mut T, value) };
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
