//! A later start or a reload that fails while workers and programs run: they go on.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use ober_tests::{
    lab::{VIP4, client4, client6, until},
    load::Plan,
    nodes::one::{Settings, Stage},
};

use crate::{
    CONTENT, Fault, PATH, Refusal, everywhere, fallback::start_with, fault,
    first::refused_by_the_driver, pins, run, store, with, workers,
};

/// A daemon with an interface beside it that takes no native XDP.
fn serving(name: &str, extra: &str) -> Stage {
    let settings = Settings {
        xdp: "native",
        extra: extra.to_owned(),
        ..Settings::default()
    };
    let mut stage = Stage::new(name, &settings).expect("build the stage");
    stage
        .cluster
        .node
        .ip(&["link add br9 type bridge", "link set br9 up"])
        .expect("an interface without native XDP");
    stage.start().expect("start");
    store(&stage);
    stage
}

/// Without a history the start cannot fall back to what was in force before, and fails.
fn forget_history(stage: &Stage) {
    let history = stage.cluster.lab.directory().join("state/history");
    fs::remove_dir_all(history).expect("forget the history");
}

/// Every connection passes the filter and a worker.
fn load(stage: &Stage) -> Plan {
    Plan {
        connections: 2,
        pause: Duration::from_millis(20),
        ..Plan::get(stage.open(VIP4), PATH, CONTENT)
    }
}

