//! The contract between the kernel half (`ober-ebpf`) and the user half (`ober-user`): the bytes in the maps, the
//! reading of packets, and the one flow hash by which both halves choose a worker.
//!
//! The crate is `no_std`, has no dependencies, and holds no policy, only numbers.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod address;
pub mod bench;
pub mod flow;
pub mod packet;
