//! The verdict on the BGP session with a neighbour, or on the lack of one.
//!
//! It never speaks to the neighbour: `sessions` does.

use crate::{
    api::status::bgp::{Neighbour as Session, PathState, Said},
    diagnose::finding::Finding,
    protocols::bgp::{
        configured::{Hops, Neighbour},
        connection::Remote,
        event::State,
    },
};

use super::drops::Drops;

pub(super) const PART: &str = "bgp";
/// A session that ended and came back within this is not steady.
const UNSTEADY: u64 = 60;

/// A session of the daemon, or one made for this test.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub settings: &'a Neighbour,
    /// `None`: the daemon has no session with this neighbour.
    pub session: Option<&'a Session>,
    /// The neighbour acknowledges nothing any more, though the session is up.
    pub unheard: bool,
    /// Packets thrown away meanwhile, on the whole node.
    pub drops: Drops,
}

/// The verdict on one neighbour.
pub fn judge(seen: Seen<'_>) -> Finding {
    let address = seen.settings.address;
    let Some(session) = seen.session else {
        let finding = Finding::failed(PART, address, "the daemon does not speak to it");
        return finding.advice(
            "the daemon has another configuration: `ober-user reload` puts this one in force",
        );
    };
    let finding = if session.state == State::Established && seen.unheard {
        deaf(Finding::failed(
            PART,
            address,
            "it answers, and then receives nothing from this node any more",
        ))
    } else if session.state == State::Established {
        established(seen.settings, session)
    } else {
        lacking(seen, session)
    };
    details(finding, session)
}

fn details(finding: Finding, session: &Session) -> Finding {
    let finding = finding.detail("state", session.state.name());
    let Some(opened) = &session.opened else {
        return finding;
    };
    let finding = finding
        .detail("as", opened.asn)
        .detail("id", opened.id)
        .detail("offered_hold_time", opened.hold_time)
        .detail("capabilities", opened.capabilities.join(" "));
    match session.hold_time {
        Some(seconds) => finding
            .detail("hold_time", seconds)
            .detail("families", session.families.join(" ")),
        None => finding,
    }
}

fn established(settings: &Neighbour, session: &Session) -> Finding {
    let address = settings.address;
    let missing: Vec<_> = settings
        .families
        .iter()
        .map(|family| family.name())
        .filter(|name| !session.families.iter().any(|spoken| spoken == name))
        .collect();
    if !missing.is_empty() {
        let names = missing.join(" and ");
        let reason = format!("{}, but it does not speak {names}", summary(session));
        return Finding::warning(PART, address, reason).advice(format!(
            "activate {names} unicast for this node there, or take it out of `families`: no VIP of that family is announced"
        ));
    }
    if session.flaps > 0 && session.seconds < UNSTEADY {
        let reason = format!(
            "{}, for {} s only, after {} that ended",
            summary(session),
            session.seconds,
            session.flaps
        );
        return Finding::warning(PART, address, reason)
            .advice("`ober-user bgp` shows the last notification; look for the reason there");
    }
    let finding = Finding::ok(PART, address, summary(session));
    if may_take_nothing(session) {
        return finding.advice(
            "it announces nothing. If that is for want of a policy, it takes nothing either (RFC 8212): give this node \
             a policy `in` there, or in FRR say `no bgp ebgp-requires-policy`",
        );
    }
    finding
}

/// An external neighbour that sent no more than its End-of-RIBs.
fn may_take_nothing(session: &Session) -> bool {
    let updates = session.messages.get("update").map_or(0, |it| it.received);
    session.asn != Some(session.local_as) && updates <= session.families.len() as u64
}

fn summary(session: &Session) -> String {
    let asn = session.asn.unwrap_or_default();
    let hold_time = match session.hold_time {
        Some(0) | None => "no hold time".to_owned(),
        Some(seconds) => format!("hold time {seconds} s"),
    };
    let able: Vec<_> = session
        .opened
        .iter()
        .flat_map(|it| &it.capabilities)
        .filter(|name| !session.families.contains(name))
        .map(String::as_str)
        .collect();
    let mut words = format!("AS {asn}, {hold_time}, {}", session.families.join(" "));
    if !able.is_empty() {
        words = format!("{words}; {}", able.join(", "));
    }
    words
}

/// Why there is no session. A NOTIFICATION says more than silence.
fn lacking(seen: Seen<'_>, session: &Session) -> Finding {
    let address = seen.settings.address;
    let failed = |reason: String| Finding::failed(PART, address, reason);
    let open = |said: &&Said| said.code == 2;
    if let Some(said) = session.last_sent.as_ref().filter(open) {
        return refused(seen.settings, session, said, failed);
    }
    if let Some(said) = session.last_received.as_ref() {
        return refused_by_notification(seen.settings, said, failed);
    }
    let against = |said: &&Said| matches!(said.code, 1 | 3 | 5 | 7);
    if let Some(said) = session.last_sent.as_ref().filter(against) {
        let Said {
            code,
            subcode,
            name,
            ..
        } = said;
        return failed(format!("this node ended the session: {code}/{subcode} {name}")).advice(
            "what it sent is against the standard: its log has it too, maybe in other words; a newer version of its \
             software may do better",
        );
    }
    let reason = session
        .last_failure
        .clone()
        .unwrap_or_else(|| "it does not connect".to_owned());
    if let Some((reason, advice)) = dropped(seen.settings, seen.drops) {
        return failed(reason).advice(advice);
    }
    let strict = seen.settings.bfd.as_ref().is_some_and(|bfd| bfd.strict);
    if strict && session.opened.is_some() && session.bfd != Some(PathState::Up) {
        return failed("it answers; the session waits for BFD, as `strict` says".to_owned())
            .advice("see the findings of bfd");
    }
    if session.opened.is_some() && half(session) {
        let reason = "it answers, and then receives nothing from this node any more";
        return deaf(failed(reason.to_owned()));
    }
    if session.state == State::OpenSent && session.opened.is_none() {
        return failed("it takes the connection and says nothing".to_owned()).advice(
            "is it a BGP speaker that listens on this port, and is it ready? Some take the connection of an address that \
             they do not know as neighbour, and wait",
        );
    }
    failed(reason).advice(silence(seen.settings))
}

