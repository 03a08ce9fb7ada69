//! NOTIFICATION: an error, and the end of the session. RFC 4271 section 6, RFC 4486, RFC 6608, RFC 9384.

use super::{Bytes, HEADER, LONGEST, NotificationCode, NotificationMessage, fmt, notification};
use crate::system::text::tame;

/// Bytes of the longest shutdown text (RFC 9003).
const LONGEST_TEXT: usize = 255;
/// Bytes of data that fit behind code and subcode.
const MOST_DATA: usize = LONGEST - HEADER - 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub code: u8,
    pub subcode: u8,
    pub data: Vec<u8>,
}

impl Notification {
    pub const NOT_SYNCHRONIZED: Self = Self::bare(1, 1);
    pub const OPEN_UNSPECIFIC: Self = Self::bare(2, 0);
    pub const BAD_PEER_AS: Self = Self::bare(2, 2);
    pub const BAD_IDENTIFIER: Self = Self::bare(2, 3);
    pub const UNACCEPTABLE_HOLD_TIME: Self = Self::bare(2, 6);
    pub const HOLD_TIMER_EXPIRED: Self = Self::bare(4, 0);
    pub const DECONFIGURED: Self = Self::bare(6, 3);
    pub const CONFIGURATION_CHANGED: Self = Self::bare(6, 6);
    /// RFC 4486 section 4.
    pub const REJECTED: Self = Self::bare(6, 5);
    pub const COLLISION: Self = Self::bare(6, 7);
    /// RFC 9384.
    pub const BFD_DOWN: Self = Self::bare(6, 10);

    pub const fn bare(code: u8, subcode: u8) -> Self {
        Self {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    /// Data that is too long, such as a message that was too long, is cut to its beginning.
    pub fn with(code: u8, subcode: u8, data: impl Into<Vec<u8>>) -> Self {
        let mut data = data.into();
        data.truncate(MOST_DATA);
        Self {
            code,
            subcode,
            data,
        }
    }

    /// Does it have the same code and subcode, whatever its data?
    pub fn is(&self, other: &Self) -> bool {
        (self.code, self.subcode) == (other.code, other.subcode)
    }

    /// Administrative shutdown with a reason for the operator (RFC 9003), of which at most 255 bytes are sent.
    pub fn shutdown(text: &str) -> Self {
        let data = if text.is_empty() {
            Vec::new()
        } else {
            notification::encode_shutdown_communication(text).to_vec()
        };
        debug_assert!(data.len() <= LONGEST_TEXT + 1);
        Self::with(6, 2, data)
    }

    /// A message that is unexpected in the state (RFC 6608): `subcode` is the state's.
    pub fn unexpected(subcode: u8, kind: super::Kind) -> Self {
        Self::with(5, subcode, [kind as u8])
    }

    /// The reason for the operator, if there is one (RFC 9003).
    pub fn text(&self) -> Option<String> {
        let message = self.to_wire();
        let text = notification::extract_shutdown_communication(&message).ok()??;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The name of code and subcode.
    pub fn name(&self) -> &'static str {
        notification::description(NotificationCode::from_u8(self.code), self.subcode)
    }

    pub(super) fn to_wire(&self) -> NotificationMessage {
        let code = NotificationCode::from_u8(self.code);
        NotificationMessage::new(code, self.subcode, Bytes::from(self.data.clone()))
    }

    pub(super) fn from_wire(message: &NotificationMessage) -> Self {
        Self::with(message.code.as_u8(), message.subcode, &message.data[..])
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}/{})", self.name(), self.code, self.subcode)?;
        match self.text() {
            Some(text) => write!(out, ": {}", tame(&text)),
            None => Ok(()),
        }
    }
}
