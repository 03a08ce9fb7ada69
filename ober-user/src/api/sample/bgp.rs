//! A BGP neighbour to show.

use crate::api::status::bgp;

pub(super) fn neighbour() -> bgp::Neighbour {
    let route = bgp::AdvertisedRoute {
        prefix: "192.0.2.10/32".into(),
        next_hop: [192, 0, 2, 1].into(),
        path: vec![65001],
        med: Some(100),
        local_pref: None,
        communities: vec!["65001:100".into()],
    };
    let updates = bgp::Counts {
        sent: 3,
        received: 1,
    };
    bgp::Neighbour {
        address: [192, 0, 2, 254].into(),
        asn: Some(65000),
        local_as: 65001,
        id: Some([192, 0, 2, 254].into()),
        state: crate::protocols::bgp::event::State::Established,
        seconds: 3600,
        flaps: 2,
        hold_time: Some(9),
        families: vec!["ipv4".into()],
        extended_next_hop: false,
        opened: Some(bgp::Opened {
            asn: 65000,
            id: [192, 0, 2, 254].into(),
            hold_time: 180,
            capabilities: vec!["ipv4".into(), "4-octet-as".into()],
        }),
        signed: true,
        bfd: Some(bgp::PathState::Up),
        announced: vec![route],
        messages: [("update".to_owned(), updates)].into(),
        malformed: 1,
        prefixes_received: 7,
        last_sent: None,
        last_received: Some(bgp::Said {
            code: 6,
            subcode: 2,
            name: "Administrative Shutdown".into(),
            text: Some("maintenance".into()),
            seconds: 3700,
        }),
        last_failure: None,
        last_failure_seconds: None,
    }
}