fn deaf(finding: Finding) -> Finding {
    finding.advice(
        "it drops this node's packets once it knows whose they are: write `ttl_security` if it has ttl-security, and look \
         for a filter in between",
    )
}

/// The neighbour's OPEN came and nothing after it: the neighbour does not get ours.
fn half(session: &Session) -> bool {
    let expired = session.last_sent.as_ref().is_some_and(|it| it.code == 4);
    expired || session.state == State::OpenConfirm
}

/// This node refused the neighbour's OPEN.
fn refused(
    settings: &Neighbour,
    session: &Session,
    said: &Said,
    failed: impl Fn(String) -> Finding,
) -> Finding {
    let Some(opened) = session.opened.as_ref().filter(|_| said.subcode == 2) else {
        return failed(format!("this node refuses its OPEN: {}", said.name))
            .advice("mend what is named on one of the two sides");
    };
    let wanted = match settings.remote {
        Remote::Number(asn) => asn.to_string(),
        Remote::Internal => format!("{} (internal)", settings.local_as),
        Remote::External => "another than this node's".to_owned(),
        Remote::Auto => "any".to_owned(),
    };
    let reason = format!("it is of AS {}, configured is {wanted}", opened.asn);
    failed(reason).advice(format!(
        "write `as = {}` for this neighbour, or correct its own",
        opened.asn
    ))
}

/// The neighbour ended the session and gave a reason.
fn refused_by_notification(
    settings: &Neighbour,
    said: &Said,
    failed: impl Fn(String) -> Finding,
) -> Finding {
    let text = said
        .text
        .as_ref()
        .map(|text| format!(": {text}"))
        .unwrap_or_default();
    let Said {
        code,
        subcode,
        name,
        ..
    } = said;
    let reason = format!("it refuses: {code}/{subcode} {name}{text}");
    let local_as = settings.local_as;
    let advice = match (code, subcode) {
        (2, 2) => format!(
            "it expects another AS of this node than {local_as}: correct `remote-as` there, or `as` or `local_as` here"
        ),
        (2, 3) => "two speakers have one identifier: set `router_id` in [bgp]".to_owned(),
        (2, 6) => "it wants another hold time: raise `hold_time`".to_owned(),
        (2, 7) => {
            "make both sides speak a common family: `families` here, `activate` there".to_owned()
        }
        (6, 2) => "it was shut down there: `no shutdown` for this neighbour".to_owned(),
        (6, 3 | 5) => {
            "it does not know this node as neighbour: add this node's address there".to_owned()
        }
        (6, 7) => {
            "another session of this node with it is up: is another BGP speaker running here?"
                .to_owned()
        }
        (6, 10) => "its BFD is down: see the findings of bfd".to_owned(),
        _ => "see its log".to_owned(),
    };
    failed(reason).advice(advice)
}

/// Packets that the kernel threw away may show the cause of a time-out.
fn dropped(settings: &Neighbour, drops: Drops) -> Option<(String, String)> {
    let signed = settings.password.is_some();
    if matches!(settings.hops, Hops::Secure(_)) && drops.far > 0 {
        return Some((
            format!(
                "no session: {} packets came from further away than `ttl_security` allows",
                drops.far
            ),
            "turn ttl-security on there too, for as many hops, or raise `ttl_security`".to_owned(),
        ));
    }
    if signed && drops.wrongly_signed > 0 {
        return Some((
            "no session: packets came signed with another password".to_owned(),
            "write the same password on both sides".to_owned(),
        ));
    }
    if signed && drops.unsigned > 0 {
        return Some((
            "no session: packets came without a signature".to_owned(),
            "set the password there too, or take it out here".to_owned(),
        ));
    }
    if !signed && drops.unexpectedly_signed > 0 {
        return Some((
            "no session: packets came signed, and there is no password here".to_owned(),
            "write its password as `password_file` here".to_owned(),
        ));
    }
    None
}

/// All causes that look as if no neighbour were there.
fn silence(settings: &Neighbour) -> String {
    let port = settings.port;
    let mut causes = vec![if settings.passive {
        "does it connect to this node (`passive` waits for it)".to_owned()
    } else {
        format!("does it listen on TCP port {port} and know this node's address as neighbour")
    }];
    causes.push(if settings.password.is_some() {
        "has it the same password (a wrong one looks like a time-out)".to_owned()
    } else {
        "does it want a password (one that is missing looks like a time-out)".to_owned()
    });
    causes.push(match settings.hops {
        Hops::Secure(_) => "has it ttl-security for as many hops".to_owned(),
        Hops::Link => {
            "is it on the same link (else write `multihop`), and does it want `ttl_security`"
                .to_owned()
        }
        Hops::Any | Hops::Within(_) => {
            "is it within the hops of `multihop`, and does it want `ttl_security`".to_owned()
        }
    });
    format!("ask of it: {}?", causes.join("; "))
}

#[cfg(test)]
mod tests;
