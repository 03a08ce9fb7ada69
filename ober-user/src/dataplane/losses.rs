//! Counts the steered packets that never reach their CPU. The kernel tells of them by two tracepoints alone; a program at
//! each adds them up. Unlike XDP, tracepoints may carry many programs, and a program in a link cannot be replaced: another
//! takes its place when the first is gone.

use std::{fs, path::Path};

use aya::{
    Ebpf,
    programs::{RawTracePoint, links::FdLink},
};

use super::{chain, link};

pub(super) const ENQUEUE: &str = "ober_enqueue";
pub(super) const DEQUEUE: &str = "ober_dequeue";

/// Program, tracepoint, and the pin of what ties them together.
const ALL: [(&str, &str, &str); 2] = [
    (ENQUEUE, "xdp_cpumap_enqueue", "tracepoint_enqueue"),
    (DEQUEUE, "xdp_cpumap_kthread", "tracepoint_kthread"),
];

/// Loads both. Without them everything else works, so a kernel that refuses them is not an error; [`count`] says so.
pub(super) fn load(programs: &mut Ebpf) {
    for (name, ..) in ALL {
        if let Err(reason) = program(programs, name).and_then(|it| it.load().map_err(words)) {
            tracing::debug!(name, reason, "load a program that counts losses");
        }
    }
}

/// Ties both to their tracepoints, unless what is tied there does the same.
pub(super) fn count(directory: &Path, programs: &mut Ebpf) -> Result<(), String> {
    for (name, tracepoint, pin) in ALL {
        let pin = directory.join(pin);
        let program = program(programs, name)?;
        let fresh = program.info().map_err(words)?;
        if link::behind(&pin).is_some_and(|running| link::alike(&running, &fresh)) {
            continue;
        }
        let error = |error: std::io::Error| format!("replace {}: {error}", pin.display());
        if pin.exists() {
            fs::remove_file(&pin).map_err(error)?;
        }
        let id = program.attach(tracepoint).map_err(words)?;
        let tie: FdLink = program.take_link(id).map_err(words)?.into();
        tie.pin(&pin).map_err(words)?;
    }
    Ok(())
}

/// Are the losses counted?
pub fn counted(directory: &Path) -> bool {
    let mut pins = ALL.iter().map(|(.., pin)| directory.join(pin));
    pins.all(|pin| link::behind(&pin).is_some())
}

fn program<'p>(programs: &'p mut Ebpf, name: &str) -> Result<&'p mut RawTracePoint, String> {
    let program = programs.program_mut(name);
    let program = program.ok_or_else(|| format!("there is no program {name}"))?;
    program.try_into().map_err(words)
}

fn words(error: impl std::error::Error + 'static) -> String {
    chain(&error)
}
