//! Loads, adopts and replaces the programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{ProgramInfo, SkLookup, Xdp},
};
use ober_common::abi::{LAYOUT, Service};

use super::{
    Attached, Error, NEXT, OLD, attaches, beside, carry, ensure_bpffs, link, losses, maps,
    maps::Maps, remove_pins, room,
};
use crate::{
    config::{Config, Limits, XdpMode, paths::pins},
    dataplane::interface::steer::Decision,
};

/// The object file that `build.rs` made, aligned for the parser.
#[repr(C, align(32))]
struct Aligned<T: ?Sized>(T);
static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/ober")));
/// The object file of the kernel half.
pub static OBJECT: &[u8] = &ALIGNED.0;

pub(super) const XDP: &str = "ober";
pub(super) const LOOKUP: &str = "ober_lookup";
/// Names of the programs, which are the names of their pins.
pub(super) const PROGRAMS: [&str; 4] = [XDP, LOOKUP, losses::ENQUEUE, losses::DEQUEUE];

/// A loaded data plane. Its maps are ready to be filled; its programs run after [`Plane::attach`].
pub struct Plane {
    pub maps: Maps,
    /// Were the pinned maps adopted with their content?
    pub adopted: bool,
    bpffs: PathBuf,
    /// The instance's directory of pins.
    pub(super) home: PathBuf,
    /// Where the maps are pinned: `home`, or `<home>+next` until fresh maps are in force.
    pub(super) directory: PathBuf,
    pub(super) programs: Ebpf,
    pub(super) xdp: XdpMode,
    pub(super) packet_log: bool,
    pub(super) limits: Limits,
    /// The interfaces as they were attached last.
    pub(super) attached: Vec<Attached>,
    /// Are packets sent to their worker's CPU, and why? `None`: not decided yet.
    pub(super) steering: Option<Decision>,
    /// Does the next attach ask drivers again? See [`super::attach::Site::fresh`].
    pub(super) fresh: bool,
    /// The services of the maps before, whose counters were carried over: each keeps its index.
    pub(super) former: Vec<Service>,
}

impl Plane {
    /// Loads the programs on the pinned maps when those fit the configuration and `key`, else on fresh ones.
    pub fn load(config: &Config, key: [u64; 2]) -> Result<Self, Error> {
        ensure_bpffs(&config.node.bpffs)?;
        let home = pins(&config.node.bpffs, &config.node.instance);
        room::judge(&config.node.bpffs, &home)?;
        finish(&home)?;
        for leftover in [NEXT, OLD] {
            remove_pins(&beside(&home, leftover))?;
        }
        let shapes = maps::shapes(&config.limits);
        let adopted = shapes.iter().all(|shape| shape.fits(&home)) && filled_for(&home, key);
        let directory = match (adopted, home.exists()) {
            (true, _) | (_, false) => home.clone(),
            (false, true) => beside(&home, NEXT),
        };
        room::make(&directory)?;
        let former = if directory == home {
            Vec::new()
        } else {
            carry::counters(&home, &directory, &shapes)?
        };
        let loaded = load_programs(&directory, &shapes, &config.limits, config.node.packet_log)
            .and_then(|programs| Ok((programs, Maps::open(&directory)?)));
        let (programs, maps) = match loaded {
            Ok(loaded) => loaded,
            Err(error) if adopted => return Err(error),
            Err(error) => {
                remove_pins(&directory)?;
                return Err(error);
            }
        };
        let plane = Self {
            maps,
            adopted,
            bpffs: config.node.bpffs.clone(),
            home,
            directory,
            programs,
            xdp: config.node.xdp,
            packet_log: config.node.packet_log,
            limits: config.limits,
            attached: Vec::new(),
            steering: None,
            fresh: true,
            former,
        };
        if !adopted {
            plane.seed(key);
        }
        let queues = maps::number(&plane.directory, "CPU_QUEUES")?;
        plane.set_switch(|node| &raw mut node.cpu_queues, queues);
        Ok(plane)
    }

