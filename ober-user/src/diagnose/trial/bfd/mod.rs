//! The verdict on the BFD session with a neighbour, or on the lack of one.
//!
//! It never speaks to the neighbour: `sessions` does.

use std::time::Duration;

use crate::{
    api::status::bfd::{Bfd, Session},
    diagnose::finding::Finding,
    protocols::bfd::{Settings, State},
};

pub(super) const PART: &str = "bfd";

/// The verdict on one neighbour with BFD.
pub fn judge(settings: &Settings, bfd: &Bfd) -> Finding {
    let same = |it: &&Session| it.peer == settings.peer && it.interface == settings.interface;
    let Some(session) = bfd.sessions.iter().find(same) else {
        return Finding::failed(PART, settings.peer, "there is no session with it").advice(
            "the daemon has another configuration: `ober-user reload` puts this one in force",
        );
    };
    let finding = match session.state {
        State::Up => up(settings, bfd, session),
        State::AdminDown | State::Down | State::Init => down(settings, session),
    };
    finding
        .detail("state", session.state.name())
        .detail("hops", &session.hops)
        .detail("remote_state", session.remote_state.name())
        .detail("diagnostic", &session.diagnostic)
}

fn up(settings: &Settings, bfd: &Bfd, session: &Session) -> Finding {
    let length = |microseconds: Option<u64>| Duration::from_micros(microseconds.unwrap_or(0));
    let reason = format!(
        "up over {}, sends every {:?}, detects in {:?}",
        session.hops,
        length(session.transmit_microseconds),
        length(session.detection_microseconds)
    );
    let wanted = settings.timers.transmit.duration();
    if !bfd.realtime && length(session.transmit_microseconds) > wanted {
        let reason = format!("{reason}; {wanted:?} needs SCHED_FIFO");
        return Finding::warning(PART, settings.peer, reason)
            .advice("give the daemon CAP_SYS_NICE");
    }
    let finding = Finding::ok(PART, settings.peer, reason);
    match session.remark().filter(|_| session.follows_multihop()) {
        Some(remark) => finding.advice(format!(
            "{remark}; it works, and `bfd_mode = \"multi-hop\"` would say so from the start"
        )),
        None => finding,
    }
}

fn down(settings: &Settings, session: &Session) -> Finding {
    let peer = settings.peer;
    if session.remote_state == State::AdminDown && session.remote_discriminator.is_some() {
        return Finding::failed(PART, peer, "it is taken down there on purpose")
            .advice("`no shutdown` for the session of this node there");
    }
    if session.drops.contains_key("ttl") {
        return Finding::failed(PART, peer, "its packets come through a router")
            .advice("write `bfd_mode = \"multi-hop\"`, and `multihop` for the neighbour");
    }
    if session.remote_discriminator.is_some() {
        let reason = format!(
            "it is heard and says {}, but receives nothing from this node",
            session.remote_state.name()
        );
        return Finding::failed(PART, peer, reason).advice(
            "does a filter in between stop UDP port 3784 (4784 over several hops) one way, or has it this node at \
             another address?",
        );
    }
    let reason = match &session.send_error {
        Some(error) => format!("not heard; sending fails: {error}"),
        None => "not heard".to_owned(),
    };
    let mode = match session.mode.as_str() {
        "single-hop" => {
            "; a neighbour with ttl-security may run it over several hops: try `bfd_mode = \"auto\"`"
        }
        _ => "",
    };
    Finding::failed(PART, peer, reason).advice(format!(
        "turn BFD on there for this node's address, and let UDP ports 3784 and 4784 through{mode}"
    ))
}

#[cfg(test)]
mod tests;
