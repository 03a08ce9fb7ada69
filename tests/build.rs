//! Tells the benchmark where the kernel half's build left the wrapper program.

fn main() {
    if let Ok(objects) = std::env::var("DEP_OBER_EBPF_OBJECTS") {
        println!("cargo:rustc-env=OBER_OBJECTS={objects}");
    }
}
