//! A minute of `cargo xtask chaos`.

use std::time::Duration;

use ober_tests::chaos::{Options, run};

#[test]
fn a_minute_of_faults_breaks_no_law() {
    let report = run(&Options {
        time: Duration::from_mins(1),
        seed: 1,
        ..Options::default()
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    println!("{report}");
    assert!(report.faults > 20, "{report}");
    assert!(report.requests.answered > 500, "{report}");
    assert!(report.requests.strangers > 50, "{report}");
}
