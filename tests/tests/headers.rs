//! The kernel half's parser, run on the host, against the model's reader. Needs no root and no BPF.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{ffi::c_void, num::NonZeroUsize, ptr::NonNull};

use nix::{
    sys::{
        mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, SysconfVar, fork, sysconf},
};
use ober_common::{
    address::Ip,
    packet::{Ends, Extent, Link, Near, Parsed, Piece, Plain, link, parse, plain_ipv4, plain_ipv6},
};
use ober_tests::{
    model::{Outer, Reading, read},
    packets::{Case, case, fuzz, rich_target},
};

/// The parser's result, in the model's words.
fn parsed(bytes: &[u8]) -> Reading {
    let range = bytes.as_ptr_range();
    // SAFETY: the slice is readable and outlives the call.
    match parse(unsafe { Near::new(range.start as usize, range.end as usize) }) {
        Parsed::Other => Reading::Other,
        Parsed::Flow {
            flow,
            ends,
            extent,
            piece,
            quoted,
            opens,
        } => Reading::Flow {
            flow,
            outer: outer(ends, extent, piece),
            quoted,
            opens,
        },
        Parsed::Fragment { ends, extent } => Reading::LaterFragment {
            outer: outer(ends, extent, Piece::Later),
        },
        Parsed::Bare {
            ends,
            protocol,
            extent,
            piece,
        } => Reading::Bare {
            outer: outer(ends, extent, piece),
            protocol,
        },
        // These bytes are all there is.
        Parsed::Short { destination } | Parsed::Malformed { destination } => Reading::Malformed {
            destination: destination.map(Ip::bytes),
        },
        Parsed::Loopback => Reading::Loopback,
    }
}

fn outer(ends: Ends, Extent { ip_end, judged_end }: Extent, piece: Piece) -> Outer {
    Outer {
        source: ends.source.bytes(),
        destination: ends.destination.bytes(),
        ip_end,
        judged_end,
        first: piece == Piece::First,
    }
}

fn assert_alike(case: &Case) {
    let differs = |case: &Case| parsed(case.readable()) != read(case.readable());
    if differs(case) {
        let shortest = fuzz::shortest(case, 0, differs);
        let (parser, model) = (parsed(shortest.readable()), read(shortest.readable()));
        panic!(
            "parser {parser:?}\nmodel  {model:?}\n{}",
            shortest.describe()
        );
    }
}

#[test]
fn the_parser_and_the_model_read_every_packet_alike() {
    let target = rich_target();
    for seed in fuzz::seeds().take(fuzz::cases()) {
        assert_alike(&case(&target, seed));
    }
}

/// The result of the short reading that most packets get, for any destination.
fn plainly(bytes: &[u8]) -> Plain {
    let range = bytes.as_ptr_range();
    // SAFETY: the slice is readable and outlives the call.
    let frame = unsafe { Near::new(range.start as usize, range.end as usize) };
    match link(frame) {
        Link::Ipv4(offset) => plain_ipv4(frame, offset, |_| true),
        Link::Ipv6(offset) => plain_ipv6(frame, offset, |_| true),
        Link::Other | Link::Short | Link::Tagged => Plain::Else,
    }
}

#[test]
fn the_short_and_the_complete_parser_agree_on_every_packet_the_short_one_reads() {
    let target = rich_target();
    let mut short = 0;
    for seed in fuzz::seeds().take(fuzz::cases()) {
        let case = case(&target, seed);
        let bytes = case.readable();
        let Plain::Flow {
            flow,
            extent: Extent { ip_end, judged_end },
            opens,
        } = plainly(bytes)
        else {
            continue;
        };
        short += 1;
        let Reading::Flow {
            flow: whole,
            outer,
            quoted: false,
            opens: asks,
        } = read(bytes)
        else {
            panic!("{}", case.describe());
        };
        let whole = (whole, outer.ip_end, outer.judged_end, outer.first, asks);
        assert_eq!(
            (flow, ip_end, judged_end, false, opens),
            whole,
            "{}",
            case.describe()
        );
    }
    assert!(short > fuzz::cases() / 5, "{short} packets were read");
}

