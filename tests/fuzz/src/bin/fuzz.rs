//! One decoder under libFuzzer, named by `OBER_FUZZ_TARGET`. libFuzzer owns the arguments and `main`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ober_fuzz::{Counting, Target, targets};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("OBER_FUZZ_TARGET").unwrap_or_default();
    targets::named(&name).unwrap_or_else(|| {
        eprintln!("OBER_FUZZ_TARGET={name} is no target; `cargo xtask fuzz` names them");
        std::process::exit(2);
    })
});

fuzz_target!(|bytes: &[u8]| {
    TARGET.run(bytes);
});
