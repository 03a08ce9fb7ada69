//! The body of a request.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::pace::Pace;
use crate::pattern::{Pattern, Walk};

/// The body of a request: a pattern, sent piece by piece, or nothing.
#[derive(Debug)]
pub(super) struct Payload {
    walk: Walk,
    length: u64,
    pace: Option<(Pace, Pin<Box<Sleep>>)>,
}

impl Payload {
    pub(super) const NONE: Self = Self::of(Pattern::new(0, 0));

    pub(super) const fn of(content: Pattern) -> Self {
        Self {
            walk: content.walk(),
            length: content.length,
            pace: None,
        }
    }

    pub(super) fn paced(self, pace: Option<Pace>) -> Self {
        let pace = pace.map(|pace| (pace, Box::pin(sleep_until(pace.due(0)))));
        Self { pace, ..self }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some((_, sleep)) = &mut self.pace {
            ready!(sleep.as_mut().poll(context));
        }
        let piece = self.walk.step();
        let sent = self.length - self.walk.left();
        if let Some((pace, sleep)) = &mut self.pace {
            sleep.as_mut().reset(pace.due(sent));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.walk.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.walk.left())
    }
}
