//! What all programs of this world share: CPUs, and connection attempts of clients that are on no list.

use std::{
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use crate::{
    chaos::world::{STRANGER, World},
    lab::VIP4,
    nodes::one::OPEN,
};

/// Attempts of one flood, as fast as they can be made.
const KNOCKS: usize = 500;

/// A thread for each CPU computes until [`cool`], or for ten seconds.
#[expect(clippy::unnecessary_wraps, reason = "every deed has this form")]
pub(super) fn burn(world: &World, _: usize) -> Result<()> {
    world.burning.store(true, Ordering::Relaxed);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    for _ in 0..threads {
        let burning = Arc::clone(&world.burning);
        std::thread::spawn(move || {
            let began = std::time::Instant::now();
            while burning.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(10) {
                std::hint::spin_loop();
            }
        });
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "every deed has this form")]
pub(super) fn cool(world: &World, _: usize) -> Result<()> {
    world.burning.store(false, Ordering::Relaxed);
    Ok(())
}

/// Strangers ask for a connection and do not wait for an answer.
pub(super) fn knock(world: &World, _: usize) -> Result<()> {
    let vip = SocketAddr::new(VIP4, OPEN);
    world.fabric.client.run(|| -> Result<()> {
        for _ in 0..KNOCKS {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(STRANGER, 0).into())?;
            socket.set_nonblocking(true)?;
            // The SYN is on its way; the socket is closed before the connection can come about.
            if socket.connect(&vip.into()).is_ok() {
                drop(TcpStream::from(socket));
            }
        }
        Ok(())
    })?
}
