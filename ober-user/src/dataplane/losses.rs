//! Counts the steered packets that never reach their CPU. The kernel reports them only by two tracepoints; a program at
//! each adds them up. Unlike XDP, a tracepoint may have many programs, and the program in its link cannot be replaced:
//! the new one is attached after the old link is gone.

use std::{fs, path::Path};

use aya::{
    Ebpf,
    programs::{RawTracePoint, links::FdLink},
};

use super::{chain, link};

pub(super) const ENQUEUE: &str = "ober_enqueue";
pub(super) const DEQUEUE: &str = "ober_dequeue";

/// Program, tracepoint, and the pin of the link between them.
const ALL: [(&str, &str, &str); 2] = [
    (ENQUEUE, "xdp_cpumap_enqueue", "tracepoint_enqueue"),
    (DEQUEUE, "xdp_cpumap_kthread", "tracepoint_kthread"),
];

/// Loads both programs. All else works without them, so a refusal by the kernel is no error here; [`count`] reports it.
pub(super) fn load(programs: &mut Ebpf) {
    for (name, ..) in ALL {
        if let Err(reason) = program(programs, name).and_then(|it| it.load().map_err(words)) {
            tracing::debug!(name, reason, "load a program that counts losses");
        }
    }
}

/// Attaches both to their tracepoints, unless a program that does the same is attached there.
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

/// Are both programs attached?
pub fn counted(directory: &Path) -> bool {
    let mut pins = ALL.iter().map(|(.., pin)| directory.join(pin));
    pins.all(|pin| link::behind(&pin).is_some())
}

fn program<'p>(programs: &'p mut Ebpf, name: &str) -> Result<&'p mut RawTracePoint, String> {
    let program = programs
        .program_mut(name)
        .ok_or_else(|| format!("there is no program {name}"))?;
    program.try_into().map_err(words)
}

fn words(error: impl std::error::Error + 'static) -> String {
    chain(&error)
}
