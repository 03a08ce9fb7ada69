//! A driver refuses a program, or a foreign program is in the way.

use ober_tests::{
    lab::until,
    nodes::one::{Settings, Stage},
    strange::{Strange, links},
};
use ober_user::dataplane;

use crate::{SOON, change, doctor, ethtool, get, in0, interface, log, pins, refused, serving};

fn stage(name: &str, xdp: &'static str) -> Stage {
    let settings = Settings {
        xdp,
        ..Settings::default()
    };
    Stage::new(name, &settings).expect("build the stage")
}

#[test]
fn a_foreign_xdp_program_is_refused_with_the_command_to_remove_it_and_no_fallback_mode() {
    for (ours, native, link) in [
        ("auto", true, false),
        ("auto", true, true),
        ("auto", false, false),
        ("auto", false, true),
        ("native", true, true),
        ("native", false, false),
        ("generic", true, false),
        ("generic", false, true),
    ] {
        let stage = stage("taken", ours);
        let attached = stage.cluster.node.run(|| {
            let strange = Strange::load()?;
            if link {
                return strange.by_link("in0", native).map(Some);
            }
            strange.by_netlink("in0", native).map(|()| None)
        });
        let held = attached.expect("enter the node").expect("attach it");
        let said = refused(&stage);
        let off = match (link, native) {
            (true, _) => "bpftool link detach id ",
            (false, true) => "ip link set in0 xdp off",
            (false, false) => "ip link set in0 xdpgeneric off",
        };
        let case = format!("{ours} beside native={native} link={link}: {said}");
        assert!(
            said.contains("another program is attached (id ") && said.contains("`strange`"),
            "{case}"
        );
        assert!(
            said.contains(off) && !said.contains("falling back") && !said.contains("generic here"),
            "{case}"
        );
        let advice = doctor(&stage, "interfaces", "in0");
        assert!(advice["advice"].to_string().contains(off), "{advice:#}");
        drop(held);
    }
}

/// `in1` beside `in0`: the other end sends by two queues, and it receives by one.
fn with_a_narrow_interface(name: &str, xdp: &'static str) -> Stage {
    let stage = stage(name, xdp);
    let lines = [
        "link add in1 numrxqueues 2 numtxqueues 2 type veth peer name out1 numrxqueues 2 numtxqueues 2",
        "link set in1 up",
        "link set out1 up",
    ];
    stage.cluster.node.ip(&lines).expect("a second interface");
    ethtool(&stage, "-L in1 rx 1 tx 1");
    ethtool(&stage, "-L out1 rx 2 tx 2");
    change(
        &stage,
        "interfaces = [\"in0\"]",
        "interfaces = [\"in0\", \"in1\"]",
    );
    stage
}

#[test]
fn refused_native_xdp_is_reported_in_the_drivers_words_with_the_remedy() {
    let stage = with_a_narrow_interface("narrow-native", "native");
    let said = refused(&stage);
    for words in [
        "attach XDP to in1 in its driver",
        "veth",
        "No space left on device",
        "`ethtool -L in1 rx N`",
        "node.xdp",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!pins(&stage).exists(), "nothing is left of a first start");
}

#[test]
fn the_reason_for_generic_xdp_is_stored_and_shown_and_a_reload_asks_the_driver_again() {
    let mut stage = with_a_narrow_interface("narrow-auto", "auto");
    stage.start().expect("it starts");
    let narrow = interface(&stage, "in1");
    assert!(!narrow.native && interface(&stage, "in0").native);
    let why = narrow.why_generic.clone().expect("it says why");
    assert!(why.reason.contains("No space left on device"), "{why:?}");
    assert!(why.advice.contains("ethtool -L in1 rx N"), "{why:?}");
    let found = doctor(&stage, "interfaces", "in1");
    assert_eq!(found["verdict"], "warning", "{found:#}");
    assert!(
        found["advice"].to_string().contains("ethtool -L in1 rx N"),
        "{found:#}"
    );

    // The reason is kept with the pin: a reload that changes nothing, and another daemon, report it too.
    stage.cli(&["reload"]).expect("reload");
    assert_eq!(interface(&stage, "in1").why_generic, Some(why.clone()));
    stage.kill().expect("kill the daemon");
    let offline = stage
        .status()
        .expect("from the pins alone")
        .data_plane
        .interfaces
        .into_iter()
        .find(|it| it.name == "in1")
        .expect("it is there");
    assert_eq!((offline.native, offline.why_generic), (false, Some(why)));
    stage.start().expect("start it again");
    assert!(!interface(&stage, "in1").native);

    // Mended at the other end, where this node cannot see it.
    ethtool(&stage, "-L out1 rx 1 tx 1");
    stage.cli(&["reload"]).expect("reload");
    let mended = interface(&stage, "in1");
    assert!(mended.native && mended.why_generic.is_none(), "{mended:?}");
    assert_eq!(
        links(&pins(&stage)).expect("pins"),
        ["link_lookup", "link_xdp_native_in0", "link_xdp_native_in1"]
    );
    assert!(interface(&stage, "in0").native);
}

