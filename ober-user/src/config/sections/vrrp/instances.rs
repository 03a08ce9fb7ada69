//! The virtual routers.

use std::collections::BTreeSet;

use super::{
    At, BTreeMap, Fault, IpAddr, Ipv6Addr, Judge, Key, NonZeroU8, OWNER, Preempt, RawInstance,
    Service, Span, Version, Vrid,
    nodes::{Nodes, hash},
};
use crate::protocols::vrrp::configured::Instance;

/// VRIDs of a family, and addresses of an advertisement.
const MOST: usize = 255;

/// Addresses and VRIDs of the instances so far.
#[derive(Default)]
struct Taken {
    addresses: BTreeMap<IpAddr, Span>,
    vrids: BTreeMap<(bool, NonZeroU8), Span>,
}

/// An instance whose VRID may still be missing.
struct Open {
    instance: Instance,
    vrid: Option<NonZeroU8>,
    span: Span,
}

impl Judge<'_> {
    pub(super) fn instances(
        &mut self,
        written: Vec<At<RawInstance>>,
        services: &[Service],
        version: Version,
        preempt: Preempt,
        nodes: &Nodes,
        section: &Span,
    ) -> Vec<Instance> {
        let written = if written.is_empty() {
            each_vip(services, section)
        } else {
            written
        };
        let mut taken = Taken::default();
        let mut open = Vec::new();
        for At { value, span } in written {
            let vips = self.vips_of(&value.vips, services, version, &span, &mut taken);
            let excluded = self.excluded(value.excluded, services, &mut taken);
            let Some(&lowest) = vips.iter().min() else {
                continue;
            };
            let priority = self.priority(value.priority, nodes.priority(lowest), &span);
            let wish = value.preempt.span();
            let preempt = self.preempt(&value.preempt, value.preempt_delay, preempt);
            if priority == OWNER && preempt == Preempt::Never {
                let message = "priority 255 always takes over, whatever `preempt` says";
                let help = "leave `preempt = false` out, or write a priority up to 254";
                self.refuse(Fault::new(wish.unwrap_or(span.clone()), message).help(help));
            }
            let vrid = value.vrid.0.map(|at| {
                self.vrid(&at, lowest.is_ipv6(), &mut taken);
                at.value
            });
            open.push(Open {
                instance: Instance {
                    link_local: self.link_local(value.link_local, lowest, &mut taken),
                    vips,
                    excluded,
                    vrid: Vrid(vrid.unwrap_or(NonZeroU8::MAX)),
                    priority,
                    preempt,
                },
                vrid,
                span,
            });
        }
        self.allocate(open)
    }

    fn vips_of(
        &mut self,
        written: &[At<IpAddr>],
        services: &[Service],
        version: Version,
        instance: &Span,
        taken: &mut Taken,
    ) -> Vec<IpAddr> {
        if written.is_empty() {
            let message = "an instance of `[[vrrp.instances]]` without `vips`";
            self.refuse(Fault::new(instance.clone(), message));
        }
        if let Some(at) = written.get(MOST) {
            let message = format!("more than {MOST} VIPs, which is what an advertisement holds");
            let help = "make two instances of it, or move some to `excluded`";
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        let six = written.first().is_some_and(|at| at.value.is_ipv6());
        let mut vips = Vec::with_capacity(written.len());
        for at in written {
            if at.value.is_ipv6() != six {
                let message = "an instance advertises VIPs of one family alone";
                let help = "make two instances of it, or move the others to `excluded`";
                self.refuse(Fault::new(at.span.clone(), message).help(help));
            }
            if six && version == Version::V2 {
                let message = format!("version 2 of VRRP cannot advertise {}", at.value);
                self.refuse(Fault::new(at.span.clone(), message).help("write `version = 3`"));
            }
            self.claim(at, services, taken);
            vips.push(at.value);
        }
        vips
    }

    fn excluded(
        &mut self,
        written: Vec<At<IpAddr>>,
        services: &[Service],
        taken: &mut Taken,
    ) -> Vec<IpAddr> {
        let addresses = written.into_iter().map(|at| {
            self.claim(&at, services, taken);
            at.value
        });
        addresses.collect()
    }

    /// Checks that an address is a VIP of a service, and of one instance only.
    fn claim(&mut self, at: &At<IpAddr>, services: &[Service], taken: &mut Taken) {
        let vip = at.value;
        if !services.iter().any(|service| service.vips.contains(&vip)) {
            let help = "write it among the `vips` of the service it belongs to";
            let message = format!("{vip} is no VIP of any service");
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        if let Some(first) = taken.addresses.insert(vip, at.span.clone()) {
            let message = format!("{vip} is in `[[vrrp.instances]]` twice");
            self.refuse(Fault::new(at.span.clone(), message).first(first));
        }
    }

    fn priority(&mut self, key: Key<u8>, ranked: Option<u8>, instance: &Span) -> u8 {
        if key.0.is_none() && ranked.is_none() {
            let help = "write `priority`, or all nodes as `[[vrrp.nodes]]` and this one as `node`";
            let message = "an instance of VRRP without a priority";
            self.refuse(Fault::new(instance.clone(), message).help(help));
        }
        self.number("priority", key, ranked.unwrap_or(1), 1..=OWNER)
    }

    fn vrid(&mut self, at: &At<NonZeroU8>, six: bool, taken: &mut Taken) {
        if let Some(first) = taken.vrids.insert((six, at.value), at.span.clone()) {
            let message = format!("VRID {} is taken by another instance", at.value);
            self.refuse(Fault::new(at.span.clone(), message).first(first));
        }
    }

    fn link_local(
        &mut self,
        key: Key<Ipv6Addr>,
        vip: IpAddr,
        taken: &mut Taken,
    ) -> Option<Ipv6Addr> {
        let At { value, span } = key.0?;
        let message = if !value.is_unicast_link_local() {
            format!("{value} is no link-local address")
        } else if vip.is_ipv4() {
            "`link_local` is for IPv6 VIPs".to_owned()
        } else if let Some(first) = taken.addresses.insert(value.into(), span.clone()) {
            let message = format!("{value} is in `[[vrrp.instances]]` twice");
            self.refuse(Fault::new(span, message).first(first));
            return None;
        } else {
            return Some(value);
        };
        self.refuse(Fault::new(span, message));
        None
    }

    /// Gives VRIDs to instances without one: made from the lowest VIP, or the next free one. Every node gets the same, in
    /// whatever order it lists the instances.
    fn allocate(&mut self, open: Vec<Open>) -> Vec<Instance> {
        let mut taken: BTreeSet<(bool, NonZeroU8)> = BTreeSet::new();
        taken.extend(
            open.iter()
                .filter_map(|it| Some((it.instance.is_ipv6(), it.vrid?))),
        );
        let mut order: Vec<(Option<IpAddr>, usize)> = open
            .iter()
            .enumerate()
            .map(|(place, it)| (it.instance.vips.iter().min().copied(), place))
            .collect();
        order.sort();
        let mut vrids = BTreeMap::new();
        for (lowest, place) in order {
            let (Some(vip), Some(it)) = (lowest, open.get(place)) else {
                continue;
            };
            if it.vrid.is_some() {
                continue;
            }
            if let Some(vrid) = free(hash(vip), vip.is_ipv6(), &taken) {
                taken.insert((vip.is_ipv6(), vrid));
                vrids.insert(place, Vrid(vrid));
            } else {
                let message = format!("more than {MOST} VRRP instances of one family");
                let help = "put several VIPs into one instance";
                self.refuse(Fault::new(it.span.clone(), message).help(help));
            }
        }
        let instances = open.into_iter().enumerate().map(|(place, it)| Instance {
            vrid: vrids.get(&place).copied().unwrap_or(it.instance.vrid),
            ..it.instance
        });
        instances.collect()
    }
}

fn free(hash: u64, six: bool, taken: &BTreeSet<(bool, NonZeroU8)>) -> Option<NonZeroU8> {
    let first = hash % MOST as u64;
    let all = (0..MOST as u64).filter_map(|step| {
        let vrid = u8::try_from((first + step) % MOST as u64 + 1).ok()?;
        NonZeroU8::new(vrid)
    });
    let mut free = all.filter(|vrid| !taken.contains(&(six, *vrid)));
    free.next()
}

fn each_vip(services: &[Service], section: &Span) -> Vec<At<RawInstance>> {
    let vips: BTreeSet<IpAddr> = services.iter().flat_map(|it| it.vips.clone()).collect();
    let instance = |vip| At {
        value: RawInstance {
            vips: vec![At {
                value: vip,
                span: section.clone(),
            }],
            ..RawInstance::default()
        },
        span: section.clone(),
    };
    vips.into_iter().map(instance).collect()
}
