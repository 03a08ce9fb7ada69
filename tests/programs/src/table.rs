//! The table. A line for each program: constant, name in the search path (or file), origin, what it is wanted for, why, and the
//! arguments with which it prints its version, with its exit status where that is not 0.
//!
//! A C compiler is not among them: without it this program could not have been built.

use crate::{
    Material,
    Origin::{Cargo, Debian, Rust},
    Program,
    Purpose::{Bench, Build, Ci, Dist, Fuzz, Linker, Machine, Node, Release, Test, Vm},
    Shell, Starter,
};

macro_rules! row {
    ($name:literal, $origin:expr, $purpose:expr, $reason:literal, [$($question:literal),+] $($end:literal)?) => {
        Program {
            name: $name,
            origin: $origin,
            purpose: $purpose,
            reason: $reason,
            question: &[$($question),+],
            end: 0 $(+ $end)?,
        }
    };
}

/// A constant of a [`Program`], or of what wraps one; and [`PROGRAMS`], in which none is missing.
macro_rules! programs {
    ($($kind:ident $constant:ident { $($row:tt)* })+) => {
        $(programs!(@ $kind $constant { $($row)* });)+
        /// All of them, in the order in which setup looks for them.
        pub const PROGRAMS: &[Program] = &[$(row!($($row)*)),+];
    };
    (@ program $constant:ident { $($row:tt)* }) => { pub const $constant: Program = row!($($row)*); };
    (@ starter $constant:ident { $($row:tt)* }) => { pub const $constant: Starter = Starter(row!($($row)*)); };
    (@ shell $constant:ident { $($row:tt)* }) => { pub const $constant: Shell = Shell(row!($($row)*)); };
}

