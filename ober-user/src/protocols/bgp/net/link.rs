//! One TCP connection: bytes to messages and back.

use std::{io, os::fd::AsRawFd as _, time::Duration};

use bytes::{Buf as _, BytesMut};
use nix::sys::socket::{MsgFlags, recv};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::protocols::bgp::message::{self, Message, Notification, Received};

/// Read at once.
const CHUNK: usize = 16 * 1024;
/// A neighbour that takes nothing while this much is waiting for it is none.
const MOST_WAITING: usize = 1 << 20;
/// What a connection that cannot be written to any more may still hold for us.
const MOST_LEFT: usize = 1 << 20;
/// Refused connections whose end is waited for at once.
const MOST_REFUSED: usize = 16;
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What came of waiting.
#[derive(Debug)]
pub(super) enum Came {
    Message(Received),
    Garbage(Notification),
    Closed(String),
    /// All that was waiting to be sent is in the kernel's hands.
    Written,
}

/// Writing failed.
#[derive(Debug)]
struct Broken {
    why: String,
    /// Bytes that are still read: a neighbour that takes nothing may go on sending for ever.
    left: usize,
}

impl Broken {
    fn of(why: &impl ToString) -> Self {
        Self {
            why: why.to_string(),
            left: MOST_LEFT,
        }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Told when everything that the neighbour said before has been heard.
    broken: Option<Broken>,
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            broken: None,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Is all that was sent in the kernel's hands?
    pub(super) fn is_written(&self) -> bool {
        self.outbox.is_empty() || self.broken.is_some()
    }

    /// What happens next. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Came {
        // Messages that are here already must not keep the others of this thread waiting.
        tokio::task::consume_budget().await;
        loop {
            if let Some(came) = self.message() {
                return came;
            }
            if let Some(broken) = &self.broken {
                if broken.left > 0 && self.read_left() {
                    continue;
                }
                return Came::Closed(self.broken.take().map_or_else(String::new, |it| it.why));
            }
            let waits = !self.outbox.is_empty();
            let interest = if waits {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            match self.stream.ready(interest).await {
                Err(error) => return Came::Closed(error.to_string()),
                Ok(ready) if ready.is_writable() && waits => {
                    self.write();
                    if self.outbox.is_empty() {
                        return Came::Written;
                    }
                }
                Ok(_) => {
                    if let Some(reason) = self.read() {
                        return Came::Closed(reason);
                    }
                }
            }
        }
    }

    fn message(&mut self) -> Option<Came> {
        match message::frame(&self.inbox) {
            Err(notification) => Some(Came::Garbage(notification)),
            Ok(Some(length)) if self.inbox.len() >= length => {
                let frame = self.inbox.split_to(length);
                Some(message::decode(&frame).map_or_else(Came::Garbage, Came::Message))
            }
            Ok(_) => None,
        }
    }

    /// Why the connection is over, if it is.
    fn read(&mut self) -> Option<String> {
        self.inbox.reserve(CHUNK);
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) if self.inbox.is_empty() => Some("closed by the neighbour".into()),
            Ok(0) => Some("closed by the neighbour in the middle of a message".into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Some(error.to_string()),
            _ => None,
        }
    }

    /// Reads what the kernel still has, also where the runtime has not been told of it yet. Was there anything?
    fn read_left(&mut self) -> bool {
        let mut bytes = [0; CHUNK];
        let got = recv(self.stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT);
        let got = got.unwrap_or_default();
        self.inbox
            .extend_from_slice(bytes.get(..got).unwrap_or_default());
        if let Some(broken) = &mut self.broken {
            broken.left = broken.left.saturating_sub(got);
        }
        got > 0
    }

    fn write(&mut self) {
        while !self.outbox.is_empty() {
            match self.stream.try_write(&self.outbox) {
                Ok(written) => self.outbox.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.broken = Some(Broken::of(&error));
                    return;
                }
            }
        }
    }

    /// At once, as far as the kernel takes it.
    pub(super) fn send(&mut self, message: &Message) {
        if self.broken.is_some() {
            // The neighbour cannot hear it any more.
            return;
        }
        match message.encode() {
            Ok(bytes) => self.outbox.extend_from_slice(&bytes),
            Err(error) => self.broken = Some(Broken::of(&error)),
        }
        if self.broken.is_none() {
            self.write();
        }
        if self.outbox.len() > MOST_WAITING {
            self.broken = Some(Broken::of(&"the neighbour takes nothing any more"));
        }
    }

    /// Tells the other end that the connection is not wanted (RFC 4486 section 4). A few at a time are given the time to
    /// hear it; what is said to others may be overtaken by the end of the connection.
    pub(super) fn refuse(mut self, farewells: &mut JoinSet<()>) {
        self.send(&Message::Notification(Notification::REJECTED));
        if farewells.len() < MOST_REFUSED {
            self.close(farewells);
        }
    }

    /// Closes after everything sent has gone.
    pub(super) fn close(mut self, farewells: &mut JoinSet<()>) {
        farewells.spawn(async move {
            // Whatever comes of it, the connection is over.
            match timeout(FAREWELL, self.last_words()).await {
                Ok(_) | Err(_) => {}
            }
        });
    }

    /// What still comes in is read and forgotten: a socket closed with unread bytes would be reset, and the reset
    /// overtakes the last words.
    async fn last_words(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() && self.broken.is_none() {
            self.stream.writable().await?;
            self.write();
        }
        self.stream.shutdown().await?;
        while self.read().is_none() {
            self.inbox.clear();
            self.stream.readable().await?;
        }
        Ok(())
    }
}
