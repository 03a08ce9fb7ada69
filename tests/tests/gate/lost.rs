//! A firewall on the node behind XDP, which no probe meets.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use ober_programs::NFT;
use ober_tests::{
    lab::{VIP4, VIP6},
    nodes::one::{SECURE, Settings, Stage},
};
use ober_user::announce::gate::{Standing, State};

use crate::overrides::{gate, reaches};

/// All SYNs of these attempts are lost; the daemon needs 20 within 5 s and looks every 2 s.
const ATTEMPTS: u32 = 60;
const EACH: Duration = Duration::from_millis(150);

fn stage(name: &str, lost: &str) -> Stage {
    let settings = Settings {
        extra: format!(
            "[gate]\ninterval = '300ms'\nfast_interval = '50ms'\nmin_up = '0'\nlost = '{lost}'\n"
        ),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    stage.start().expect("start the daemon");
    stage
}

fn nft(stage: &Stage, script: &str) {
    let node = &stage.cluster.node;
    node.output(NFT.command().arg(script))
        .expect("change the firewall");
}

/// What an administrator may write for the interface of the clients: nothing but ping.
fn close(stage: &Stage) {
    nft(
        stage,
        "table inet wall { chain input { type filter hook input priority 0; policy drop; iifname != in0 accept; meta l4proto { icmp, ipv6-icmp } accept; }; }",
    );
}

fn open(stage: &Stage) {
    nft(stage, "delete table inet wall");
}

/// A client's attempt to connect to the VIP: does it succeed within this time?
fn connects(stage: &Stage, vip: IpAddr, limit: Duration) -> bool {
    let client = &stage.cluster.clients[0];
    client
        .run(|| TcpStream::connect_timeout(&SocketAddr::new(vip, SECURE), limit).is_ok())
        .expect("enter the client's namespace")
}

fn attempts(stage: &Stage, vip: IpAddr) -> u32 {
    let mut made = 0;
    let began = Instant::now();
    for _ in 0..ATTEMPTS {
        made += u32::from(connects(stage, vip, EACH));
    }
    assert!(
        began.elapsed() > Duration::from_secs(7),
        "too fast to be judged"
    );
    made
}

#[test]
fn a_vip_behind_a_firewall_of_its_own_node_is_reported_and_stays_announced_with_warn() {
    let stage = stage("lost-warn", "warn");
    reaches(&stage, VIP4, State::Up, Standing::Announced);
    assert!(connects(&stage, VIP4, Duration::from_secs(5)));
    close(&stage);
    assert_eq!(
        attempts(&stage, VIP4),
        0,
        "the firewall lets nothing through"
    );
    let gate4 = gate(&stage, VIP4);
    assert!(gate4.lost, "{gate4:?}");
    assert_eq!(
        (gate4.state, gate4.standing),
        (State::Up, Standing::Announced)
    );
    assert!(gate4.reason.contains("a firewall?"), "{gate4:?}");
    assert!(!gate(&stage, VIP6).lost, "no client tried this VIP");
    let doctor = stage.try_cli(&["doctor"]).expect("doctor");
    let words = String::from_utf8_lossy(&doctor.stdout);
    assert!(words.contains("nft list ruleset"), "{words}");
    let service = stage.service(VIP4, SECURE).expect("counters");
    assert!(service.syns >= 20, "{service:?}");
    open(&stage);
    assert!(connects(&stage, VIP4, Duration::from_secs(5)));
    let gate4 = reaches(&stage, VIP4, State::Up, Standing::Announced);
    ober_tests::lab::until("the report to end", Duration::from_secs(10), || {
        Ok((!gate(&stage, VIP4).lost).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}; before: {gate4:?}"));
}

#[test]
fn a_vip_behind_a_firewall_of_its_own_node_goes_down_with_withdraw_and_comes_back_after_it() {
    let stage = stage("lost-withdraw", "withdraw");
    reaches(&stage, VIP6, State::Up, Standing::Announced);
    close(&stage);
    attempts(&stage, VIP6);
    let down = reaches(&stage, VIP6, State::Down, Standing::Withdrawn);
    assert!(down.reason.contains("a firewall?"), "{down:?}");
    assert_eq!(
        gate(&stage, VIP4).state,
        State::Up,
        "no client tried this VIP"
    );
    open(&stage);
    assert!(connects(&stage, VIP6, Duration::from_secs(5)));
    reaches(&stage, VIP6, State::Up, Standing::Announced);
}
