//! What a request carries.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::pattern::{Pattern, Walk};

/// The body of a request: a pattern, sent piece by piece, or nothing.
#[derive(Debug)]
pub(super) struct Payload(Walk);

impl Payload {
    pub(super) const NONE: Self = Self(Pattern::new(0, 0).walk());

    pub(super) const fn of(content: Pattern) -> Self {
        Self(content.walk())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.step().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.left())
    }
}
