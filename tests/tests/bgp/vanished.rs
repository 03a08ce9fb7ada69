//! A neighbour that loses its power, in a session without a hold time: neither side sends KEEPALIVE messages, so the kernel alone can
//! notice, by probes while all is silent, and by what is not answered otherwise.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ober_tests::{lab::until, peers::Frr};
use ober_user::announce::gate::Standing;

use crate::{
    router::{Router, Setup, learns},
    topology::{ROUTER4, Topology, VIP4, listening},
};

/// The probes begin after 30 s of silence and end the connection 30 s later; 60 s is also the limit for what is unanswered.
const LAW: Duration = Duration::from_mins(1);
/// The kernel looks at that limit when it sends again. It does so after pauses that double, and shortens the one that would go
/// beyond the limit; an ICMP error sets it again without that (RFC 6069), so the look may come a minute late.
const UNANSWERED: Duration = Duration::from_mins(2);
/// For a busy machine.
const MORE: Duration = Duration::from_secs(20);

/// `change`: the node has something to say to the neighbour that is gone. With FRR alone: BIRD's socket is bound to the interface,
/// and Linux lets such a socket send where no rule leads.
fn a_neighbour_that_vanishes_is_noticed_and_taken_again(name: &str, change: bool) {
    let limit = if change { UNANSWERED } else { LAW };
    let (topology, setup) = (Topology::new(name), Setup::default());
    let mut router: Frr = Router::start(&topology, &setup);
    // A passive speaker has no session before it takes the router's connection.
    let speaker = topology.speak(&listening(ROUTER4, "hold_time = '0'\npassive = true"));
    learns(&router, crate::router::ROUTE4);
    assert_eq!(speaker.neighbour(ROUTER4).hold_time, Some(0));
    let flaps = speaker.neighbour(ROUTER4).flaps;
    topology.cut_router(true);
    let began = Instant::now();
    // Its kernel would say goodbye to our connection, but no packet leaves it.
    Router::signal(&mut router, Signal::SIGKILL);
    if change {
        speaker.stand(VIP4, Standing::Depreferenced);
    }
    let ended = until("the session has ended", limit + MORE, || {
        Ok(Some(speaker.neighbour(ROUTER4)).filter(|it| it.flaps > flaps))
    })
    .expect("it is noticed");
    let took = began.elapsed();
    let why = ended.last_failure.expect("a reason");
    // Not by a packet of the router: then it would have been at once.
    assert!(took > LAW / 2, "{took:?}: {why}");
    assert!(
        why.contains("timed out") || why.contains("No route"),
        "{why}"
    );
    assert_ne!(ended.state.name(), "established");
    topology.cut_router(false);
    Router::restart(&mut router, &topology, &setup);
    learns(&router, crate::router::ROUTE4);
    speaker.established(ROUTER4);
}

#[test]
fn a_silent_neighbour_that_vanishes_without_a_hold_time_is_noticed_within_a_minute() {
    a_neighbour_that_vanishes_is_noticed_and_taken_again("bgp-gone", false);
}

#[test]
fn a_neighbour_that_vanishes_under_an_update_is_noticed_within_two_minutes() {
    a_neighbour_that_vanishes_is_noticed_and_taken_again("bgp-gone-busy", true);
}
