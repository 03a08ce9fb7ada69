//! Unpredictable bytes.

use std::io;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes from the kernel.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_unspecified| io::Error::other("the kernel gives no random bytes"))?;
    Ok(bytes)
}
