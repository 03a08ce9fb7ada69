//! Packets are sent to their worker's CPU only where they lose nothing by it.

use ober_tests::{
    lab::{VIP4, VIP6},
    nodes::one::{Settings, Stage},
    pattern::Pattern,
};

use crate::{PATH, doctor, log, store};

#[test]
fn steer_cpu_on_a_veth_is_refused_with_its_reason_and_a_local_client_can_still_upload() {
    let settings = Settings {
        steer: "cpu",
        ..Settings::default()
    };
    let mut stage = Stage::new("unsteered", &settings).expect("build the stage");
    // As by default: clients leave checksums to the card, and a veth has none.
    for client in &stage.cluster.clients {
        client
            .ethtool("-K cl0 tx on")
            .expect("checksums as by default");
    }
    stage.start().expect("start the daemon");
    store(&stage);
    let content = Pattern::new(9, 50_000_000);
    for vip in [VIP4, VIP6] {
        let client = stage.secure(vip);
        let put = stage.cluster.clients[0].tokio(async || client.put(PATH, content).await);
        assert_eq!(put.expect("enter the client"), Ok(()), "{vip}");
    }
    let plane = stage.status().expect("status").data_plane;
    let why = plane.steering_reason.unwrap_or_default();
    assert!(
        !plane.steering && why.contains("in0 is a veth") && why.contains("checksums"),
        "{why}"
    );
    assert!(
        log(&stage).contains("packets are not steered"),
        "{}",
        log(&stage)
    );
    let found = doctor(&stage, "interfaces", "steering");
    assert_eq!(found["verdict"], "warning", "{found:#}");
    assert!(
        found["reason"].to_string().contains("in0 is a veth"),
        "{found:#}"
    );
}
