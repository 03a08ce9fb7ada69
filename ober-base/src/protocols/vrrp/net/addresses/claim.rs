//! Sends claims of addresses that this node has.

use super::{
    super::{
        super::{
            claims::{self, Claim},
            neighbour,
        },
        Key,
        log::Line,
    },
    Keep, Kept,
};
use crate::{
    machine::{Machine as _, drive::now},
    protocols::vrrp::net::note::raise,
};

impl Keep {
    pub(super) fn claim(&mut self, key: Key, times: u8) {
        let Some(kept) = self.members.get(&key) else {
            return;
        };
        let mac = kept.member.virtual_mac.unwrap_or(self.interface.mac);
        // The virtual MAC is used on the interface of VRRP alone.
        let further = self.further.iter().map(|it| (it.index, it.mac));
        let places: Vec<_> = further.chain([(self.interface.index, mac)]).collect();
        let claims = kept.held.iter().flat_map(|&(_, address)| {
            places.iter().map(move |&(interface, mac)| Claim {
                interface,
                address,
                mac,
            })
        });
        let burst = claims::Event::Burst(claims.collect(), times);
        self.claims(burst);
    }

    pub(super) fn claims(&mut self, event: claims::Event) {
        let due = self.claims.on(now(), event);
        self.send(due);
    }

    pub(super) fn send(&mut self, due: Vec<Claim>) {
        let mut failed = None;
        for claim in due {
            let Claim {
                interface,
                address,
                mac,
            } = claim;
            let holds = |kept: &Kept| kept.held.iter().any(|(_, held)| *held == address);
            let mut members = self.members.iter();
            let Some((key, kept)) = members.find(|(_, kept)| holds(kept)) else {
                continue;
            };
            let frame = neighbour::claim(address, mac);
            match self.frames.send_by(interface, &frame) {
                Ok(()) => raise(&kept.member.counts.claims_sent),
                Err(error) => {
                    let why = format!("announce {address} to the link: {error}");
                    failed = Some((claim, Line::Unsent(*key, why)));
                }
            }
        }
        // Of several equal failures one is logged.
        if let Some((claim, line)) = failed {
            self.log.say(line);
            self.claims(claims::Event::Failed(claim));
        }
    }
}
