//! Received messages: every byte is checked, and no route is kept.

use super::{
    AS_TRANS, BTreeSet, Bytes, Capabilities, Capability, DecodeError, Duration, Family, HEADER,
    Kind, LONGEST, Notification, Open, OpenMessage, Raw, Refresh, RouteRefreshSubtype,
    decode_message,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Open(Open),
    Keepalive,
    Notification(Notification),
    /// Not checked yet: that needs the terms of the session.
    Update(Raw),
    /// `None`: a family that this node does not have.
    Refresh(Option<Family>, Refresh),
}

impl Received {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open(_) => Kind::Open,
            Self::Keepalive => Kind::Keepalive,
            Self::Notification(_) => Kind::Notification,
            Self::Update(_) => Kind::Update,
            Self::Refresh(..) => Kind::Refresh,
        }
    }
}

/// Bytes of the first message in the buffer; `None`: its header is incomplete. RFC 4271 section 6.1.
pub fn frame(buffer: &[u8]) -> Result<Option<usize>, Notification> {
    if buffer.iter().take(16).any(|&byte| byte != 0xff) {
        return Err(Notification::NOT_SYNCHRONIZED);
    }
    let Some(&[high, low, kind]) = buffer.get(16..HEADER) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let good = match kind {
        1 => 29..=LONGEST,
        2 => 23..=LONGEST,
        3 => 21..=LONGEST,
        4 => HEADER..=HEADER,
        // RFC 7313 has an error of its own for a wrong length.
        5 => HEADER..=LONGEST,
        _ => return Err(Notification::with(1, 3, [kind])),
    };
    if good.contains(&length) {
        Ok(Some(length))
    } else {
        Err(Notification::with(1, 2, [high, low]))
    }
}

/// Decodes one complete message.
pub fn decode(frame: &[u8]) -> Result<Received, Notification> {
    use rustbgpd_wire::Message as Wire;
    if frame.get(18) == Some(&(Kind::Refresh as u8)) && frame.len() != HEADER + 4 {
        return Err(Notification::with(7, 1, frame));
    }
    let mut bytes = Bytes::copy_from_slice(frame);
    let limit = u16::try_from(LONGEST).unwrap_or(u16::MAX);
    match decode_message(&mut bytes, limit).map_err(|error| complaint(&error))? {
        Wire::Open(open) => Ok(Received::Open(open_of(&open))),
        Wire::Keepalive => Ok(Received::Keepalive),
        Wire::Notification(message) => {
            Ok(Received::Notification(Notification::from_wire(&message)))
        }
        Wire::Update(update) => Ok(Received::Update(update)),
        Wire::RouteRefresh(refresh) => {
            let family = refresh
                .afi()
                .zip(refresh.safi())
                .and_then(|(afi, safi)| Family::from_wire(afi, safi));
            Ok(match refresh.subtype() {
                RouteRefreshSubtype::Normal => Received::Refresh(family, Refresh::Request),
                RouteRefreshSubtype::BoRR => Received::Refresh(family, Refresh::Begin),
                RouteRefreshSubtype::EoRR => Received::Refresh(family, Refresh::End),
                // RFC 7313 section 5: to be ignored.
                _ => Received::Refresh(None, Refresh::Request),
            })
        }
        _ => Err(Notification::bare(1, 3)),
    }
}

/// The NOTIFICATION for bytes that are not a message.
pub(super) fn complaint(error: &DecodeError) -> Notification {
    let (code, subcode, data) = error.to_notification();
    Notification::with(code.as_u8(), subcode, &data[..])
}

fn open_of(open: &OpenMessage) -> Open {
    let mut able = Capabilities::default();
    let mut named_families = false;
    for capability in &open.capabilities {
        match capability {
            Capability::MultiProtocol { afi, safi } => {
                named_families = true;
                able.families.extend(Family::from_wire(*afi, *safi));
            }
            Capability::Unknown { code: 1, .. } => named_families = true,
            Capability::FourOctetAs { .. } => able.four_octet_as = true,
            Capability::RouteRefresh => able.refresh = true,
            Capability::EnhancedRouteRefresh => able.enhanced_refresh = true,
            Capability::ExtendedNextHop(families) => {
                able.extended_next_hop |= families.iter().any(|family| {
                    Family::from_wire(family.nlri_afi, family.nlri_safi) == Some(Family::Ipv4)
                        && family.next_hop_afi == Family::Ipv6.afi()
                });
            }
            _ => {}
        }
    }
    if !named_families {
        able.families = BTreeSet::from([Family::Ipv4]);
    }
    // RFC 6793 section 4.2.1: AS_TRANS is not a valid AS number of a neighbour.
    let asn = match open.four_byte_as() {
        asn if asn == u32::from(AS_TRANS) => 0,
        asn => asn,
    };
    Open {
        asn,
        hold_time: Duration::from_secs(open.hold_time.into()),
        id: open.bgp_identifier,
        capabilities: able,
    }
}
