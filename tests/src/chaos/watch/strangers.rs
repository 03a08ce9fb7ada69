//! A client that is on no list asks for a connection again and again, and must never get one.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{net::TcpSocket, time::timeout};

use super::Watchers;
use crate::{chaos::world::STRANGER, lab::VIP4, nodes::one::OPEN};

const PATIENCE: Duration = Duration::from_millis(400);

pub(super) fn watch(watch: &Watchers<'_>) -> Result<()> {
    watch.world.fabric.client.tokio(async || {
        while watch.goes_on() {
            let began = Instant::now();
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(STRANGER, 0))?;
            let door = socket.connect(SocketAddr::new(VIP4, OPEN));
            if let Ok(Ok(_)) = timeout(PATIENCE, door).await {
                watch
                    .board
                    .breach("a stranger was admitted to the listed clients' port");
            }
            watch.count(|requests| requests.strangers += 1);
            tokio::time::sleep(PATIENCE.saturating_sub(began.elapsed())).await;
        }
        Ok(())
    })?
}