    /// The XDP program, for tests that run it on bytes.
    pub fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        xdp_program(&mut self.programs)
    }

    /// Attaches to the interfaces and to this network namespace, replacing the programs of earlier starts, and removes
    /// the program from interfaces that are no longer named. When one refuses, all links are put back as they were.
    pub fn attach(&mut self, interfaces: &[String]) -> Result<Vec<Attached>, Error> {
        self.pin_maps()?;
        self.mark_log()?;
        self.pin_programs()?;
        let home = self.home.clone();
        let before = link::Links::read(&home);
        let attached = match self.link(interfaces) {
            Ok(attached) => attached,
            Err(error) => {
                if let Err(failures) = before.put_back(&home) {
                    tracing::error!(
                        failures,
                        "put the links back as they were: these are still changed, and their interfaces may use other maps; \
                         restart the daemon to correct them"
                    );
                }
                return Err(error);
            }
        };
        link::remove_others(&home, interfaces)?;
        self.settle()?;
        // Attached only now, when the programs of an earlier start are gone: both add to the same counters and would
        // count each loss twice.
        if let Err(reason) = losses::count(&self.directory, &mut self.programs) {
            tracing::warn!(
                reason,
                "steered packets that are lost on their way to a CPU cannot be counted"
            );
        }
        self.fresh = false;
        self.attached.clone_from(&attached);
        Ok(attached)
    }

    fn link(&mut self, interfaces: &[String]) -> Result<Vec<Attached>, Error> {
        let home = self.home.clone();
        let lookup: &mut SkLookup = program(&mut self.programs, LOOKUP)?;
        link::lookup(&home, lookup)?;
        let fresh = self.fresh;
        let mut attached = Vec::new();
        let all = super::attached::all(interfaces)?;
        for features in all {
            let mut twin = self.twin()?;
            attached.push(self.at(&features, fresh, &mut twin, |site, twin| site.attach(twin))?);
        }
        Ok(attached)
    }

    /// The services in force. Until there are any, those of the maps before.
    pub(super) fn current(&self) -> Vec<Service> {
        let services = self.maps.services();
        if services.is_empty() {
            self.former.clone()
        } else {
            services
        }
    }

    /// The directory of this plane's pins.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Renames the directories once the fresh maps are in force.
    fn settle(&mut self) -> Result<(), Error> {
        if self.directory == self.home {
            return Ok(());
        }
        let error = |source| Error::Pins {
            path: self.home.clone(),
            source,
        };
        let old = beside(&self.home, OLD);
        link::move_all(&self.home, &self.directory).map_err(error)?;
        fs::rename(&self.home, &old).map_err(error)?;
        fs::rename(&self.directory, &self.home).map_err(error)?;
        self.directory.clone_from(&self.home);
        remove_pins(&old)
    }

    /// Programs with and without the packet log have the same tag, so a directory beside the pins tells them apart;
    /// when that changes, the pins of the programs are removed, and the programs are replaced in their links.
    fn mark_log(&self) -> Result<(), Error> {
        let error = |source| Error::Pins {
            path: self.directory.clone(),
            source,
        };
        let mark = self.directory.join(link::LOG_MARK);
        match (self.packet_log, mark.exists()) {
            (true, false) => fs::create_dir(&mark).map_err(error)?,
            (false, true) => fs::remove_dir(&mark).map_err(error)?,
            _ => return Ok(()),
        }
        for name in PROGRAMS {
            let pin = self.directory.join(name);
            if pin.exists() {
                fs::remove_file(pin).map_err(error)?;
            }
        }
        Ok(())
    }

    /// Is one of our pins missing? [`Plane::attach`] makes it anew.
    pub fn lacks_pins(&self) -> bool {
        let shapes = maps::shapes(&self.limits);
        let maps = shapes.iter().map(|shape| shape.name);
        maps.chain([XDP, LOOKUP])
            .any(|name| !self.directory.join(name).exists())
    }

    /// Pins maps again whose pins were removed, or were lost when the BPF file system was unmounted: the maps exist as
    /// long as this process does.
    pub(super) fn pin_maps(&self) -> Result<(), Error> {
        ensure_bpffs(&self.bpffs)?;
        room::judge(&self.bpffs, &self.home)?;
        room::make(&self.home)?;
        room::make(&self.directory)?;
        for shape in maps::shapes(&self.limits) {
            shape.pin_again(&self.programs, &self.directory)?;
        }
        Ok(())
    }

    fn pin_programs(&mut self) -> Result<(), Error> {
        let directory = self.directory.clone();
        let error = |source| Error::Pins {
            path: directory.clone(),
            source,
        };
        for (name, program) in self.programs.programs_mut() {
            // A program that the kernel refused cannot be pinned; [`losses::count`] reports it.
            if program.fd().is_err() {
                continue;
            }
            let path = directory.join(name);
            let current = ProgramInfo::from_pin(&path).map(|info| info.tag()).ok();
            let ours = program.info().map(|info| info.tag()).ok();
            if current.is_some() && current == ours {
                continue;
            }
            if path.exists() {
                fs::remove_file(&path).map_err(error)?;
            }
            program
                .pin(&path)
                .map_err(|cause| error(std::io::Error::other(cause)))?;
        }
        Ok(())
    }

    /// Writes the first content of fresh maps.
    fn seed(&self, key: [u64; 2]) {
        let node = self.maps.node.at(0).as_ptr();
        let lines = u32::try_from(self.maps.lines.count()).unwrap_or(u32::MAX);
        // SAFETY: nothing reads these maps yet.
        unsafe {
            (*node).key = key;
            (*node).layout = LAYOUT;
            (*node).line_mask = lines - 1;
        }
        let all = self
            .maps
            .pages
            .at(usize::from(ober_common::abi::PAGE_ALL))
            .as_ptr();
        // SAFETY: as above.
        unsafe { (*all).words.fill(u64::MAX) };
    }
}

