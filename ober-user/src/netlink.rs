//! What the kernel says of interfaces and addresses.

/// How an interface runs XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Native,
    Generic,
}

pub fn xdp_mode(_interface: &str) -> Option<Mode> {
    None
}
