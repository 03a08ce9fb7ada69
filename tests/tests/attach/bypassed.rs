//! A driver that receives packets and does not run its program: everything looks as it should, but the counters tell.

use std::time::Duration;

use ober_tests::{
    lab::{VIP4, client4, until},
    nodes::one::{OPEN, Settings, Stage},
    strange::Detour,
};
use ober_user::{announce::gate::State, api::status::Status};

use crate::{CONTENT, PATH, all_are, get, in0, serving};

/// The daemon looks every two seconds, and believes counters that are four seconds old.
const LONG: Duration = Duration::from_mins(1);

/// Asks for objects until the status is as wanted: only packets can show what becomes of them.
fn while_clients_come(stage: &Stage, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let client = stage.open(VIP4);
    until(what, LONG, || {
        for _ in 0..10 {
            // The lists hold, since every new connection is judged once more where it is accepted.
            get(stage, &client).map_err(anyhow::Error::msg)?;
        }
        let status = stage.status()?;
        anyhow::ensure!(
            wanted(&status),
            "{:#?} {:#?}",
            status.data_plane,
            status.gate
        );
        Ok(Some(status))
    })
    .expect(what)
}

fn served_by(xdp: &'static str) -> Stage {
    let settings = Settings {
        xdp,
        steer: "off",
        ..Settings::default()
    };
    let stage = serving(&format!("bypass-{xdp}"), &settings);
    let status = while_clients_come(&stage, "a driver that runs the program", |status| {
        in0(status).runs == Some(true) && all_are(status, State::Up)
    });
    assert!(in0(&status).native, "{status:#?}");
    stage
}

fn detour(stage: &Stage) -> Detour {
    let lead = || Detour::new(&["c0", "c1"], "node");
    let led = stage.cluster.switch.run(lead).expect("enter the switch");
    led.expect("lead packets past XDP")
}

fn packets(stage: &Stage, verdict: &str) -> u64 {
    let count = stage.verdict(VIP4, OPEN, verdict);
    count.expect("its counters").packets
}

#[test]
fn with_native_xdp_alone_a_driver_that_does_not_run_the_program_closes_the_gates_until_it_does() {
    let stage = served_by("native");
    let bypass = detour(&stage);
    let blind = while_clients_come(&stage, "a driver known as blind", |status| {
        in0(status).runs == Some(false) && all_are(status, State::Down)
    });
    assert_eq!(in0(&blind).attached, Some(true), "it looks well");
    assert!(in0(&blind).native && !blind.healthy, "{blind:#?}");
    let before = packets(&stage, "passed");
    let client = stage.open(VIP4);
    get(&stage, &client).expect("it is served");
    assert_eq!(packets(&stage, "passed"), before, "XDP sees nothing");
    drop(bypass);
    while_clients_come(&stage, "a driver that runs it again", |status| {
        in0(status).runs == Some(true) && all_are(status, State::Up) && status.healthy
    });
    assert!(packets(&stage, "passed") > before);
}

#[test]
fn by_default_the_kernel_runs_the_program_in_place_of_a_driver_that_does_not() {
    let stage = served_by("auto");
    let _bypass = detour(&stage);
    let status = while_clients_come(&stage, "the kernel in place of the driver", |status| {
        !in0(status).native && all_are(status, State::Up)
    });
    let why = in0(&status).why_generic.as_ref().expect("a reason");
    assert!(
        why.reason.contains("packets came in, and none reached it"),
        "{why:?}"
    );
    // Now the program gets what passes the driver by, and drops what is on no list.
    let before = packets(&stage, "denied");
    let stranger = stage.open(VIP4);
    let tried = stage.cluster.clients[1].tokio(async || stranger.get(PATH, CONTENT).await);
    assert!(tried.expect("enter the client").is_err(), "{}", client4(1));
    assert!(packets(&stage, "denied") > before);
    let log = stage.ober.daemon.as_ref().expect("it runs").log();
    let said = "a driver does not run the attached program: nothing is announced";
    assert!(log.contains(said), "{log}");
}
