//! What is expected of each card, by the version of Linux.

use ober_user::dataplane::interface::Linux;

/// A law, and where it is checked.
pub(super) struct Expected {
    pub(super) law: &'static str,
    pub(super) place: Where,
}

pub(super) enum Where {
    /// After the attach with `auto`: in the driver or not, and words of the reason and advice.
    Attached {
        native: bool,
        words: &'static [&'static str],
    },
    /// Incoming packets are counted.
    Meets,
    /// After the MTU was raised.
    AfterJumbo {
        native: bool,
        words: &'static [&'static str],
    },
    /// A program forced into the driver is found not to run.
    Blind,
    /// With `steer = "cpu"`.
    Steers { steers: bool, words: &'static str },
    /// Receive queues.
    Queues(u32),
}

const fn law(law: &'static str, place: Where) -> Expected {
    Expected { law, place }
}

fn native() -> Vec<Expected> {
    let place = Where::Attached {
        native: true,
        words: &[],
    };
    vec![
        law("XDP is in the driver", place),
        law("the program meets what comes in", Where::Meets),
        steers(),
    ]
}

fn steers() -> Expected {
    let place = Where::Steers {
        steers: true,
        words: "cpu",
    };
    law("packets may be steered", place)
}

fn generic(words: &'static [&'static str]) -> Vec<Expected> {
    let place = Where::Attached {
        native: false,
        words,
    };
    let steers = Where::Steers {
        steers: false,
        words: "generic",
    };
    vec![
        law("XDP is generic, with the reason and what would help", place),
        law("the program meets what comes in", Where::Meets),
        law("nothing is steered", steers),
    ]
}

/// Native, but the card takes VLAN tags out of frames.
fn tagged() -> Vec<Expected> {
    let mut all = native();
    all.retain(|expected| !matches!(expected.place, Where::Steers { .. }));
    let place = Where::Steers {
        steers: false,
        words: "rx-vlan-offload",
    };
    all.push(law(
        "nothing is steered that would lose its VLAN tag",
        place,
    ));
    all
}

/// `None`: the table does not know that card.
pub(super) fn of(card: &str, linux: Linux) -> Option<Vec<Expected>> {
    let vmxnet3 = linux >= Linux(6, 6);
    let fragments = linux >= Linux(6, 3);
    Some(match card {
        "virtio" | "virtio-1" | "virtio-8" | "unmerged-small" | "no-csum" => native(),
        "unmerged" => generic(&["mrg_rxbuf", "guest_tso4, guest_tso6"]),
        "fixed" => generic(&[
            "Can't set XDP while host is implementing",
            "guest_csum, guest_tso4",
        ]),
        "fixed-csum" => generic(&["Can't set XDP while host is implementing", "guest_csum"]),
        "jumbo-before" if fragments => native(),
        "jumbo-before" => generic(&["MTU too large", "4064", "Linux 6.3"]),
        "jumbo-after" => vec![law(
            "a driver is asked again when the MTU was raised",
            Where::AfterJumbo {
                native: fragments,
                words: if fragments {
                    &[]
                } else {
                    &["MTU too large", "4064"]
                },
            },
        )],
        "blind" => vec![law(
            "a program that is attached and never runs is found out",
            Where::Blind,
        )],
        "vmxnet3" if vmxnet3 => tagged(),
        "vmxnet3" => generic(&["since Linux 6.6"]),
        "bonded" => {
            let mut all = if vmxnet3 {
                tagged()
            } else {
                generic(&["bond"])
            };
            all.push(law("a bond has the queues of its card", Where::Queues(4)));
            all
        }
        "e1000e" => generic(&["e1000e has no native XDP"]),
        _ => return None,
    })
}
