//! What the node tells whoever asks over HTTP on the loopback address.
pub mod door;
pub mod http;
pub mod metrics;
mod page;
#[cfg(test)]
pub(crate) mod sample;
mod shared;
mod upstream;