#[test]
fn a_start_retries_a_driver_that_refused_before_and_leaves_a_native_one_unchanged() {
    let mut stage = with_a_narrow_interface("narrow-start", "auto");
    let before = stage.start().expect("it starts");
    assert!(!interface(&stage, "in1").native);
    stage.kill().expect("kill the daemon");
    ethtool(&stage, "-L in1 rx 2 tx 2");
    let after = stage.start().expect("start it again");
    assert!(interface(&stage, "in1").native);
    // The log has no line of taking off where there was no need.
    let said = log(&stage);
    let taken_off = said
        .lines()
        .filter(|line| line.contains("removed and attached again"));
    assert_eq!(
        taken_off.filter(|line| line.contains("in0")).count(),
        0,
        "{said}"
    );
    assert_eq!(before.data_plane.programs, after.data_plane.programs);
}

/// The programs on `in0`.
fn running(stage: &Stage) -> Vec<u32> {
    let asked = stage.cluster.node.run(|| {
        let index = dataplane::index("in0").ok().flatten().expect("in0 is here");
        dataplane::occupants(index)
    });
    let found = asked.expect("enter the node").expect("ask for in0");
    found.iter().map(|it| it.program).collect()
}

#[test]
fn a_start_refused_after_exchanging_a_program_restores_the_old_program_on_its_maps() {
    let mut stage = stage("put-back", "generic");
    let before = stage.start().expect("it starts").data_plane;
    let ours = before
        .programs
        .iter()
        .find(|it| it.name == "ober")
        .expect("the program of XDP")
        .id;
    assert_eq!(running(&stage), [ours]);
    stage.kill().expect("kill the daemon");
    let bridge = ["link add br9 type bridge", "link set br9 up"];
    stage.cluster.node.ip(&bridge).expect("no native XDP there");
    change(&stage, "xdp = \"generic\"", "xdp = \"native\"");
    change(&stage, "[\"in0\"]", "[\"in0\", \"br9\"]");
    let text = std::fs::read_to_string(&stage.ober.config).expect("read it");
    let other_maps = text + "\n[limits]\nipv4_pages = 77\n";
    std::fs::write(&stage.ober.config, other_maps).expect("write it");
    // Without this the start would fall back to what was in force before.
    let history = stage.cluster.lab.directory().join("state/history");
    std::fs::remove_dir_all(history).expect("forget what was in force");
    let said = refused(&stage);
    assert!(said.contains("br9"), "{said}");
    assert_eq!(running(&stage), [ours], "{said}");
}

#[test]
fn a_foreign_program_in_the_daemons_link_is_noticed_and_replaced() {
    let stage = serving("swapped", &Settings::default());
    change(&stage, "sample = 1", "sample = 1\nreconcile = \"500ms\"");
    stage.cli(&["reload"]).expect("reload");
    let pin = pins(&stage).join("link_xdp_native_in0");
    let before = stage.status().expect("status").reconcile.mended["program"];
    Strange::load()
        .and_then(|strange| strange.take_over(&pin))
        .expect("exchange it");
    until("our program in its place", SOON, || {
        let status = stage.status()?;
        let mended = status.reconcile.mended["program"] > before;
        Ok((mended && in0(&status).attached == Some(true)).then_some(()))
    })
    .expect("it is put back");
    assert_eq!(get(&stage, &stage.secure(ober_tests::lab::VIP4)), Ok(()));
}
