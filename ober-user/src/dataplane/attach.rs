//! The XDP program on one interface: in the driver where that goes, else generic, with the reason kept beside the pin. A
//! link that is there is gone on with; its program is exchanged in place.

use std::{os::fd::BorrowedFd, path::Path};

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
    interface::{
        Features,
        refusal::{Cause, WhyGeneric, advice, is_hopeless},
    },
    netlink::question::Refusal,
};

/// An attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub interface: String,
    pub native: bool,
    /// Why it is generic although the driver was to run it.
    pub why_generic: Option<WhyGeneric>,
}

/// One interface and what is to be attached to it.
pub(super) struct Site<'s> {
    pub(super) home: &'s Path,
    pub(super) program: BorrowedFd<'s>,
    pub(super) info: &'s ProgramInfo,
    pub(super) features: &'s Features,
    pub(super) mode: XdpMode,
    /// At a start and a reload a driver that refused is asked again, and one that was asked about other features.
    pub(super) fresh: bool,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// The same program, loaded once more.
pub(super) type Twin<'t> = dyn FnMut() -> Result<Ebpf, Error> + 't;

impl Site<'_> {
    /// Attaches, or exchanges the program that is there.
    pub(super) fn attach(&self, twin: &mut Twin<'_>) -> Result<Attached, Error> {
        let wish = self.wish()?;
        self.find_again()?;
        for native in [true, false] {
            let pin = xdp_pin(self.home, self.name(), native);
            let index = self.features.index;
            let there = link::replace(self.home, &pin, self.info, self.program, index);
            if !there.map_err(|error| self.failed(&error.to_string()))? {
                continue;
            }
            if self.stays(native, &wish, twin)? {
                return Ok(self.adopted(native, wish));
            }
            return self.exchange(native, wish);
        }
        self.make(wish)
    }

    /// Pins the interface's link again if it has lost its pin and is there.
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

    /// Why the program is not to be in the driver; `None`: it is.
    fn wish(&self) -> Result<Wish, Error> {
        let blind = self
            .features
            .virtio
            .is_some_and(|it| it.is_blind(self.features.mtu));
        match (self.mode, blind) {
            (XdpMode::Generic, _) => Ok(Wish::Generic(None)),
            (XdpMode::Auto, true) => Ok(Wish::Generic(Some(Cause::Blind))),
            (XdpMode::Native, true) => Err(self.refused(&Cause::Blind)),
            (XdpMode::Auto | XdpMode::Native, false) => Ok(Wish::Native),
        }
    }

    /// Is the link that is there what is wished for, and would the driver still take it?
    fn stays(&self, native: bool, wish: &Wish, twin: &mut Twin<'_>) -> Result<bool, Error> {
        let note = note::read(self.home, self.name());
        let asked = self.features.asked();
        match (native, wish) {
            (true, Wish::Native) => {
                let same = note.is_none_or(|note| note.asked == asked);
                Ok(same || !self.fresh || self.takes_again(twin)?)
            }
            (false, Wish::Generic(_)) => Ok(true),
            (true, Wish::Generic(_)) => Ok(false),
            (false, Wish::Native) if self.mode == XdpMode::Native => Ok(false),
            (false, Wish::Native) => {
                let hopeless = note.is_some_and(|note| {
                    let why_generic = note.why_generic.as_ref();
                    why_generic
                        .is_some_and(|it| is_hopeless(it, &note.asked, &asked, self.features))
                });
                Ok(!self.fresh || hopeless)
            }
        }
    }

    /// Asks the driver again without a moment without a program: it is given the same program once more, and looks at
    /// the interface as it is now. Drivers do not start anew for that, as they do for the first program and the last.
    fn takes_again(&self, twin: &mut Twin<'_>) -> Result<bool, Error> {
        let failed = |error: &dyn std::error::Error| self.failed(&error.to_string());
        let pin = xdp_pin(self.home, self.name(), true);
        let link = kernel::open(&pin).map_err(|error| failed(&error))?;
        let running = kernel::info(&link).map_err(|error| failed(&error))?.program;
        let Some(before) = link::loaded(running) else {
            return Ok(true);
        };
        let answer = if running == self.info.id() {
            let mut twin = twin()?;
            let twin = super::load::xdp_program(&mut twin)?;
            let fd = twin.fd().map_err(|error| failed(&error))?;
            kernel::update(&link, std::os::fd::AsFd::as_fd(fd))
        } else {
            kernel::update(&link, self.program)
        };
        if let Err(error) = answer {
            return Ok(self.refuses_now(&error));
        }
        let before = before.fd().map_err(|error| failed(&error))?;
        let back = kernel::update(&link, std::os::fd::AsFd::as_fd(&before));
        back.map_err(|error| failed(&error))?;
        let note = Note {
            asked: self.features.asked(),
            why_generic: None,
        };
        self.note(&note);
        Ok(true)
    }

    /// The driver runs the program, and would not take it any more. With `native` it is left as it is: without XDP
    /// nothing would be filtered at all.
    fn refuses_now(&self, error: &std::io::Error) -> bool {
        let cause = Cause::Refused {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
            words: None,
        };
        let advice = advice(&cause, self.features);
        tracing::error!(
            interface = self.name(),
            mtu = self.features.mtu,
            reason = cause.words(),
            advice,
            "the driver runs the program, and refuses it as the interface is now: some packets may be lost"
        );
        self.mode == XdpMode::Native
    }

    fn adopted(&self, native: bool, wish: Wish) -> Attached {
        let note = note::read(self.home, self.name());
        let kept = note.as_ref().and_then(|note| note.why_generic.clone());
        let why_generic = match wish {
            Wish::Native if native => None,
            Wish::Native => kept,
            Wish::Generic(cause) => cause.map(|cause| self.since(cause)),
        };
        if note.as_ref().is_none_or(|it| it.why_generic != why_generic) {
            self.note(&Note {
                asked: note.map_or_else(|| self.features.asked(), |note| note.asked),
                why_generic: why_generic.clone(),
            });
        }
        self.attached(native, why_generic)
    }

    /// Takes a link off and makes another. When that fails, the one there was is made again.
    fn exchange(&self, native: bool, wish: Wish) -> Result<Attached, Error> {
        tracing::warn!(
            interface = self.name(),
            from = if native { "native" } else { "generic" },
            "XDP is taken off and attached anew"
        );
        let pin = xdp_pin(self.home, self.name(), native);
        link::take_off(&pin).map_err(|error| self.failed(&error.to_string()))?;
        let made = self.make(wish);
        if made.is_err() {
            let attached = self.create(native);
            attached.map_err(|refusal| self.failed(&refusal.to_string()))?;
        }
        made
    }

    /// Attaches where nothing of ours is.
    fn make(&self, wish: Wish) -> Result<Attached, Error> {
        let cause = match wish {
            Wish::Generic(cause) => cause,
            Wish::Native => match self.create(true) {
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

    /// A new link, pinned.
    fn create(&self, native: bool) -> Result<(), Refusal> {
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

    /// Is the program of somebody else in the way?
    fn unless_taken(&self, refusal: &Refusal) -> Result<(), Error> {
        if !matches!(refusal.errno, libc::EBUSY | libc::EEXIST) {
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

    /// Since when it is so, if it was so before.
    fn since(&self, cause: Cause) -> WhyGeneric {
        let note = note::read(self.home, self.name());
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

    /// A note that cannot be kept costs an explanation, no packet.
    fn note(&self, note: &Note) {
        if let Err(error) = note::write(self.home, self.name(), note) {
            tracing::warn!(interface = self.name(), %error, "keep beside the pin why XDP is as it is");
        }
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

/// How the program is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Native,
    /// The reason, when it is not as configured.
    Generic(Option<Cause>),
}

impl Site<'_> {
    /// Takes the program out of the driver, for this reason, and makes it generic. Only with `auto`.
    pub(super) fn fall_back(&self, cause: Cause) -> Result<Attached, Error> {
        self.exchange(true, Wish::Generic(Some(cause)))
    }
}