programs! {
    // Rust, which the developer has installed.
    program CARGO { "cargo", Rust("cargo"), Build, "builds and runs all of this", ["-V"] }
    program RUSTC { "rustc", Rust("rustc"), Build, "tells where the toolchain is", ["-V"] }
    program RUSTUP { "rustup", Rust("rustup"), Build, "the build of the kernel half calls it", ["-V"] }
    program CARGO_FMT { "cargo-fmt", Rust("rustfmt"), Ci, "checks the formatting", ["--version"] }
    program CARGO_CLIPPY { "cargo-clippy", Rust("clippy"), Ci, "checks the lints", ["--version"] }

    // A node and its surroundings.
    program HAPROXY { "haproxy", Debian("haproxy"), Node, "the workers", ["-v"] }
    program IP { "ip", Debian("iproute2"), Node, "addresses, links and routes of the network namespaces", ["-V"] }
    program BRIDGE { "bridge", Debian("iproute2"), Test, "forwarding of the laboratory's switches", ["-V"] }
    program SS { "ss", Debian("iproute2"), Test, "ends connections as the kernel would", ["-V"] }
    program TC { "tc", Debian("iproute2"), Test, "queueing disciplines, which bootstrap changes by it", ["-V"] }
    program NFT { "nft", Debian("nftables"), Test, "a firewall on the node that drops a VIP's packets", ["--version"] }
    program USERADD { "useradd", Debian("passwd"), Test, "bootstrap makes the workers' account by it", ["--help"] }
    program USERDEL { "userdel", Debian("passwd"), Test, "bootstrap takes that account away by it", ["--help"] }
    program ETHTOOL { "ethtool", Debian("ethtool"), Node, "full checksums on veth, which XDP passes on as they are", ["--version"] }
    program ZEBRA { "/usr/lib/frr/zebra", Debian("frr"), Node, "the routes of FRR", ["-v"] }
    program BGPD { "/usr/lib/frr/bgpd", Debian("frr"), Node, "the router of demo and tests: BGP", ["-v"] }
    program BFDD { "/usr/lib/frr/bfdd", Debian("frr"), Node, "the router of demo and tests: BFD", ["-v"] }
    program VTYSH { "vtysh", Debian("frr"), Node, "configures and asks FRR", ["-h"] }
    program BIRD { "bird", Debian("bird2"), Test, "another router: BGP and BFD", ["--version"] }
    program BIRDC { "birdc", Debian("bird2"), Test, "asks BIRD", ["-h"] 1 }
    program KEEPALIVED { "keepalived", Debian("keepalived"), Node, "the other node of VRRP", ["-v"] }
    program NSD { "nsd", Debian("nsd"), Test, "the name server that discovery asks: SRV, SERVFAIL, answers too long for UDP", ["-v"] }
    program PEBBLE { "pebble", Debian("pebble"), Test, "the authority that certificates are ordered from by ACME", ["-h"] }
    program PEBBLE_NAMES { "pebble-challtestsrv", Debian("pebble"), Test, "the authority's name server", ["-h"] }
    program CURL { "curl", Debian("curl"), Test, "a client that everybody has", ["-V"] }
    program SCONTROL { "scontrol", Debian("slurm-client"), Test, "`scontrol show hostnames`, which our hostlists must agree with", ["-V"] 1 }
    program BPFTOOL { "bpftool", Debian("bpftool"), Test, "takes a program off behind the daemon's back", ["version"] }

    program JOURNALCTL { "journalctl", Debian("systemd"), Test, "`ober logs` becomes it", ["--version"] }
    program SYSTEMD_ANALYZE { "systemd-analyze", Debian("systemd"), Test, "reads the units of the package, and judges what they allow", ["--version"] }

    // Every machine has these, but for containers.
    shell SH { "sh", Debian("dash"), Node, "cleans up when the program that made a laboratory was killed", ["-c", ":"] }
    shell BASH { "bash", Debian("bash"), Test, "completes a line of a command", ["-c", ":"] }
    program SLEEP { "sleep", Debian("coreutils"), Node, "waits", ["--version"] }
    program CAT { "cat", Debian("coreutils"), Test, "writes the files of a script that a command printed", ["--version"] }
    program MKDIR { "mkdir", Debian("coreutils"), Test, "makes their directory", ["--version"] }
    program CP { "cp", Debian("coreutils"), Test, "copies a storage", ["--version"] }
    program RM { "rm", Debian("coreutils"), Node, "removes what a laboratory left", ["--version"] }
    program MOUNT { "mount", Debian("mount"), Node, "the BPF file system, and disks of a test's own", ["-V"] }
    program MKE2FS { "mke2fs", Debian("e2fsprogs"), Test, "a small disk, whose power goes", ["-V"] }
    program UMOUNT { "umount", Debian("mount"), Test, "takes a file system away", ["-V"] }
    starter UNSHARE { "unshare", Debian("util-linux"), Test, "mounts that only one daemon sees", ["-V"] }
    starter NSENTER { "nsenter", Debian("util-linux"), Test, "enters the namespaces of another", ["-V"] }
    starter SETPRIV { "setpriv", Debian("util-linux"), Test, "gives up root, or ends with its parent", ["-V"] }
    starter TIMEOUT { "timeout", Debian("coreutils"), Vm, "limits the clients of another kernel", ["--version"] }
    starter ENV { "env", Debian("coreutils"), Release, "starts with an environment of its own", ["--version"] }
    starter CHROOT { "chroot", Debian("coreutils"), Release, "enters a bare Debian", ["--version"] }

    // Other kernels and other releases.
    program QEMU { "qemu-system-x86_64", Debian("qemu-system-x86"), Vm, "boots other kernels", ["--version"] }
    program MODPROBE { "modprobe", Debian("kmod"), Vm, "the order in which a kernel's modules load", ["-V"] }
    program DEPMOD { "depmod", Debian("kmod"), Vm, "what a kernel's modules depend on", ["-V"] }
    program CPIO { "cpio", Debian("cpio"), Vm, "packs the initramfs", ["--version"] }
    program XZ { "xz", Debian("xz-utils"), Vm, "unpacks the modules of kernels newer than 6.1", ["-V"] }
    program STRIP { "strip", Debian("binutils"), Vm, "makes the guest's programs small", ["--version"] }
    program LDD { "ldd", Debian("libc-bin"), Vm, "the libraries that the guest's programs load", ["--version"] }
    program APT_GET { "apt-get", Debian("apt"), Release, "downloads packages", ["-v"] }
    program APT_CACHE { "apt-cache", Debian("apt"), Release, "which packages there are", ["-v"] }
    program APT_CONFIG { "apt-config", Debian("apt"), Release, "how apt reaches its sources", ["-v"] }
    program DPKG { "dpkg", Debian("dpkg"), Release, "unpacks packages", ["--version"] }
    program MMDEBSTRAP { "mmdebstrap", Debian("mmdebstrap"), Release, "makes the root of a bare Debian", ["--version"] }

    // Packages, and a machine that they are installed on.
    program OBJCOPY { "objcopy", Debian("binutils"), Dist, "parts the program from its debug symbols", ["--version"] }
    program OBJDUMP { "objdump", Debian("binutils"), Dist, "which glibc the program needs", ["--version"] }
    program DPKG_DEB { "dpkg-deb", Debian("dpkg"), Dist, "makes the package for Debian and Ubuntu", ["--version"] }
    program RPMBUILD { "rpmbuild", Debian("rpm"), Dist, "makes the package for RHEL and its kin", ["--version"] }
    program TAR { "tar", Debian("tar"), Dist, "makes the archive for other systems", ["--version"] }
    program ZSTD { "zstd", Debian("zstd"), Dist, "makes it small", ["--version"] }
    program GZIP { "gzip", Debian("gzip"), Dist, "makes the layers of the container image small", ["--version"] }
    program SHA256SUM { "sha256sum", Debian("coreutils"), Dist, "the sums of the packages", ["--version"] }
    starter NICE { "nice", Debian("coreutils"), Machine, "leaves the cores to others", ["--version"] }
    program QEMU_IMG { "qemu-img", Debian("qemu-utils"), Machine, "a disk with snapshots", ["--version"] }

    // Building.
    program GXX { "g++", Debian("g++"), Fuzz, "libFuzzer is C++", ["--version"] }
    program BPF_LINKER { "bpf-linker", Cargo("0.13.0"), Build, "links the kernel half", ["--version"] }
    program GIT { "git", Debian("git"), Ci, "the copy of the advisory database, and its date", ["--version"] }
    program CARGO_DENY { "cargo-deny", Cargo("0.20.2"), Ci, "checks the licences of every dependency", ["--version"] }
}

/// Files that are no programs.
pub const MATERIALS: &[Material] = &[
    Material {
        file: "/usr/lib/llvm-22/lib/libLLVM.so",
        package: "llvm-22-dev",
        purpose: Linker,
        reason: "the LLVM of rustc 1.95, which bpf-linker is built on",
    },
    Material {
        file: "bpf/xdpfilt_alw_ip.o",
        package: "xdp-tools",
        purpose: Bench,
        reason: "xdp-filter, which the data plane is measured against",
    },
];
