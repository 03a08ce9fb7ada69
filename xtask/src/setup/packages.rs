//! The Debian and Ubuntu packages and the parts of the Rust toolchain, each with the reason it is wanted.

use super::Purpose::{self, Build, Ci, Fuzz, Linker, Node, Test, Vm};
use crate::shell::{command, find, read};
use std::path::Path;

/// A package and what shows that its content is there, whoever installed it.
pub(super) struct Package {
    pub(super) name: &'static str,
    /// A program in the search path, or a file when it begins with a slash.
    proof: &'static str,
    pub(super) purpose: Purpose,
    pub(super) reason: &'static str,
}

impl Package {
    pub(super) fn is_there(&self) -> bool {
        if self.proof.starts_with('/') {
            Path::new(self.proof).exists()
        } else {
            find(self.proof).is_some()
        }
    }
}

const fn package(
    name: &'static str,
    proof: &'static str,
    purpose: Purpose,
    reason: &'static str,
) -> Package {
    Package {
        name,
        proof,
        purpose,
        reason,
    }
}

/// Every one of them. A C compiler is not among them: without it this program could not have been built.
pub(super) const PACKAGES: [Package; 18] = [
    package(
        "llvm-22-dev",
        "/usr/lib/llvm-22/lib/libLLVM.so",
        Linker,
        "the LLVM of rustc 1.95, which bpf-linker is built on",
    ),
    package("haproxy", "haproxy", Node, "the workers"),
    package("g++", "g++", Fuzz, "libFuzzer is C++"),
    package(
        "iproute2",
        "ip",
        Node,
        "network namespaces, veth pairs and taps of demo, tests and bench",
    ),
    package(
        "ethtool",
        "ethtool",
        Node,
        "full checksums on veth, which XDP passes on as they are",
    ),
    package(
        "frr",
        "/usr/lib/frr/bgpd",
        Node,
        "the router of demo and tests: BGP and BFD",
    ),
    package("bird2", "bird", Test, "another router: BGP and BFD"),
    package("keepalived", "keepalived", Node, "the other node of VRRP"),
    package(
        "nsd",
        "nsd",
        Test,
        "the name server that discovery asks: SRV, SERVFAIL, answers too long for UDP",
    ),
    package(
        "pebble",
        "pebble-challtestsrv",
        Test,
        "the authority that certificates are ordered from by ACME, and its name server",
    ),
    package(
        "slurm-client",
        "scontrol",
        Test,
        "`scontrol show hostnames`, which our hostlists must agree with",
    ),
    package(
        "xdp-tools",
        "xdp-filter",
        Purpose::Bench,
        "xdp-filter, which the data plane is measured against",
    ),
    package(
        "wrk",
        "wrk",
        Purpose::Bench,
        "TLS requests through the whole chain",
    ),
    package(
        "qemu-system-x86",
        "qemu-system-x86_64",
        Vm,
        "boots other kernels",
    ),
    package(
        "kmod",
        "modprobe",
        Vm,
        "the order in which a kernel's modules load",
    ),
    package("cpio", "cpio", Vm, "packs the initramfs"),
    package(
        "xz-utils",
        "xz",
        Vm,
        "unpacks the modules of kernels newer than 6.1",
    ),
    package("binutils", "strip", Vm, "makes the guest's programs small"),
];

/// A part of the pinned toolchain and a file of it, below the toolchain's root.
pub(super) struct Component {
    pub(super) name: &'static str,
    file: &'static str,
    pub(super) purpose: Purpose,
    pub(super) reason: &'static str,
}

impl Component {
    pub(super) fn is_there(&self) -> bool {
        let root = read(command("rustc").args(["--print", "sysroot"]));
        root.is_ok_and(|root| Path::new(root.trim()).join(self.file).is_file())
    }
}

pub(super) const COMPONENTS: [Component; 3] = [
    Component {
        name: "rust-src",
        file: "lib/rustlib/src/rust/library/core/src/lib.rs",
        purpose: Build,
        reason: "the kernel half builds its own `core`",
    },
    Component {
        name: "rustfmt",
        file: "bin/rustfmt",
        purpose: Ci,
        reason: "checks the formatting",
    },
    Component {
        name: "clippy",
        file: "bin/cargo-clippy",
        purpose: Ci,
        reason: "checks the lints",
    },
];
