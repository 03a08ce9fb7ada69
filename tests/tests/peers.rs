//! The routers of other tests, tested by themselves.

use ober_tests::{
    lab::Lab,
    peers::{Bird, Daemon, Frr},
};

#[test]
fn two_frr_side_by_side_answer_take_configuration_refuse_nonsense_and_survive_a_killed_daemon() {
    let lab = Lab::new("frr").expect("a laboratory");
    let hosts = ["one", "two"].map(|name| lab.host(name).expect("a host"));
    let mut routers = [65001, 65002]
        .map(|number| format!("router bgp {number}\nbgp router-id 10.0.0.1\n"))
        .into_iter()
        .zip(&hosts)
        .map(|(config, host)| Frr::start(&lab, host, &config).expect("FRR starts"))
        .collect::<Vec<_>>();
    for (router, number) in routers.iter().zip(["65001", "65002"]) {
        let running = router.command("show running-config").expect("an answer");
        assert!(
            running.contains(&format!("router bgp {number}")),
            "{running}"
        );
        assert!(router.show("bgp vrfs").expect("JSON").is_object());
        assert!(router.show("bfd peers").expect("JSON").is_array());
    }
    let router = &mut routers[0];
    assert!(
        router
            .configure("router bgp 65001\n neihbor 10.0.0.2 remote-as 1\n")
            .is_err()
    );
    assert!(router.command("show nonsense").is_err());
    router
        .daemon(Daemon::Bfdd)
        .expect("bfdd")
        .kill()
        .expect("bfdd is killed");
    router
        .restart(&hosts[0], Daemon::Bfdd)
        .expect("bfdd starts again");
    router.configure("bfd\n peer 10.0.0.9\n").expect("a peer");
    assert_eq!(
        router.show("bfd peers").expect("JSON")[0]["peer"],
        "10.0.0.9"
    );
}

#[test]
fn bird_answers_takes_another_configuration_refuses_nonsense_and_starts_again_after_a_kill() {
    let lab = Lab::new("bird").expect("a laboratory");
    let host = lab.host("router").expect("a host");
    let mut bird = Bird::start(&lab, &host, "router id 10.0.0.1;\n").expect("BIRD starts");
    assert!(
        bird.command("show status")
            .expect("an answer")
            .contains("Router ID is 10.0.0.1")
    );
    bird.configure("router id 10.0.0.2;\nprotocol bfd {}\n")
        .expect("another configuration");
    assert!(
        bird.command("show protocols")
            .expect("an answer")
            .contains("BFD")
    );
    assert!(bird.configure("router identity;\n").is_err());
    bird.configure("router id 10.0.0.3;\n")
        .expect("a good one again");
    bird.process().kill().expect("BIRD is killed");
    bird.restart(&host).expect("BIRD starts again");
    assert!(
        bird.command("show status")
            .expect("an answer")
            .contains("Router ID is 10.0.0.3")
    );
}
