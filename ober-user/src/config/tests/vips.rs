//! Valid VIPs and ports, and their maximum number.

use super::*;

#[test]
fn a_vip_and_port_belong_to_one_listener_only() {
    let directory = ConfigDirectory::new();
    let twice = LEAST.replace("port = 80", "port = 443");
    assert_eq!(
        directory.problems(&twice),
        [
            "12: port 443 of VIP 192.0.2.10 is already served by service `s3` | first written at @/ober.toml:9"
        ]
    );
    let other = format!(
        "{LEAST}[[services]]\nname='s3'\nvips=['2001:db8::10']\nbackend='rwg'\n\
         [[services.listeners]]\nport=80\naccess='open'\n"
    );
    assert_eq!(
        directory.problems(&other),
        [
            "17: two services are called `s3` | first written at @/ober.toml:5",
            "19: there is no backend `rwg` | did you mean `rgw`?",
            "21: port 80 of VIP 2001:db8::10 is already served by service `s3` | first written at @/ober.toml:12",
        ]
    );
    let metrics = LEAST
        .replace("192.0.2.10", "127.0.0.1")
        .replace("port = 80", "port = 8404");
    assert_eq!(
        directory.problems(&metrics),
        ["12: 127.0.0.1:8404 is taken by `metrics` of [node]"]
    );
}

#[test]
fn only_unicast_addresses_can_be_vips() {
    let directory = ConfigDirectory::new();
    for (vip, accepted) in [
        ("127.0.0.2", true),
        ("::1", true),
        ("0.0.0.0", false),
        ("::", false),
        ("224.0.0.5", false),
        ("ff02::1", false),
        ("255.255.255.255", false),
        ("::ffff:192.0.2.1", false),
    ] {
        let result = directory.parse(&LEAST.replace("192.0.2.10", vip));
        assert_eq!(result.is_ok(), accepted, "{vip}: {result:?}");
    }
    assert_eq!(
        directory.problems(&LEAST.replace("2001:db8::10", "192.0.2.10")),
        ["6: VIP 192.0.2.10 is written twice in service `s3`"]
    );
}

#[test]
fn a_node_holds_at_most_255_pairs_of_vip_and_port_and_32_lists() {
    let directory = ConfigDirectory::new();
    let vips = |number: u32| {
        let vips: Vec<_> = (1..=number)
            .map(|last| format!("'192.0.2.{last}'"))
            .collect();
        format!(
            "[node]\ninterfaces=['a']\n[backends.b]\n[[services]]\nname='s'\nbackend='b'\nvips=[{}]\n\
             [[services.listeners]]\nport=1\naccess='open'\n[[services]]\nname='t'\nbackend='b'\nvips=['::1']\n\
             [[services.listeners]]\nport=1\naccess='open'\n",
            vips.join(",")
        )
    };
    assert_eq!(
        directory.parse(&vips(254)).unwrap().vip_listeners().count(),
        255
    );
    assert_eq!(
        directory.problems(&vips(255)),
        [
            "11: more than 255 pairs of VIP and port on this node, from service `t` on | use fewer VIPs or listeners"
        ]
    );
    let lists = |number: u32| {
        (0..number).fold(LEAST.to_owned(), |text, list| {
            format!("{text}[lists.l{list:02}]\n")
        })
    };
    assert_eq!(directory.parse(&lists(30)).unwrap().lists.len(), 32);
    assert_eq!(
        directory.problems(&lists(31)),
        [
            "46: more than 32 lists, `frontend-http` and `routers` included | join lists that are used alike"
        ]
    );
}
