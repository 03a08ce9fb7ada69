//! The verdict and the counter do not follow from how a driver lays a frame out: whatever lies in the first buffer, they are
//! those of the whole frame. The bytes are those of the whole frame or, where the first buffer holds the packet, of that
//! buffer: see `without_filling` of the parent.
//!
//! The kernel lets a test choose the first buffer since Linux 6.18; each test asks whether it does. On an older one these
//! tests compare whole frames alone, and their output says that.

use ober_tests::packets::{Case, Shape, case, fuzz, rich_target};

use super::{
    agreed,
    kernel::{Kernel, SHORTEST},
    laws,
};

/// Frames of each kind.
const EACH: usize = 3;

fn split(kernel: &mut Kernel, target: &ober_tests::packets::Target, whole: &Case, law: &str) {
    agreed(kernel, target, whole, law);
    if !kernel.splits() {
        return;
    }
    for first in 0..whole.bytes.len() {
        let case = Case {
            first_buffer: Some(first),
            ..whole.clone()
        };
        agreed(kernel, target, &case, law);
    }
}

#[test]
fn each_law_of_the_packet_path_holds_wherever_the_first_buffer_ends() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("split-laws", &mut target);
    for (law, packet, _) in laws::all() {
        split(&mut kernel, &target, &Case::fixed(packet.bytes), law);
    }
}

#[test]
fn random_packets_of_every_shape_are_judged_alike_wherever_the_first_buffer_ends() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("split-random", &mut target);
    let mut seen = [0; Shape::ALL.len()];
    let script = target.clone();
    let cases = fuzz::seeds()
        .map(|seed| case(&script, seed))
        .filter(|case| (SHORTEST..400).contains(&case.bytes.len()));
    for case in cases.take(fuzz::cases()) {
        let rare = |shape: &&Shape| seen[**shape as usize] < EACH;
        if case.shapes.iter().find(rare).is_none() {
            continue;
        }
        for shape in &case.shapes {
            seen[*shape as usize] += 1;
        }
        let case = kernel.fit(case);
        split(&mut kernel, &target, &case, "a random packet");
    }
    let missing = Shape::ALL.into_iter().filter(|shape| {
        *shape != Shape::Jumbo && *shape != Shape::ShortFirstBuffer && seen[*shape as usize] == 0
    });
    assert_eq!(missing.collect::<Vec<_>>(), []);
}