#[test]
fn the_parser_and_the_model_agree_wherever_a_packet_ends() {
    let target = rich_target();
    for seed in fuzz::seeds().take(fuzz::cases() / 25) {
        let whole = case(&target, seed);
        for end in 0..whole.bytes.len().min(300) {
            assert_alike(&Case {
                bytes: whole.bytes[..end].to_vec(),
                first_buffer: None,
                ..whole.clone()
            });
        }
    }
}

/// Memory whose last byte is followed by a page without any access.
struct Guarded {
    start: NonNull<c_void>,
    usable: usize,
    page: usize,
}

impl Guarded {
    fn new(pages: usize) -> Self {
        let page = usize::try_from(sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap()).unwrap();
        let usable = pages * page;
        let length = NonZeroUsize::new(usable + page).unwrap();
        // SAFETY: a new mapping at an address of the kernel's choice, its last page closed; nothing else refers to it.
        unsafe {
            let start = mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
            )
            .unwrap();
            mprotect(start.byte_add(usable), page, ProtFlags::PROT_NONE).unwrap();
            Self {
                start,
                usable,
                page,
            }
        }
    }

    /// Copies the bytes right before the closed page.
    fn place(&mut self, bytes: &[u8]) -> &[u8] {
        assert!(bytes.len() <= self.usable);
        // SAFETY: the range lies within the open pages of the mapping, which `self` owns.
        unsafe {
            let at = self
                .start
                .as_ptr()
                .cast::<u8>()
                .add(self.usable - bytes.len());
            at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            std::slice::from_raw_parts(at, bytes.len())
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, made in `new`; no slice of it outlives `self`.
        unsafe { munmap(self.start, self.usable + self.page) }.unwrap();
    }
}

/// Runs `work` in a child process and says how it ended: a fault there must not end the test.
fn in_a_child(work: impl FnOnce()) -> WaitStatus {
    // SAFETY: the child only reads and writes memory made before the fork, then leaves without unwinding.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            work();
            // SAFETY: ends the child at once; destructors and buffers belong to the parent.
            unsafe { libc::_exit(0) }
        }
    }
}

#[test]
fn a_byte_read_past_the_end_is_noticed() {
    let mut memory = Guarded::new(1);
    let bytes = memory.place(&[1, 2, 3]).as_ptr();
    // SAFETY: the third byte exists; the fourth does not, which is the point: the child dies of it.
    let read_at =
        |offset| in_a_child(|| assert_ne!(unsafe { bytes.add(offset).read_volatile() }, 0));
    assert!(matches!(read_at(2), WaitStatus::Exited(_, 0)));
    assert!(matches!(
        read_at(3),
        WaitStatus::Signaled(_, Signal::SIGSEGV, _)
    ));
}

#[test]
fn the_parser_never_reads_past_the_end_of_a_packet() {
    let target = rich_target();
    let mut cases: Vec<Case> = fuzz::seeds()
        .take(fuzz::cases())
        .map(|seed| case(&target, seed))
        .collect();
    for number in 0..cases.len() / 25 {
        let whole = cases[number].clone();
        let ends = 0..whole.readable().len().min(200);
        cases.extend(ends.map(|end| Case {
            bytes: whole.bytes[..end].to_vec(),
            first_buffer: None,
            ..whole.clone()
        }));
    }
    let mut memory = Guarded::new(4);
    let mut progress = Guarded::new(1);
    let ended = in_a_child(|| {
        for (number, case) in cases.iter().enumerate() {
            progress.place(&number.to_ne_bytes());
            let bytes = memory.place(case.readable());
            std::hint::black_box(parsed(bytes));
        }
    });
    // SAFETY: the child wrote these bytes into memory it shares with us, and has ended.
    let reached = unsafe {
        progress
            .start
            .as_ptr()
            .byte_add(progress.usable - 8)
            .cast::<usize>()
            .read_volatile()
    };
    assert!(
        matches!(ended, WaitStatus::Exited(_, 0)),
        "{ended:?} at\n{}",
        cases[reached].describe()
    );
    assert_eq!(reached, cases.len() - 1);
}
