//! The matrix, with FRR.

use ober_tests::{lab::until, peers::Frr};

use crate::stage::{PATIENCE, ROUTER4, Stage, VIP4};

const OURS: &str = "
[bgp]
as = 65001
[[bgp.neighbours]]
address = '10.9.0.2'
as = 65002
";

#[test]
fn a_vip_is_in_the_routers_table() {
    let stage = Stage::new("bgp-frr");
    let frr = Frr::start(
        &stage.lab,
        &stage.router,
        "router bgp 65002\n no bgp ebgp-requires-policy\n neighbor 10.9.0.1 remote-as 65001\n",
    )
    .expect("start FRR");
    let speaker = stage.speak(OURS);
    speaker.established(ROUTER4);
    let route = until("the route", PATIENCE, || {
        let table = frr.show("bgp ipv4 unicast")?;
        Ok(table["routes"].get(format!("{VIP4}/32")).cloned())
    });
    println!("{:#}", route.expect("there"));
    println!("{:#?}", speaker.neighbour(ROUTER4));
}
