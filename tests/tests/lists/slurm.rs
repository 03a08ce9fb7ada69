//! `slurm.conf` as its users keep it: in several files, on a share that may be missing, with a slip in it.

use std::{fs, net::IpAddr, path::PathBuf};

use ober_tests::nodes::one::{Settings, Stage};

use crate::{acl, listed};

struct Slurm {
    stage: Stage,
    home: PathBuf,
}

impl Slurm {
    /// Files below a directory of their own; the first is the one that is named.
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let stage = Stage::new(name, &Settings::default()).expect("build the stage");
        let home = stage.cluster.lab.directory().join("slurm");
        let config = fs::read_to_string(&stage.ober.config).expect("read");
        let more = format!(
            "{config}\n[lists.extra]\n[resolve]\ninterval = \"0\"\nslurm_conf = \"{}\"\n",
            home.join("slurm.conf").display()
        );
        fs::write(&stage.ober.config, more).expect("write");
        let mut slurm = Self { stage, home };
        for (file, text) in files {
            slurm.write(file, text);
        }
        slurm.stage.start().expect("start");
        slurm
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.home.join(file);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make it");
        fs::write(path, text).expect("write");
    }

    fn listed(&self, address: &str) -> bool {
        let address: IpAddr = address.parse().expect("address");
        listed(&self.stage, address)
    }
}

const NODES: (&str, &str) = ("slurm.conf", "ClusterName=Big\nInclude conf.d/nodes.conf\n");

#[test]
fn a_slurm_include_is_read_relative_to_the_including_file() {
    let slurm = Slurm::new(
        "slurminc",
        &[
            NODES,
            (
                "conf.d/nodes.conf",
                "Include rack1.conf\nInclude rack-%c.conf\n",
            ),
            (
                "conf.d/rack1.conf",
                "NodeName=r1n[1-2] NodeAddr=10.66.1.[1-2]\n",
            ),
            ("conf.d/rack-big.conf", "NodeName=big1 NodeAddr=10.66.3.1\n"),
            // Another file of the same name, which libslurm does not read.
            ("rack1.conf", "NodeName=r1n[1-2] NodeAddr=10.66.99.[1-2]\n"),
        ],
    );
    let sync = ["sync", "--frontend-http", "r1n[1-2],big1"];
    acl(&slurm.stage, &sync).says(0, &["3 on it"]);
    assert!(slurm.listed("10.66.1.1") && slurm.listed("10.66.3.1"));
    assert!(!slurm.listed("10.66.99.1"));
}

#[test]
fn a_fault_in_slurm_conf_affects_only_names_and_no_address_or_removal() {
    let good = "NodeName=r1n[1-2] NodeAddr=10.66.1.[1-2]\n";
    let slurm = Slurm::new("slurmfault", &[NODES, ("conf.d/nodes.conf", good)]);
    let sync = ["sync", "--frontend-http", "r1n[1-2],10.1.1.1"];
    acl(&slurm.stage, &sync).says(0, &["3 on it"]);
    let bad = [
        (
            "a line",
            "NodeName=r1n1 NodeAddr=10.66.1.1\nNodeName=r1n2 NodeAddr=10.66.1.300\n",
        ),
        (
            "an include",
            "NodeName=r1n1 NodeAddr=10.66.1.1\nInclude gone.conf\n",
        ),
    ];
    for (what, text) in bad {
        slurm.write("conf.d/nodes.conf", text);
        // The name that the bad line would define keeps its addresses; the other name is still defined.
        let expected = ["r1n2", "keeps its earlier addresses", "0 removed"];
        acl(&slurm.stage, &["sync", "--refresh"]).says(3, &expected);
        assert!(slurm.listed("10.66.1.2"), "{what}");
        acl(&slurm.stage, &["add", "extra", "10.5.5.5"]).says(0, &["1 added"]);
        acl(&slurm.stage, &["remove", "extra", "10.5.5.5"]).says(0, &["1 removed"]);
        acl(&slurm.stage, &["remove", "frontend-http", "10.1.1.1"]).says(3, &["1 removed"]);
        assert!(!slurm.listed("10.1.1.1"), "{what}");
        acl(&slurm.stage, &sync).says(3, &["3 on it"]);
    }
    fs::remove_dir_all(&slurm.home).expect("the share is away");
    acl(&slurm.stage, &["sync", "--refresh"]).says(3, &["r1n[1-2]", "0 removed"]);
    acl(&slurm.stage, &["sync", "--frontend-http", ""]).says(0, &["3 removed"]);
}

#[test]
fn a_daemon_starts_without_slurm_conf_with_the_last_addresses_of_its_names() {
    let good = "NodeName=r1n[1-2] NodeAddr=10.66.1.[1-2]\n";
    let mut slurm = Slurm::new("slurmgone", &[NODES, ("conf.d/nodes.conf", good)]);
    let sync = ["sync", "--frontend-http", "r1n[1-2],10.1.1.1"];
    acl(&slurm.stage, &sync).says(0, &["3 on it"]);
    fs::remove_dir_all(&slurm.home).expect("the share is away");
    slurm.stage.kill().expect("kill the daemon");
    slurm.stage.start().expect("start without the share");
    assert!(slurm.listed("10.66.1.1") && slurm.listed("10.1.1.1"));
    acl(&slurm.stage, &["add", "extra", "10.5.5.5"]).says(0, &["1 added"]);
}
