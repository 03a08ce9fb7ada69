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

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// Bytes that may wait to be sent; a neighbour that lets more accumulate counts as gone.
const MOST_WAITING: usize = 1 << 20;
/// Bytes that are still read from a connection that cannot be written to.
const MOST_LEFT: usize = 1 << 20;
/// Refused connections that may wait for their end at the same time.
const MOST_REFUSED: usize = 16;
/// How long sending the last messages may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The result of waiting.
#[derive(Debug)]
pub(super) enum Came {
    Message(Received),
    Garbage(Notification),
    Closed(String),
    /// The kernel has taken everything that was waiting to be sent.
    Written,
}

/// Writing failed.
#[derive(Debug)]
struct Broken {
    why: String,
    /// Bytes that are still read: a neighbour that does not read may go on sending for ever.
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
    /// Reported after everything that the neighbour sent before was read.
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

    /// Has the kernel taken everything that was sent?
    pub(super) fn is_written(&self) -> bool {
        self.outbox.is_empty() || self.broken.is_some()
    }

    /// The next event. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Came {
        // A queue of messages must not block the other tasks of this thread.
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

    /// Returns why the connection has ended, if it has.
    fn read(&mut self) -> Option<String> {
        self.inbox.reserve(CHUNK);
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) if self.inbox.is_empty() => Some("closed by the neighbour".into()),
            Ok(0) => Some("closed by the neighbour in the middle of a message".into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Some(error.to_string()),
            _ => None,
        }
    }

    /// Reads what the kernel still has, even if the runtime has no notice of it yet. Returns whether there was anything.
    fn read_left(&mut self) -> bool {
        let mut bytes = [0; CHUNK];
        let got =
            recv(self.stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).unwrap_or_default();
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

    /// Sends at once what the kernel accepts.
    pub(super) fn send(&mut self, message: &Message) {
        if self.broken.is_some() {
            // The neighbour cannot receive any more.
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
            self.broken = Some(Broken::of(
                &"the neighbour has stopped reading from the connection",
            ));
        }
    }

    /// Refuses the connection (RFC 4486 section 4). A limited number of refusals wait until they are received; further ones may
    /// be overtaken by the closing of the connection.
    pub(super) fn refuse(mut self, farewells: &mut JoinSet<()>) {
        self.send(&Message::Notification(Notification::REJECTED));
        if farewells.len() < MOST_REFUSED {
            self.close(farewells);
        }
    }

    /// Closes after everything sent before has left.
    pub(super) fn close(mut self, farewells: &mut JoinSet<()>) {
        farewells.spawn(async move {
            // The connection is over whatever the result.
            match timeout(FAREWELL, self.last_words()).await {
                Ok(_) | Err(_) => {}
            }
        });
    }

    /// Received bytes are read and discarded: closing a socket with unread bytes resets the connection, and the reset overtakes
    /// the last messages.
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
