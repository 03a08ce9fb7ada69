//! The XDP program on one interface: in the driver where that is possible, otherwise generic, with the reason kept
//! beside the pin. An existing link is kept, and its program is replaced in place.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use aya::{Ebpf, programs::ProgramInfo};

use super::{
    Error, kernel,
    link::{self, xdp_pin},
    lost,
    note::{self, Note},
    occupant::{Occupant, occupants},
    words,
};
use crate::{
    config::XdpMode,
    dataplane::interface::{
        Features,
        refusal::{Cause, WhyGeneric, advice, is_hopeless},
    },
    machine::drive,
    system::{netlink::question::Refusal, store},
};

/// How long to wait for a link of ours to end. The kernel ends it some time after its last descriptor and its pin are
/// gone, and [`super::pinned`] closes its descriptor only when it looks the next time.
const LETS_GO: Duration = Duration::from_secs(2);
/// The time between two attempts while waiting for that.
const PACE: Duration = Duration::from_millis(50);

/// An attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub interface: String,
    pub native: bool,
    /// Why the program is generic although the driver was to run it.
    pub why_generic: Option<WhyGeneric>,
}

/// One interface and what is to be attached to it.
pub(super) struct Site<'s> {
    pub(super) home: &'s Path,
    pub(super) program: BorrowedFd<'s>,
    pub(super) info: &'s ProgramInfo,
    pub(super) features: &'s Features,
    pub(super) mode: XdpMode,
    /// At a start and at a reload: a driver that refused is asked again, and so is one whose interface has other
    /// features by now.
    pub(super) fresh: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// Loads the same programs once more.
pub(super) type Twin<'t> = dyn FnMut() -> Result<Ebpf, Error> + 't;

