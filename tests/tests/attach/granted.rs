//! The daemon under the capabilities of its unit: the other tests run it with all that root has.

use std::fs;

use ober_programs::SETPRIV;
use ober_tests::{
    lab::{BPFFS, VIP4, until},
    nodes::one::{Settings, Stage},
};
use ober_user::{
    announce::gate::State,
    config::paths,
    dataplane::{index, occupants},
};

use crate::{SOON, all_are, change, get, in0, store};

/// The bounding set of the unit, as `setpriv` takes it.
fn bounding_set() -> String {
    let unit = include_str!("../../../ober-user/package/systemd/ober.service");
    let sets = unit
        .lines()
        .filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = sets.flat_map(str::split_whitespace);
    let granted = names.map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()));
    format!("-all{}", granted.collect::<String>())
}

fn start(stage: &mut Stage) {
    let ober = stage.ober.ober(&["run"]).expect("the program");
    let options = format!("--bounding-set={}", bounding_set());
    let mut command = SETPRIV.before([options.as_str(), "--no-new-privs"], &ober);
    let started = stage.ober.start_by(&stage.cluster.node, &mut command);
    started.expect("it starts with what the unit grants");
}

/// The number of the program on the interface.
fn program(stage: &Stage) -> u32 {
    let here = || occupants(index("in0").expect("asked").expect("it is there"));
    let all = stage.cluster.node.run(here).expect("enter the node");
    let all = all.expect("the kernel says");
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].program
}

#[test]
fn what_the_unit_grants_is_enough_to_start_to_restart_and_to_mend_a_lost_pin() {
    let mut stage = Stage::new("granted", &Settings::default()).expect("build the stage");
    change(&stage, "sample = 1", "sample = 1\nreconcile = \"500ms\"");
    start(&mut stage);
    store(&stage);
    get(&stage, &stage.open(VIP4)).expect("it serves");
    let first = program(&stage);

    stage.kill().expect("kill it");
    start(&mut stage);
    let up = || Ok(all_are(&stage.status()?, State::Up).then_some(()));
    until("every gate is up", SOON, up).expect("a restart");
    assert_eq!(program(&stage), first, "the same program stays");

    let pins = paths::pins(BPFFS.as_ref(), stage.cluster.lab.instance());
    let pin = pins.join("link_xdp_native_in0");
    fs::remove_file(&pin).expect("lose a pin");
    until("the pin is there again", SOON, || {
        let status = stage.status()?;
        let mended = pin.exists() && in0(&status).attached == Some(true);
        Ok((mended && all_are(&status, State::Up)).then_some(()))
    })
    .expect("it is mended");
    assert_eq!(program(&stage), first, "the lost link was found");
    get(&stage, &stage.open(VIP4)).expect("it serves");
}