/// Were the pinned maps filled with this layout and this key?
fn filled_for(home: &Path, key: [u64; 2]) -> bool {
    Maps::open(home).is_ok_and(|maps| {
        let node = maps.node.read(0);
        node.layout == LAYOUT && node.key == key
    })
}

/// Finishes a [`Plane::settle`] that an earlier daemon left halfway. Links in the directory beside stay attached.
fn finish(home: &std::path::Path) -> Result<(), Error> {
    let next = beside(home, NEXT);
    if !attaches(&next) {
        return Ok(());
    }
    let moved = if home.exists() {
        link::move_all(&next, home)
    } else {
        fs::rename(&next, home)
    };
    moved.map_err(|source| Error::Pins { path: next, source })
}

/// The key of the flow hash that the pinned maps hold, if they are ours.
pub fn key(config: &Config) -> Option<[u64; 2]> {
    let home = pins(&config.node.bpffs, &config.node.instance);
    let shapes = maps::shapes(&config.limits);
    if !shapes.iter().all(|shape| shape.fits(&home)) {
        return None;
    }
    let node = Maps::open(&home).ok()?.node.read(0);
    (node.layout == LAYOUT && node.key != [0, 0]).then_some(node.key)
}

pub(super) fn load_programs(
    directory: &Path,
    shapes: &[maps::Shape],
    limits: &Limits,
    packet_log: bool,
) -> Result<Ebpf, Error> {
    let load_error = |source| Error::Load {
        source: Box::new(source),
    };
    let mut loader = EbpfLoader::new();
    let btf = Btf::from_sys_fs().ok();
    loader.btf(btf.as_ref());
    let log = u8::from(packet_log);
    loader.override_global("PACKET_LOG", &log, true);
    let [pages, tags] = maps::counts(limits);
    loader
        .override_global("PAGE_COUNT", &pages, true)
        .override_global("TAG_COUNT", &tags, true);
    for shape in shapes {
        shape
            .ensure(directory)
            .map_err(|error| load_error(error.into()))?;
        if shape.section.is_none() {
            loader
                .map_max_entries(shape.name, shape.entries)
                .map_pin_path(shape.name, directory.join(shape.name));
        }
    }
    let mut programs = loader.load(OBJECT).map_err(load_error)?;
    for shape in shapes {
        shape
            .stand_in(&programs, directory)
            .map_err(|error| load_error(error.into()))?;
    }
    let error = |name| {
        move |source| Error::Program {
            name,
            source: Box::new(source),
        }
    };
    program::<Xdp>(&mut programs, XDP)?
        .load()
        .map_err(error(XDP))?;
    program::<SkLookup>(&mut programs, LOOKUP)?
        .load()
        .map_err(error(LOOKUP))?;
    losses::load(&mut programs);
    Ok(programs)
}

/// The XDP program.
pub(super) fn xdp_program(programs: &mut Ebpf) -> Result<&mut Xdp, Error> {
    program(programs, XDP)
}

fn program<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, Error>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let error = |source| Error::Program {
        name,
        source: Box::new(source),
    };
    let missing = aya::programs::ProgramError::NotLoaded;
    programs
        .program_mut(name)
        .ok_or_else(|| error(missing))?
        .try_into()
        .map_err(error)
}
