//! A frame that the driver laid out in several buffers. The first may be empty: mlx5 with an MTU above a page puts
//! every byte into the others. The kernel copies the bytes that are read, from whichever buffer holds them.

use core::{cell::Cell, mem::MaybeUninit};

use aya_ebpf::{helpers::generated::bpf_xdp_load_bytes, programs::XdpContext};
use ober_common::packet::{Copied, Frame};

#[derive(Clone, Copy)]
pub(crate) struct Scattered<'a> {
    ctx: &'a XdpContext,
    /// Of the whole frame, in bytes.
    length: usize,
    /// Set when the kernel does not copy bytes that are within the frame.
    refused: &'a Cell<bool>,
}

impl<'a> Scattered<'a> {
    #[inline(always)]
    pub(crate) const fn new(ctx: &'a XdpContext, length: usize, refused: &'a Cell<bool>) -> Self {
        Self {
            ctx,
            length,
            refused,
        }
    }
}

impl Frame for Scattered<'_> {
    type Bytes<const N: usize> = Copied<N>;

    #[inline(always)]
    fn bytes<const N: usize>(self, offset: usize) -> Option<Copied<N>> {
        if offset + N > self.length {
            return None;
        }
        let mut bytes = MaybeUninit::<Copied<N>>::uninit();
        // SAFETY: the context is the one the program was called with; there is room for the `N` bytes asked for.
        let result = unsafe {
            bpf_xdp_load_bytes(
                self.ctx.ctx,
                offset as u32,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        if result != 0 {
            self.refused.set(true);
            return None;
        }
        // SAFETY: the kernel has filled all `N` bytes.
        Some(unsafe { bytes.assume_init() })
    }
}
