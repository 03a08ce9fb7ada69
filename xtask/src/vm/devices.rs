//! Cards of many kinds in one machine, each with a fixed slot on the bus and its own cable.

use super::wire::Wire;
use anyhow::Result;

/// A card, and the name by which the guest knows it.
struct Card {
    name: &'static str,
    /// QEMU's name of the device, with its options.
    device: &'static str,
    /// Queue pairs of its cable; 1 for cards that have or need only one.
    queues: u8,
}

const fn card(name: &'static str, device: &'static str, queues: u8) -> Card {
    Card {
        name,
        device,
        queues,
    }
}

/// The cards on which XDP showed a behaviour of its own. The guest (`guest/devices`) has the expected result of each.
const CARDS: [Card; 14] = [
    card("virtio", "virtio-net-pci,mq=on,vectors=10", 4),
    card("virtio-1", "virtio-net-pci", 1),
    card("virtio-8", "virtio-net-pci,mq=on,vectors=18", 8),
    card("unmerged", "virtio-net-pci,mrg_rxbuf=off", 1),
    card(
        "unmerged-small",
        "virtio-net-pci,mrg_rxbuf=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off",
        1,
    ),
    card("fixed", "virtio-net-pci,ctrl_guest_offloads=off", 1),
    card(
        "fixed-csum",
        "virtio-net-pci,ctrl_guest_offloads=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off",
        1,
    ),
    card(
        "no-csum",
        "virtio-net-pci,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off",
        1,
    ),
    card("jumbo-before", "virtio-net-pci,mq=on,vectors=10", 4),
    card("jumbo-after", "virtio-net-pci,mq=on,vectors=10", 4),
    card("blind", "virtio-net-pci,mrg_rxbuf=off", 1),
    card("vmxnet3", "vmxnet3", 1),
    card("bonded", "vmxnet3", 1),
    card("e1000e", "e1000e", 1),
];

/// The first slot on the bus.
const FIRST: usize = 4;
/// Kernel modules for the cards, beside those of every guest.
pub(super) const MODULES: [&str; 4] = ["vmxnet3", "e1000e", "bonding", "8021q"];

/// Makes the cables. The other end of the card in slot n has the address 10.78.n.1.
pub(super) fn connect(wire: &Wire) -> Result<()> {
    for (place, card) in (FIRST..).zip(&CARDS) {
        wire.cable(
            &format!("tap{place}"),
            card.queues > 1,
            &[format!("10.78.{place}.1/24")],
        )?;
    }
    Ok(())
}

/// QEMU's options for all cards, and the kernel's words for the guest.
pub(super) fn words() -> (Vec<String>, String) {
    let mut words = Vec::new();
    for (place, card) in (FIRST..).zip(&CARDS) {
        let queues = match card.queues {
            1 => String::new(),
            many => format!(",queues={many}"),
        };
        let cable =
            format!("tap,id=n{place},ifname=tap{place},script=no,downscript=no,vhost=off{queues}");
        let device = format!("{},netdev=n{place},romfile=,addr={place:#x}", card.device);
        words.extend(["-netdev".to_owned(), cable, "-device".to_owned(), device]);
    }
    let named = (FIRST..)
        .zip(&CARDS)
        .map(|(place, card)| format!("{}@{place}", card.name));
    (
        words,
        format!("ober.cards={}", named.collect::<Vec<_>>().join(",")),
    )
}
