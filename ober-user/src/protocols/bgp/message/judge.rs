//! What an UPDATE says, after RFC 7606: which errors end the session, and which cost its routes alone.

use rustbgpd_wire::{
    ErrorDisposition, ParsedUpdate, UpdateValidationOptions,
    validate::validate_update_attributes_with_context,
};

use super::{
    BTreeSet, Bytes, Family, IpNet, Notification, PathAttribute, Prefix, Raw, Safi,
    received::complaint,
};

/// Types of path attributes.
const NEXT_HOP: u8 = 3;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
/// The bit of an attribute's flags that makes its length two bytes long.
const EXTENDED_LENGTH: u8 = 0x10;
/// A subcode of code 3.
const UNRECOGNIZED_WELL_KNOWN: u8 = 2;

/// What the session agreed on, as far as it decides how an UPDATE is read.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// AS numbers have four octets.
    pub wide: bool,
    /// The neighbour is of our AS.
    pub internal: bool,
    pub families: &'t BTreeSet<Family>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub announced: Vec<IpNet>,
    /// With those that are treated as withdrawn for an attribute that is wrong.
    pub withdrawn: Vec<IpNet>,
    /// Attribute types that were wrong. Not empty: the UPDATE was malformed.
    pub malformed: BTreeSet<u8>,
}

/// Looks into an UPDATE. An error ends the session; what does not is told in the answer.
pub fn judge(update: &Raw, terms: Terms<'_>) -> Result<Judged, Notification> {
    let Concerned {
        attributes,
        others,
        reaches_others,
    } = Concerned::of(&update.path_attributes, terms.families)?;
    let update = Raw {
        path_attributes: attributes,
        ..update.clone()
    };
    let revised = update.parse_revised(terms.wide, terms.internal, false, &[]);
    let revised = revised.map_err(|error| complaint(&error))?;
    let mut worst: Option<(ErrorDisposition, Notification)> = None;
    let mut judged = Judged::default();
    for wrong in &revised.malformed {
        judged.malformed.insert(wrong.type_code);
        raise(&mut worst, wrong.disposition, || complaint(&wrong.error));
    }
    let update = revised.update;
    judged.read(&update);
    if let Some((type_code, disposition, notification)) = validate(&update, terms, &judged) {
        judged.malformed.insert(type_code);
        raise(&mut worst, disposition, || notification);
    }
    let reaches = reaches_others || !judged.announced.is_empty();
    match worst {
        None | Some((ErrorDisposition::AttributeDiscard, _)) => {}
        // RFC 7606 section 5.2: with attributes but nothing reachable, it is not sure that the prefixes were found.
        Some((ErrorDisposition::TreatAsWithdraw, notification)) if others && !reaches => {
            return Err(notification);
        }
        Some((ErrorDisposition::TreatAsWithdraw, _)) => {
            let announced = std::mem::take(&mut judged.announced);
            judged.withdrawn.extend(announced);
        }
        Some((ErrorDisposition::SessionReset, notification)) => return Err(notification),
    }
    Ok(judged)
}

/// RFC 7606 section 3 (h): of several errors the one with the strongest consequence holds.
fn raise(
    worst: &mut Option<(ErrorDisposition, Notification)>,
    disposition: ErrorDisposition,
    notification: impl FnOnce() -> Notification,
) {
    if worst.as_ref().is_none_or(|(known, _)| *known < disposition) {
        *worst = Some((disposition, notification()));
    }
}

impl Judged {
    fn read(&mut self, update: &ParsedUpdate) {
        self.announced = classic(&update.announced);
        self.withdrawn = classic(&update.withdrawn);
        for attribute in &update.attributes {
            match attribute {
                PathAttribute::MpReachNlri(reach) if reach.safi == Safi::Unicast => {
                    self.announced.extend(prefixes(&reach.announced));
                }
                PathAttribute::MpUnreachNlri(unreach) if unreach.safi == Safi::Unicast => {
                    self.withdrawn.extend(prefixes(&unreach.withdrawn));
                }
                _ => {}
            }
        }
    }
}

