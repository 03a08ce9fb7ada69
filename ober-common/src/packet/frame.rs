//! The bytes of a frame, in one piece of memory or copied out of it.

/// Where the bytes of a frame come from.
pub trait Frame: Copy {
    type Bytes<const N: usize>: Bytes;

    /// The `N` bytes at `offset`, if the frame has them and they can be read.
    fn bytes<const N: usize>(self, offset: usize) -> Option<Self::Bytes<N>>;
}

/// Some bytes of a frame.
pub trait Bytes {
    /// The integer at `AT`, in the byte order of the frame.
    fn get<T: Integer, const AT: usize>(&self) -> T;

    #[inline(always)]
    fn byte<const AT: usize>(&self) -> u8 {
        self.get::<u8, AT>()
    }

    #[inline(always)]
    fn half<const AT: usize>(&self) -> u16 {
        u16::from_be(self.get::<u16, AT>())
    }
}

/// An integer, for which any bytes are valid.
pub trait Integer: Copy + sealed::Sealed {}
impl Integer for u8 {}
impl Integer for u16 {}
impl Integer for u32 {}
impl Integer for u64 {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// A frame in one piece of memory: `start..end` are addresses, because the kernel's verifier follows pointer
/// comparisons, not slice lengths.
#[derive(Clone, Copy)]
pub struct Near {
    start: usize,
    end: usize,
}

impl Near {
    /// # Safety
    /// `start..end` must be readable memory for as long as the frame is used.
    #[inline(always)]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl Frame for Near {
    type Bytes<const N: usize> = Span<N>;

    #[inline(always)]
    fn bytes<const N: usize>(self, offset: usize) -> Option<Span<N>> {
        let at = address(self.start, offset);
        (at + N <= self.end).then_some(Span(at))
    }
}

/// `start + offset`, computed once. The verifier knows only that the compared register is within the frame, and the
/// compiler would compute the sum again instead of keeping that register.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn address(start: usize, offset: usize) -> usize {
    let sum;
    // SAFETY: an addition of two registers; no memory is touched.
    unsafe {
        core::arch::asm!("{0} += {1}", inout(reg) start => sum, in(reg) offset, options(pure, nomem, nostack));
    }
    sum
}

#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
const fn address(start: usize, offset: usize) -> usize {
    start + offset
}

/// `N` bytes that were proven to lie within the frame.
#[derive(Clone, Copy)]
pub struct Span<const N: usize>(usize);

impl<const N: usize> Bytes for Span<N> {
    #[inline(always)]
    fn get<T: Integer, const AT: usize>(&self) -> T {
        const { assert!(AT + size_of::<T>() <= N) };
        let at = (self.0 + AT) as *const T;
        // SAFETY: within the span by the assertion above; any bytes are a valid integer. BPF loads need no alignment on
        // machines where the kernel allows that, and elsewhere the verifier refuses the program; `read_unaligned` would
        // be split into loads of single bytes.
        #[cfg(target_arch = "bpf")]
        return unsafe { core::ptr::read(at) };
        // SAFETY: as above; alignment is not assumed.
        #[cfg(not(target_arch = "bpf"))]
        return unsafe { core::ptr::read_unaligned(at) };
    }
}

/// Bytes that were copied out of the frame.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Copied<const N: usize>(pub [u8; N]);

impl<const N: usize> Bytes for Copied<N> {
    #[inline(always)]
    fn get<T: Integer, const AT: usize>(&self) -> T {
        const { assert!(AT + size_of::<T>() <= N) };
        // SAFETY: within the array by the assertion above; any bytes are a valid integer; alignment is not assumed.
        unsafe { self.0.as_ptr().add(AT).cast::<T>().read_unaligned() }
    }
}
