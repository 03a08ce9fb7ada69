//! The data plane on the real kernel.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod losses;
mod routers;

use ober_tests::plane::{LIMITS, config};
use ober_user::dataplane::{Plane, detach};

struct Pins(String);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = detach(std::path::Path::new("/sys/fs/bpf"), &self.0) {
            eprintln!("{error}");
        }
    }
}

#[test]
fn the_programs_pass_the_verifier_and_their_maps_are_adopted_by_the_next_start() {
    let instance = format!("load-{}", std::process::id());
    let _pins = Pins(instance.clone());
    let first = Plane::load(&config(&instance, LIMITS), [1, 2]).unwrap();
    assert!(!first.adopted);
    drop(first);
    assert!(
        Plane::load(&config(&instance, LIMITS), [1, 2])
            .unwrap()
            .adopted
    );
    assert!(
        !Plane::load(&config(&instance, LIMITS), [3, 4])
            .unwrap()
            .adopted,
        "another key must not adopt"
    );
}