/// The first attribute that is well-formed and yet wrong, or missing: its type, what it costs, and what would be said.
fn validate(
    update: &ParsedUpdate,
    terms: Terms<'_>,
    judged: &Judged,
) -> Option<(u8, ErrorDisposition, Notification)> {
    let mut options = UpdateValidationOptions::default();
    // Next hops are not used, so what kind of address they are is the neighbour's business.
    options.allow_ipv4_link_local_mp_reach_next_hop = true;
    options.link_local_next_hop = true;
    let has_classic = !update.announced.is_empty();
    let checked = validate_update_attributes_with_context(
        &update.attributes,
        !judged.announced.is_empty(),
        has_classic,
        !terms.internal,
        options,
    );
    if let Err(wrong) = checked {
        // RFC 4271 section 6.3, which RFC 7606 leaves as it is: who sends such an attribute relies on its being understood.
        let disposition = if wrong.error.subcode == UNRECOGNIZED_WELL_KNOWN {
            ErrorDisposition::SessionReset
        } else {
            wrong.error.disposition
        };
        let notification = Notification::with(3, wrong.error.subcode, wrong.error.data);
        return Some((wrong.type_code, disposition, notification));
    }
    // RFC 7606 section 3 (d), of internal neighbours too; the codec asks external ones alone.
    let next_hop = |attribute: &PathAttribute| matches!(attribute, PathAttribute::NextHop(_));
    let lacks = has_classic
        && !update.attributes.iter().any(next_hop)
        && !judged.malformed.contains(&NEXT_HOP);
    lacks.then(|| {
        let notification = Notification::with(3, 3, [NEXT_HOP]);
        (NEXT_HOP, ErrorDisposition::TreatAsWithdraw, notification)
    })
}

/// The attributes of an UPDATE that concern the session.
struct Concerned {
    /// Without routes of families that were not agreed on: those are not looked into, whatever they say (RFC 4760
    /// section 7 lets a session end for an attribute that is incorrect, not for its family).
    attributes: Bytes,
    /// Is there any beside `MP_UNREACH_NLRI`?
    others: bool,
    /// Does it announce something of a family that was not agreed on?
    reaches_others: bool,
}

impl Concerned {
    fn of(all: &Bytes, families: &BTreeSet<Family>) -> Result<Self, Notification> {
        let mut concerned = Self {
            attributes: all.clone(),
            others: false,
            reaches_others: false,
        };
        let (mut kept, mut skipped) = (Vec::with_capacity(all.len()), false);
        let mut routes = BTreeSet::new();
        let mut rest = &all[..];
        while let Some(Attribute {
            whole,
            kind,
            value,
            after,
        }) = split(rest)
        {
            concerned.others |= kind != MP_UNREACH_NLRI;
            let is_routes = matches!(kind, MP_REACH_NLRI | MP_UNREACH_NLRI);
            if is_routes && !routes.insert(kind) {
                // RFC 7606 section 3 (g).
                return Err(Notification::bare(3, 1));
            }
            if is_routes && is_of_others(value, families) {
                skipped = true;
                concerned.reaches_others |= kind == MP_REACH_NLRI;
            } else {
                kept.extend_from_slice(whole);
            }
            rest = after;
        }
        // What cannot be taken apart is for the codec to judge.
        concerned.others |= !rest.is_empty();
        if skipped {
            kept.extend_from_slice(rest);
            concerned.attributes = kept.into();
        }
        Ok(concerned)
    }
}

/// A path attribute among others.
struct Attribute<'b> {
    whole: &'b [u8],
    kind: u8,
    value: &'b [u8],
    after: &'b [u8],
}

/// The first attribute; `None`: there is none that is whole.
fn split(bytes: &[u8]) -> Option<Attribute<'_>> {
    let (&[flags, kind], rest) = bytes.split_first_chunk()?;
    let (length, head) = if flags & EXTENDED_LENGTH == 0 {
        (usize::from(*rest.first()?), 3)
    } else {
        let &length = rest.first_chunk()?;
        (usize::from(u16::from_be_bytes(length)), 4)
    };
    let (whole, after) = bytes.split_at_checked(head + length)?;
    Some(Attribute {
        whole,
        kind,
        value: whole.get(head..)?,
        after,
    })
}

/// Are these routes of a family that was not agreed on? What is too short to name one is not.
fn is_of_others(value: &[u8], families: &BTreeSet<Family>) -> bool {
    let Some(&[high, low, safi]) = value.first_chunk() else {
        return false;
    };
    let family = match (u16::from_be_bytes([high, low]), safi) {
        (1, 1) => Some(Family::Ipv4),
        (2, 1) => Some(Family::Ipv6),
        _ => None,
    };
    family.is_none_or(|family| !families.contains(&family))
}

fn classic(entries: &[rustbgpd_wire::Ipv4NlriEntry]) -> Vec<IpNet> {
    let prefix = |entry: &rustbgpd_wire::Ipv4NlriEntry| {
        IpNet::new(entry.prefix.addr.into(), entry.prefix.len).ok()
    };
    entries.iter().filter_map(prefix).collect()
}

fn prefixes(entries: &[rustbgpd_wire::NlriEntry]) -> impl Iterator<Item = IpNet> {
    entries.iter().filter_map(|entry| match entry.prefix {
        Prefix::V4(prefix) => IpNet::new(prefix.addr.into(), prefix.len).ok(),
        Prefix::V6(prefix) => IpNet::new(prefix.addr.into(), prefix.len).ok(),
    })
}