#[test]
fn a_failed_later_start_leaves_the_node_serving_and_the_next_start_adopts_it() {
    let mut stage = serving("later", "");
    let before = workers(&stage);
    assert_eq!(before.len(), 2);
    let load = load(&stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    stage.kill().expect("kill the daemon");
    forget_history(&stage);
    let mut faults = everywhere(&stage);
    faults.push(refused_by_the_driver());
    for fault in faults {
        let refusal = with(&stage, &fault, || run(&stage));
        refusal.says(fault.code, &fault.words);
        assert_eq!(workers(&stage), before, "{fault}");
        assert!(pins(&stage).is_dir(), "{fault}");
        let done = load.done();
        until("more requests", crate::PATIENCE, || {
            Ok((load.done() > done + 4).then_some(()))
        })
        .expect("the traffic goes on");
    }
    let status = stage.start().expect("and now it starts");
    assert!(status.data_plane.adopted);
    assert_eq!(workers(&stage), before);
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
}

#[test]
fn a_failed_start_with_other_limits_leaves_the_old_lists_in_force_and_editable() {
    let mut stage = serving("limits", "[limits]\nipv4_pages = 64\n");
    stage.kill().expect("kill the daemon");
    forget_history(&stage);
    let driver = refused_by_the_driver().and("ipv4_pages = 64", "ipv4_pages = 128");
    let refusal = with(&stage, &driver, || run(&stage));
    refusal.says(driver.code, &driver.words);
    let get = |number: usize| {
        let limit = Duration::from_millis(1500);
        let client = stage.open(VIP4).limits(limit, crate::PATIENCE);
        let host = &stage.cluster.clients[number];
        host.tokio(async || client.get(PATH, CONTENT).await)
            .expect("enter the client")
    };
    assert_eq!(get(0), Ok(()));
    assert!(get(1).is_err());
    let sources = format!("{},{}", client4(1), client6(1));
    stage
        .cli(&["acl", "sync", "--frontend-http", &sources])
        .expect("change the list without a daemon");
    assert_eq!(
        get(1),
        Ok(()),
        "the list that was changed is not the one in force"
    );
    assert!(
        get(0).is_err(),
        "the list that was changed is not the one in force"
    );
}

#[test]
fn a_reload_that_fails_says_why_and_changes_nothing() {
    let stage = serving("reload", "");
    let (before, status) = (workers(&stage), stage.status().expect("status"));
    let load = load(&stage)
        .start(&stage.cluster.clients[0])
        .expect("start the load");
    let mut faults = everywhere(&stage);
    faults.push(refused_by_the_driver());
    for fault in &faults {
        let refusal = with(&stage, fault, || {
            Refusal::from(stage.try_cli(&["reload"]).expect("reload"))
        });
        assert!(matches!(refusal.code, 1 | 2), "{refusal:?}");
        refusal.says(refusal.code, &fault.words);
        assert_eq!(workers(&stage), before, "{fault}");
    }
    let gone = fault("s3.pem", "gone.pem", 2, &[]);
    let mut stage = stage;
    let mut daemon = stage.ober.daemon.take().expect("it runs");
    with(&stage, &gone, || {
        daemon.signal(Signal::SIGHUP).expect("send SIGHUP");
        until("the refusal in the log", crate::PATIENCE, || {
            let log = daemon.log();
            let said = log.contains("nothing was changed") && log.contains("gone.pem");
            Ok(said.then_some(()))
        })
        .expect("it is said");
        assert_eq!(workers(&stage), before);
    });
    stage.ober.daemon = Some(daemon);
    let after = stage.status().expect("status");
    assert_eq!((after.pid, after.healthy), (status.pid, true));
    let report = load.finish().expect("finish");
    assert_eq!(report.tally().failed(), 0, "{:?}", report.failures(3));
}

#[test]
fn a_refused_xdp_mode_leaves_every_interface_with_its_program() {
    let settings = Settings {
        xdp: "generic",
        steer: "off",
        ..Settings::default()
    };
    let mut stage = Stage::new("mode", &settings).expect("build the stage");
    let bridge = ["link add br9 type bridge", "link set br9 up"];
    stage.cluster.node.ip(&bridge).expect("make a bridge");
    let text = fs::read_to_string(&stage.ober.config)
        .expect("read")
        .replace("[\"in0\"]", "[\"in0\", \"br9\"]");
    fs::write(&stage.ober.config, text).expect("write");
    stage.start().expect("start");
    stage.kill().expect("kill the daemon");
    forget_history(&stage);
    let native = fault(
        "xdp = \"generic\"",
        "xdp = \"native\"",
        1,
        &["br9", "node.xdp"],
    );
    let refusal = with(&stage, &native, || run(&stage));
    refusal.says(native.code, &native.words);
    for interface in ["in0", "br9"] {
        let link = crate::ip(&stage, &format!("-details link show {interface}"));
        assert!(link.contains("xdp"), "{link}");
    }
    stage.start().expect("and now it starts");
}

/// A list made from standard input, and three faults that show once the lists are done: another list in its place, the list
/// with other sources, and the list with other sources of the same content.
fn fed_from_standard_input(name: &str) -> (Stage, [Fault; 3]) {
    let stage = serving(name, "");
    let text = fs::read_to_string(&stage.ober.config).expect("read");
    fs::write(&stage.ober.config, text.replace("frontend-http", "clients")).expect("write");
    stage.cli(&["reload"]).expect("reload");
    let (one, other) = (client4(1), client6(1));
    let input = stage
        .cluster
        .lab
        .write("input", format!("{one}\n{other}\n"));
    let mut sync = stage
        .ober
        .ober(&["acl", "sync", "--list", "clients", "-"])
        .expect("ober-user");
    sync.stdin(fs::File::open(input.expect("write")).expect("open"));
    let output = stage.cluster.node.output(&mut sync).expect("sync");
    assert!(output.status.success(), "{output:?}");
    let late = || {
        fault("vips = [", "vips = [\"192.0.2.99\", ", 1, &["in7"])
            .and("vip_interface = \"lo\"", "vip_interface = \"in7\"")
    };
    let otherwise = late().and("sources = [", "sources = [\"10.9.9.9\", ");
    let the_same = format!("sources = [\"{one}\", \"{other}\"] # [");
    let faults = [
        done_without(late()),
        otherwise,
        late().and("sources = [", the_same),
    ];
    (stage, faults)
}

/// Another list takes its place.
fn done_without(fault: Fault) -> Fault {
    fault
        .and("[lists.clients]", "[lists.other]")
        .and("access = \"clients\"", "access = \"other\"")
}

/// The lists in the kernel, and the files of the lists on disk.
fn whole(stage: &Stage) -> (serde_json::Value, Vec<String>) {
    let shown = stage.cli(&["acl", "show", "--json"]).expect("show");
    let mut shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    for list in shown.as_array_mut().into_iter().flatten() {
        // When it was last read.
        list.as_object_mut().map(|list| list.remove("synced"));
    }
    let home = stage.cluster.lab.directory().join("state/lists");
    let entries = fs::read_dir(home).expect("lists").flatten();
    let mut files: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    (shown, files)
}

fn nothing_of_the_list_is_lost(
    stage: &Stage,
    before: &(serde_json::Value, Vec<String>),
    fault: &Fault,
) {
    let status = stage.status().expect("status");
    let doubt = status.configuration.and_then(|it| it.doubt);
    assert!(doubt.is_none(), "{fault}: {doubt:?}");
    assert_eq!(whole(stage), *before, "{fault}");
    let refreshed = stage.cli(&["acl", "sync", "--refresh"]).expect("refresh");
    assert!(
        refreshed.contains("0 added, 0 removed, 2 on it"),
        "{fault}: {refreshed}"
    );
    assert_eq!(whole(stage), *before, "{fault}");
}

#[test]
fn a_failed_start_leaves_the_list_from_standard_input_unchanged() {
    let (mut stage, faults) = fed_from_standard_input("start-list");
    let before = whole(&stage);
    for detach in [false, true] {
        for fault in &faults {
            stage.kill().expect("kill the daemon");
            if detach {
                stage.cli(&["detach"]).expect("detach");
            }
            let configuration = start_with(&mut stage, fault);
            assert!(configuration.fallback.is_some(), "{fault}");
            nothing_of_the_list_is_lost(&stage, &before, fault);
        }
    }
}

#[test]
fn a_failed_reload_leaves_the_list_from_standard_input_unchanged() {
    let (stage, faults) = fed_from_standard_input("reload-list");
    let before = whole(&stage);
    for fault in &faults {
        let refusal = with(&stage, fault, || {
            Refusal::from(stage.try_cli(&["reload"]).expect("reload"))
        });
        refusal.says(fault.code, &fault.words);
        nothing_of_the_list_is_lost(&stage, &before, fault);
    }
    // After the reload the list is gone, and so are its files.
    let done = done_without(fault("sample = 1", "sample = 2", 0, &[]));
    with(&stage, &done, || stage.cli(&["reload"]).expect("reload"));
    let (_, files) = whole(&stage);
    let lists = ["frontend-http", "other", "routers"];
    let left = lists.map(|list| [format!("{list}.entries"), format!("{list}.json")]);
    assert_eq!(files, left.concat());
}