impl Site<'_> {
    /// Attaches the program, or puts it into the link that is there.
    pub(super) fn attach(&self, twin: &mut Twin<'_>) -> Result<Attached, Error> {
        let wanted = self.wanted()?;
        self.find_again()?;
        for native in [true, false] {
            let pin = xdp_pin(self.home, self.name(), native);
            let held = link::held(&pin, self.features.index);
            let Some(link) = held.map_err(|error| self.failed(&error.to_string()))? else {
                continue;
            };
            if self.may_stay(native, &wanted) && self.goes_on(&link, native, &wanted, twin)? {
                return Ok(self.adopted(native, wanted));
            }
            return self.exchange(native, wanted);
        }
        self.make(wanted)
    }

    /// Pins the interface's link again if it exists and has lost its pin.
    fn find_again(&self) -> Result<(), Error> {
        let index = self.features.index;
        let pins = [true, false].map(|native| xdp_pin(self.home, self.name(), native));
        if pins.iter().any(|pin| pin.exists()) {
            return Ok(());
        }
        let Some(link) = lost::link(self.info, index) else {
            return Ok(());
        };
        let failed = |error: &dyn std::error::Error| self.failed(&error.to_string());
        let running = kernel::info(&link).map_err(|error| failed(&error))?.program;
        let occupants = occupants(index).map_err(|error| failed(&error))?;
        let generic = |it: &Occupant| it.program == running && it.generic;
        let [native_pin, generic_pin] = pins;
        let pin = if occupants.iter().any(generic) {
            generic_pin
        } else {
            native_pin
        };
        kernel::pin(&link, &pin).map_err(|error| failed(&error))
    }

    /// How the program is to run, from the configured mode and what is known of the driver.
    fn wanted(&self) -> Result<WantedMode, Error> {
        let blind = self
            .features
            .virtio
            .is_some_and(|it| it.is_blind(self.features.mtu));
        match (self.mode, blind) {
            (XdpMode::Generic, _) => Ok(WantedMode::Generic(None)),
            (XdpMode::Auto, true) => Ok(WantedMode::Generic(Some(Cause::Blind))),
            (XdpMode::Native, true) => Err(self.refused(&Cause::Blind)),
            (XdpMode::Auto | XdpMode::Native, false) => Ok(WantedMode::Native),
        }
    }

    /// May the link that is there stay, in the mode it has?
    fn may_stay(&self, native: bool, wanted: &WantedMode) -> bool {
        match (native, wanted) {
            (true, WantedMode::Native) | (false, WantedMode::Generic(_)) => true,
            (true, WantedMode::Generic(_)) => false,
            (false, WantedMode::Native) if self.mode == XdpMode::Native => false,
            (false, WantedMode::Native) => {
                let hopeless = self.noted().is_some_and(|note| {
                    let (why_generic, asked) = (note.why_generic.as_ref(), self.features.asked());
                    why_generic
                        .is_some_and(|it| is_hopeless(it, &note.asked, &asked, self.features))
                });
                !self.fresh || hopeless
            }
        }
    }

    /// Puts the program into the link that is there. A native link's driver is asked again when the interface has
    /// changed. `false`: the driver refuses the program.
    fn goes_on(
        &self,
        link: &OwnedFd,
        native: bool,
        wanted: &WantedMode,
        twin: &mut Twin<'_>,
    ) -> Result<bool, Error> {
        let (in_driver, asked) = (
            native && *wanted == WantedMode::Native,
            self.features.asked(),
        );
        match link::replace(self.home, link, self.info, self.program) {
            Ok(link::Replaced::Alike) => {
                let same = self.noted().is_none_or(|note| note.asked == asked);
                Ok(!in_driver || same || !self.fresh || self.takes_again(link, twin)?)
            }
            // The exchange has just asked the driver.
            Ok(link::Replaced::Exchanged) => {
                if in_driver && self.noted().is_some_and(|note| note.asked != asked) {
                    self.note_taken();
                }
                Ok(true)
            }
            // The program in the link is of an earlier start and may use other maps, so it cannot stay.
            Err(error) if in_driver => {
                let cause = refusal_of(&error);
                if self.mode == XdpMode::Native {
                    return Err(self.refused(&cause));
                }
                Ok(false)
            }
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// Asks the driver again, with a program attached all the time: the driver gets the same program once more and
    /// checks the interface as it is now. Drivers do not restart the interface for that, as they do for the first
    /// program and for the removal of the last.
    fn takes_again(&self, link: &OwnedFd, twin: &mut Twin<'_>) -> Result<bool, Error> {
        let failed = |error: &dyn std::error::Error| self.failed(&error.to_string());
        let running = kernel::info(link).map_err(|error| failed(&error))?.program;
        let Some(before) = link::loaded(running) else {
            return Ok(true);
        };
        let answer = if running == self.info.id() {
            let mut twin = twin()?;
            let twin = super::load::xdp_program(&mut twin)?;
            let fd = twin.fd().map_err(|error| failed(&error))?;
            kernel::update(link, fd.as_fd())
        } else {
            kernel::update(link, self.program)
        };
        if let Err(error) = answer {
            return Ok(self.refuses_now(&error));
        }
        let before = before.fd().map_err(|error| failed(&error))?;
        let back = kernel::update(link, before.as_fd());
        back.map_err(|error| failed(&error))?;
        self.note_taken();
        Ok(true)
    }

    /// Notes that the driver accepts the program with the interface as it is now.
    fn note_taken(&self) {
        self.note(&Note {
            asked: self.features.asked(),
            why_generic: None,
        });
    }

    /// Logs that the driver runs the program but would not accept it now. Returns whether the program stays: it does
    /// with `native`, because without XDP no packet would be filtered.
    fn refuses_now(&self, error: &io::Error) -> bool {
        let cause = refusal_of(error);
        let advice = advice(&cause, self.features);
        tracing::error!(
            interface = self.name(),
            mtu = self.features.mtu,
            reason = cause.words(),
            advice,
            "the driver runs the program, but would refuse it for the interface as it is now: some packets may be lost"
        );
        self.mode == XdpMode::Native
    }

    fn adopted(&self, native: bool, wanted: WantedMode) -> Attached {
        let note = self.noted();
        let kept = note.as_ref().and_then(|note| note.why_generic.clone());
        let why_generic = match wanted {
            WantedMode::Native if native => None,
            WantedMode::Native => kept,
            WantedMode::Generic(cause) => cause.map(|cause| self.since(cause)),
        };
        if note.as_ref().is_none_or(|it| it.why_generic != why_generic) {
            self.note(&Note {
                asked: note.map_or_else(|| self.features.asked(), |note| note.asked),
                why_generic: why_generic.clone(),
            });
        }
        self.attached(native, why_generic)
    }

    /// Removes the link and makes another. When that fails, a link in the old mode is made again.
    fn exchange(&self, native: bool, wanted: WantedMode) -> Result<Attached, Error> {
        tracing::warn!(
            interface = self.name(),
            from = if native { "native" } else { "generic" },
            "XDP is removed and attached again"
        );
        let pin = xdp_pin(self.home, self.name(), native);
        link::take_off(&pin).map_err(|error| self.failed(&error.to_string()))?;
        let made = self.make(wanted);
        if made.is_err() {
            let attached = self.create(native);
            attached.map_err(|refusal| self.failed(&refusal.to_string()))?;
        }
        made
    }

    /// Attaches to an interface that has no link of ours.
    fn make(&self, wanted: WantedMode) -> Result<Attached, Error> {
        let cause = match wanted {
            WantedMode::Generic(cause) => cause,
            WantedMode::Native => match self.create(true) {
                Ok(()) => return Ok(self.made(true, None)),
                Err(refusal) => {
                    self.unless_taken(&refusal)?;
                    let cause = Cause::from(&refusal);
                    if self.mode == XdpMode::Native {
                        return Err(self.refused(&cause));
                    }
                    Some(cause)
                }
            },
        };
        if let Some(cause) = &cause {
            tracing::warn!(
                interface = self.name(),
                reason = cause.words(),
                advice = advice(cause, self.features),
                "XDP is generic here, which is several times slower"
            );
        }
        if let Err(refusal) = self.create(false) {
            self.unless_taken(&refusal)?;
            return Err(self.failed(&refusal.to_string()));
        }
        let why_generic = cause.map(|cause| self.since(cause));
        Ok(self.made(false, why_generic))
    }

    /// Makes a new link and pins it. Where a program of ours that lost its pin is still attached, this waits up to
    /// [`LETS_GO`] until it is gone.
    fn create(&self, native: bool) -> Result<(), Refusal> {
        let since = drive::now();
        loop {
            match self.create_now(native) {
                Err(refusal)
                    if is_taken(&refusal)
                        && self.leaves()
                        && drive::now().saturating_duration_since(since) < LETS_GO =>
                {
                    store::off_the_runtime(|| std::thread::sleep(PACE));
                }
                done => return done,
            }
        }
    }

    fn create_now(&self, native: bool) -> Result<(), Refusal> {
        let index = self.features.index;
        let link = match kernel::attach_xdp(self.program, index, native) {
            Ok(link) => link,
            Err(error) => words::of(&error, self.program, index, native)?,
        };
        Ok(kernel::pin(
            &link,
            &xdp_pin(self.home, self.name(), native),
        )?)
    }

    /// Are all programs on the interface like ours, with the same instructions and the same maps?
    fn leaves(&self) -> bool {
        let ours = |occupant: &Occupant| {
            let program = link::loaded(occupant.program);
            program.is_none_or(|program| link::alike(&program, self.info))
        };
        occupants(self.features.index).is_ok_and(|found| found.iter().all(ours))
    }

    /// Returns an error when a program that is not ours is on the interface.
    fn unless_taken(&self, refusal: &Refusal) -> Result<(), Error> {
        if !is_taken(refusal) {
            return Ok(());
        }
        let found = occupants(self.features.index).unwrap_or_default();
        match found.into_iter().next() {
            Some(occupant) => Err(Error::Taken {
                interface: self.name().into(),
                off: occupant.off(self.name()),
                occupant,
            }),
            None => Ok(()),
        }
    }

    /// The cause, with the time since when it has held.
    fn since(&self, cause: Cause) -> WhyGeneric {
        let note = self.noted();
        let before = note.and_then(|note| note.why_generic);
        let before = before.filter(|before| before.cause == cause);
        before.unwrap_or(WhyGeneric {
            since: self.now,
            cause,
        })
    }

    fn made(&self, native: bool, why_generic: Option<WhyGeneric>) -> Attached {
        self.note(&Note {
            asked: self.features.asked(),
            why_generic: why_generic.clone(),
        });
        self.attached(native, why_generic)
    }

    fn attached(&self, native: bool, why_generic: Option<WhyGeneric>) -> Attached {
        Attached {
            interface: self.name().into(),
            native,
            why_generic,
        }
    }

    /// Writes the note. A failure is only logged: the note explains and has no effect on packets.
    fn note(&self, note: &Note) {
        if let Err(error) = note::write(self.home, self.name(), note) {
            tracing::warn!(interface = self.name(), %error, "write the note on XDP beside the pin of the link");
        }
    }

    fn noted(&self) -> Option<Note> {
        note::read(self.home, self.name())
    }

    fn name(&self) -> &str {
        &self.features.name
    }

    fn refused(&self, cause: &Cause) -> Error {
        Error::Refused {
            interface: self.name().into(),
            words: cause.words(),
            advice: advice(cause, self.features),
        }
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Attach {
            interface: self.name().into(),
            reason: reason.into(),
        }
    }
}

/// Has the kernel refused because the interface has a program already?
fn is_taken(refusal: &Refusal) -> bool {
    matches!(refusal.errno, libc::EBUSY | libc::EEXIST)
}

fn refusal_of(error: &io::Error) -> Cause {
    Cause::Refused {
        errno: error.raw_os_error().unwrap_or(libc::EIO),
        words: None,
    }
}

/// How the program is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WantedMode {
    Native,
    /// With the reason, when it is not because of the configuration.
    Generic(Option<Cause>),
}

impl Site<'_> {
    /// Takes the program out of the driver for this reason and attaches it as generic. Only for `auto`.
    pub(super) fn fall_back(&self, cause: Cause) -> Result<Attached, Error> {
        self.exchange(true, WantedMode::Generic(Some(cause)))
    }
}
