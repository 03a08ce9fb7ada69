//! The attached interfaces, and the work on one that has changed.

use std::os::fd::{AsFd as _, BorrowedFd};

use aya::{
    Ebpf,
    programs::{ProgramInfo, Xdp},
};

use super::{
    Attached, Error, Plane,
    attach::{Site, Twin},
    load::{XDP, load_programs, xdp_program},
    maps,
};
use crate::{
    dataplane::interface::{Features, gather::Snapshot, refusal::Cause, steer::Decision},
    system::clock,
};

impl Plane {
    /// Makes the next attach ask drivers again that refused.
    pub fn ask_again(&mut self) {
        self.fresh = true;
    }

    /// The interfaces as they were attached last.
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Are packets sent to their worker's CPU, and why? `None`: not decided yet.
    pub fn steering(&self) -> Option<&Decision> {
        self.steering.as_ref()
    }

    /// Puts a decision in force for the workers on these CPUs.
    pub fn steer(&mut self, cpus: &[u32], decision: Decision) -> Result<(), Error> {
        self.set_workers(cpus, decision.steers)?;
        self.steering = Some(decision);
        Ok(())
    }

    /// Asks the driver of an interface that has changed whether it still accepts the program. If not, the program
    /// becomes generic with `auto`. `twin`: the programs that [`Self::twin`] loaded.
    pub fn judge_again(&mut self, features: &Features, twin: Ebpf) -> Result<Attached, Error> {
        let mut twin = Some(twin);
        let load = self.twin()?;
        self.at(
            features,
            true,
            &mut || twin.take().map_or_else(&load, Ok),
            |site, twin| site.attach(twin),
        )
    }

    /// Takes the program out of the driver of an interface for this reason and attaches it as generic.
    pub fn fall_back(&mut self, features: &Features, cause: Cause) -> Result<Attached, Error> {
        let mut twin = self.twin()?;
        self.at(features, false, &mut twin, |site, _| site.fall_back(cause))
    }

    pub(super) fn at(
        &mut self,
        features: &Features,
        fresh: bool,
        twin: &mut Twin<'_>,
        work: impl FnOnce(&Site<'_>, &mut Twin<'_>) -> Result<Attached, Error>,
    ) -> Result<Attached, Error> {
        let (home, mode) = (self.home.clone(), self.xdp);
        let xdp = xdp_program(&mut self.programs)?;
        let attached = on(xdp, |program, info| {
            let site = Site {
                home: &home,
                program,
                info,
                features,
                mode,
                fresh,
                now: clock::seconds(),
            };
            work(&site, twin)
        })?;
        let known = self.attached.iter_mut();
        for known in known.filter(|known| known.interface == attached.interface) {
            known.clone_from(&attached);
        }
        Ok(attached)
    }

    /// Returns a function that loads the programs once more, on the maps in force. Loading takes a while and needs no
    /// lock on the plane.
    pub fn twin(&self) -> Result<impl Fn() -> Result<Ebpf, Error> + use<>, Error> {
        // The loader would make a new map where a pin is missing, and the programs must not use an empty map.
        self.pin_maps()?;
        let (directory, limits, log) = (self.directory.clone(), self.limits, self.packet_log);
        Ok(move || load_programs(&directory, &maps::shapes(&limits), &limits, log))
    }
}

/// The features of these interfaces as the kernel describes them now.
pub(super) fn all(interfaces: &[String]) -> Result<Vec<Features>, Error> {
    let error = |interface: &String, reason: String| Error::Attach {
        interface: interface.clone(),
        reason,
    };
    let Some(first) = interfaces.first() else {
        return Ok(Vec::new());
    };
    let snapshot = Snapshot::take().map_err(|cause| error(first, cause.to_string()))?;
    let features = |interface: &String| {
        let features = snapshot.features(interface);
        features.ok_or_else(|| {
            let words = "there is no such interface; `ip link` lists those that are here";
            error(interface, words.into())
        })
    };
    interfaces.iter().map(features).collect()
}

fn on<T>(
    xdp: &Xdp,
    work: impl FnOnce(BorrowedFd<'_>, &ProgramInfo) -> Result<T, Error>,
) -> Result<T, Error> {
    let error = |source| Error::Program {
        name: XDP,
        source: Box::new(source),
    };
    let info = xdp.info().map_err(error)?;
    work(xdp.fd().map_err(error)?.as_fd(), &info)
}
