//! Checks an UPDATE by RFC 7606: which errors end the session, and which remove its routes alone.

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
/// The flag of an attribute with a length of two bytes.
const EXTENDED_LENGTH: u8 = 0x10;
/// A subcode of error code 3.
const UNRECOGNIZED_WELL_KNOWN: u8 = 2;

/// The agreed terms that decide how an UPDATE is read.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// AS numbers have four octets.
    pub wide: bool,
    /// The neighbour is in the same AS.
    pub internal: bool,
    pub families: &'t BTreeSet<Family>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub announced: Vec<IpNet>,
    /// Includes the prefixes that are treated as withdrawn because of a wrong attribute.
    pub withdrawn: Vec<IpNet>,
    /// Types of wrong attributes. Not empty: the UPDATE was malformed.
    pub malformed: BTreeSet<u8>,
}

/// Checks an UPDATE. An error ends the session; other faults are in the result.
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
    let revised = update
        .parse_revised(terms.wide, terms.internal, false, &[])
        .map_err(|error| complaint(&error))?;
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
        // RFC 7606 section 5.2: with attributes but no announced prefix, the prefixes may not have been found.
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

/// RFC 7606 section 3 (h): of several errors the one with the strongest consequence counts.
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

/// The first attribute that is well-formed but wrong, or missing: its type, the consequence, and the NOTIFICATION if it ends
/// the session.
fn validate(
    update: &ParsedUpdate,
    terms: Terms<'_>,
    judged: &Judged,
) -> Option<(u8, ErrorDisposition, Notification)> {
    let mut options = UpdateValidationOptions::default();
    // Next hops are not used here, so every kind of address is accepted.
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
        // RFC 4271 section 6.3, which RFC 7606 leaves unchanged: a sender of such an attribute relies on its being understood.
        let disposition = if wrong.error.subcode == UNRECOGNIZED_WELL_KNOWN {
            ErrorDisposition::SessionReset
        } else {
            wrong.error.disposition
        };
        let notification = Notification::with(3, wrong.error.subcode, wrong.error.data);
        return Some((wrong.type_code, disposition, notification));
    }
    // RFC 7606 section 3 (d), here for internal neighbours too; the codec checks external ones only.
    let next_hop = |attribute: &PathAttribute| matches!(attribute, PathAttribute::NextHop(_));
    let lacks = has_classic
        && !update.attributes.iter().any(next_hop)
        && !judged.malformed.contains(&NEXT_HOP);
    lacks.then(|| {
        let notification = Notification::with(3, 3, [NEXT_HOP]);
        (NEXT_HOP, ErrorDisposition::TreatAsWithdraw, notification)
    })
}

/// The attributes of an UPDATE that matter to the session.
struct Concerned {
    /// Without routes of families that were not agreed on: those are not read, whatever they contain (RFC 4760 section 7 lets a
    /// session end for an incorrect attribute, not for its family).
    attributes: Bytes,
    /// Are there attributes beside `MP_UNREACH_NLRI`?
    others: bool,
    /// Does it announce routes of a family that was not agreed on?
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
        // The codec judges bytes that cannot be split into attributes.
        concerned.others |= !rest.is_empty();
        if skipped {
            kept.extend_from_slice(rest);
            concerned.attributes = kept.into();
        }
        Ok(concerned)
    }
}

/// One path attribute of several.
struct Attribute<'b> {
    whole: &'b [u8],
    kind: u8,
    value: &'b [u8],
    after: &'b [u8],
}

/// The first attribute; `None`: there is no complete one.
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

/// Are these routes of a family that was not agreed on? A value too short to name a family is not.
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
