//! Builds the kernel half with the same pinned toolchain and leaves the object where `dataplane` includes it from.

use anyhow::Result;
use aya_build::{Package, Toolchain, build_ebpf};

#[expect(
    clippy::disallowed_methods,
    reason = "a build script has one thread, and the builder takes no environment"
)]
fn main() -> Result<()> {
    // The BPF target has no prebuilt `core`; `-Z build-std` is the only unstable feature used, on the pinned release.
    // SAFETY: a build script has one thread.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let package = Package {
        name: "ober-ebpf",
        root_dir: concat!(env!("CARGO_MANIFEST_DIR"), "/../ober-ebpf"),
        ..Package::default()
    };
    println!("cargo:rerun-if-changed=../ober-common/src");
    if let Some(objects) = std::env::var_os("OUT_DIR") {
        println!("cargo:objects={}", objects.display());
    }
    build_ebpf([package], Toolchain::Custom("1.95.0"))
}
