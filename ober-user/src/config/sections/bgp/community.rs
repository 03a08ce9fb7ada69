//! The notation of communities.

use std::collections::BTreeMap;

use super::{At, Fault, Judge};
use crate::{config::text::error::suggestion, protocols::bgp::message::Communities};

/// Communities that have a name (RFC 1997, RFC 3765, RFC 7999, RFC 8326).
const KNOWN: [(&str, u32); 7] = [
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
    ("no-peer", 0xffff_ff04),
    ("blackhole", 0xffff_029a),
    ("accept-own", 0xffff_0001),
    (
        "graceful-shutdown",
        crate::protocols::bgp::policy::GRACEFUL_SHUTDOWN,
    ),
];
/// Communities of one route: an UPDATE must have room for a prefix, too.
const MOST: usize = 64;
const FORMS: &str =
    "write \"AS:n\", \"AS:n:n\", \"rt:AS:n\", \"soo:AS:n\", \"bandwidth:AS:bytes\" or a name";

pub(super) type Aliases = BTreeMap<String, Communities>;

impl Judge<'_> {
    pub(super) fn aliases(&mut self, written: BTreeMap<String, At<String>>) -> Aliases {
        let mut aliases = Aliases::new();
        for (name, At { value, span }) in written {
            self.name("a community", &name, &span);
            if KNOWN.iter().any(|(known, _)| *known == name) {
                let message = format!("`{name}` is the name of a well-known community");
                self.refuse(Fault::new(span.clone(), message).help("choose another name"));
            }
            let mut one = Communities::default();
            if add(&mut one, &value).is_none() {
                let message = format!("`{value}` is no community");
                self.refuse(Fault::new(span, message).help(FORMS));
            }
            aliases.insert(name, one);
        }
        aliases
    }

    pub(super) fn communities(
        &mut self,
        written: Vec<At<String>>,
        aliases: &Aliases,
    ) -> Communities {
        let mut all = Communities::default();
        if let Some(at) = written.get(MOST) {
            let message = format!("more than {MOST} communities on one route");
            self.refuse(Fault::new(at.span.clone(), message));
        }
        for At { value, span } in written {
            if let Some(alias) = aliases.get(&value) {
                all.extend(alias);
            } else if add(&mut all, &value).is_none() {
                let help = if value.contains(':') {
                    FORMS.to_owned()
                } else {
                    let names = KNOWN.iter().map(|(name, _)| *name);
                    let names: Vec<&str> =
                        names.chain(aliases.keys().map(String::as_str)).collect();
                    suggestion(&value, &names)
                };
                let message = format!("`{value}` is no community");
                self.refuse(Fault::new(span, message).help(help));
            }
        }
        all
    }
}

/// Adds a community; `None`: the text is none.
fn add(all: &mut Communities, text: &str) -> Option<()> {
    if let Some((_, value)) = KNOWN.iter().find(|(name, _)| *name == text) {
        all.plain.insert(*value);
        return Some(());
    }
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [high, low] => {
            let (high, low): (u16, u16) = (number(high)?, number(low)?);
            all.plain.insert(u32::from(high) << 16 | u32::from(low));
        }
        ["rt", asn, value] => {
            all.extended.insert(of_an_as(0x02, asn, value)?);
        }
        ["soo", asn, value] => {
            all.extended.insert(of_an_as(0x03, asn, value)?);
        }
        ["bandwidth", asn, bytes] => {
            let (asn, bytes): (u16, u32) = (number(asn)?, number(bytes)?);
            // Bytes a second as a single-precision number, as the standard defines it; need not be exact.
            #[expect(clippy::cast_precision_loss, reason = "the wire has single precision")]
            let bits = (bytes as f32).to_bits();
            all.extended
                .insert(0x4004 << 48 | u64::from(asn) << 32 | u64::from(bits));
        }
        [global, first, second] => {
            all.large
                .insert([number(global)?, number(first)?, number(second)?]);
        }
        _ => return None,
    }
    Some(())
}

/// Digits alone: `parse` would accept a sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// RFC 4360 section 3.1 with two octets of AS, RFC 5668 with four.
fn of_an_as(subtype: u64, asn: &str, value: &str) -> Option<u64> {
    let asn: u32 = number(asn)?;
    if let Ok(asn) = u16::try_from(asn) {
        let value: u32 = number(value)?;
        return Some(subtype << 48 | u64::from(asn) << 32 | u64::from(value));
    }
    let value: u16 = number(value)?;
    Some(0x02 << 56 | subtype << 48 | u64::from(asn) << 16 | u64::from(value))
}
