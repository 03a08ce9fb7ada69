//! A law for tests: ten times the size costs at most twelve times the work.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Ten times as many cost so much more at most.
const MOST: f64 = 12.0;
/// The law is about the work: a machine that is busy with others is given other chances, which do not help work that
/// grows by the square, as that takes a hundred times as long.
const CHANCES: usize = 40;
/// So often is each size measured before it is judged, and again with each chance.
const TIMES: usize = 5;

/// The time this thread has had a CPU.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(time)
}

/// The least time that work on something took: others on the machine make it longer, never shorter.
struct Least<'a, T> {
    made: &'a T,
    seconds: f64,
}

impl<'a, T> Least<'a, T> {
    fn of(made: &'a T) -> Self {
        Self {
            made,
            seconds: f64::INFINITY,
        }
    }

    fn again(&mut self, work: &impl Fn(&T)) {
        for _ in 0..TIMES {
            let before = spent();
            work(self.made);
            let took = spent().saturating_sub(before).as_secs_f64();
            self.seconds = self.seconds.min(took);
        }
    }
}

/// Makes something of each size, the next ten times the last, and holds the work on it to the law.
pub(crate) fn linear<T>(sizes: [usize; 2], make: impl Fn(usize) -> T, work: impl Fn(&T)) {
    for size in sizes {
        let (small, large) = (make(size), make(size * 10));
        let (mut few, mut many) = (Least::of(&small), Least::of(&large));
        let mut ratio = f64::INFINITY;
        let kept = (0..CHANCES).any(|_| {
            few.again(&work);
            many.again(&work);
            ratio = many.seconds / few.seconds.max(1e-9);
            ratio <= MOST
        });
        assert!(
            kept,
            "from {size} to {} it costs {ratio:.1} times as much",
            size * 10
        );
    }
}

#[test]
fn work_that_grows_by_the_square_breaks_the_law() {
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
