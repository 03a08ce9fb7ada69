//! The daemon's announcements, on real routers.
use std::time::Duration;

use ober_tests::routed::{Routed, Settings};

#[test]
fn debug() {
    let mut stage = Routed::new("debug", &Settings::default()).expect("stage");
    stage.start(0).expect("start");
    stage
        .until_paths(&[0], Duration::from_secs(10))
        .expect("path");
    std::thread::sleep(Duration::from_secs(3));
    println!("{:#?}", stage.status(0).unwrap().bfd);
    println!("{}", stage.frr.command("show bfd peers").unwrap());
    println!(
        "{}",
        stage.frr.command("show bgp neighbors 10.78.1.2").unwrap()
    );
    println!("{}", stage.cli(0, &["status"]).unwrap());
}
