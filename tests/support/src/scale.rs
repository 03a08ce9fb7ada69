//! A law for tests: ten times the size costs at most twelve times the CPU time.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The largest ratio of the two costs.
const MOST: f64 = 12.0;
/// How often a measurement is repeated, since other work may disturb it. Repeating does not help quadratic work, which costs a
/// hundred times as much.
const CHANCES: usize = 40;

/// The CPU time of this thread.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(time)
}

fn cost<T>(made: &T, work: &impl Fn(&T)) -> f64 {
    let once = || {
        let before = spent();
        work(made);
        spent().saturating_sub(before).as_secs_f64()
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Makes an object of each size and one ten times as large, and compares the cost of the work on both.
pub fn linear<T>(sizes: [usize; 2], make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    for size in sizes {
        let (small, large) = (make(size), make(size * 10));
        let ratio = || cost(&large, &work) / cost(&small, &work).max(1e-9);
        let ratios = (0..CHANCES).map(|_| ratio());
        let mut least = f64::INFINITY;
        let kept = ratios.into_iter().any(|ratio: f64| {
            least = least.min(ratio);
            ratio <= MOST
        });
        assert!(
            kept,
            "from {size} to {} it costs {least:.1} times as much",
            size * 10
        );
    }
}

#[test]
fn the_scale_check_refuses_quadratic_work_and_accepts_linear_work() {
    let square = |numbers: &Vec<u64>| {
        let sum = numbers
            .iter()
            .flat_map(|a| numbers.iter().map(move |b| a ^ b));
        std::hint::black_box(sum.max());
    };
    let all = |size: usize| (0..size as u64).collect::<Vec<_>>();
    assert!(std::panic::catch_unwind(|| linear([100, 100], all, square)).is_err());
    linear([10_000, 10_000], all, |numbers| {
        std::hint::black_box(numbers.iter().fold(0, |a, b| a ^ b));
    });
}
