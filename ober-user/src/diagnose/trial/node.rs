//! Workers and VIPs, by the daemon's status.

use crate::{
    announce::gate::{Standing, State},
    api::status::{Service, Status, Worker, gate::Gate},
    diagnose::finding::Finding,
};

const PART: &str = "node";

pub fn judge(status: &Status) -> Vec<Finding> {
    let interfaces = status.data_plane.interfaces.iter().map(|interface| {
        let name = &interface.name;
        match interface.attached {
            Some(true) => Finding::ok(PART, name, "XDP is attached"),
            Some(false) => Finding::failed(PART, name, "XDP is not attached")
                .advice("`ober-user reload` attaches it again; find out what took it off"),
            None => Finding::warning(PART, name, "the daemon could not ask whether XDP is attached")
                .advice("raise the daemon's limit on open files, or see what uses them up (`ls /proc/PID/fd`)"),
        }
    });
    let workers = status.workers.iter().map(worker);
    let gates = status.gate.iter().map(|gate| vip(gate, &status.services));
    interfaces.chain(workers).chain(gates).collect()
}

fn worker(worker: &Worker) -> Finding {
    let object = format!("worker {}", worker.number);
    if worker.in_ring {
        return Finding::ok(
            PART,
            object,
            format!("{}, in the ring", worker.state.name()),
        );
    }
    let end = worker.last_exit.as_ref();
    let end = end.map(|end| format!(", last end: {end}"));
    let reason = format!(
        "{}, not in the ring{}",
        worker.state.name(),
        end.unwrap_or_default()
    );
    Finding::failed(PART, object, reason).advice("the daemon's log has what HAProxy said")
}

fn vip(gate: &Gate, services: &[Service]) -> Finding {
    let object = format!("VIP {}", gate.vip);
    let reason = format!("{}: {}", gate.state.name(), gate.reason);
    let finding = match (gate.state, gate.standing) {
        (State::Up, Standing::Announced) => {
            let here = services
                .iter()
                .any(|it| it.vip == gate.vip && it.vip_present);
            let (serving, moves) = (
                gate.serving,
                if here { "" } else { ", held by another node" },
            );
            let reason = format!("announced, {serving} workers serve{moves}");
            Finding::ok(PART, object, reason)
        }
        (State::Draining | State::Disabled, _) => Finding::warning(PART, object, reason)
            .advice("`ober-user undrain` or `enable` announces it again"),
        (State::Up, _) => Finding::warning(PART, object, reason),
        _ => Finding::failed(PART, object, reason)
            .advice("`ober-user gate` shows what it went through"),
    };
    finding.detail("state", gate.state.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::sample, diagnose::finding::Verdict};

    #[test]
    fn interfaces_workers_and_vips_are_judged_by_the_daemons_status() {
        let mut status = sample::status();
        for worker in &mut status.workers {
            worker.in_ring = true;
        }
        let well = judge(&status);
        assert!(well.iter().all(|it| it.verdict == Verdict::Ok), "{well:#?}");
        for here in [true, false] {
            for service in &mut status.services {
                service.vip_present = here;
            }
            let judged = judge(&status);
            let vip = judged.iter().find(|it| it.object == "VIP 192.0.2.10");
            let reason = &vip.unwrap().reason;
            assert_eq!(reason.contains("held by another node"), !here, "{reason}");
        }
        status.data_plane.interfaces[0].attached = Some(false);
        status.workers[0].in_ring = false;
        status.gate[0].state = State::Down;
        let sick = judge(&status);
        let failed: Vec<_> = sick
            .iter()
            .filter(|it| it.verdict == Verdict::Failed)
            .map(|it| it.object.as_str())
            .collect();
        assert_eq!(failed, ["in0", "worker 0", "VIP 192.0.2.10"]);
        status.gate[0].state = State::Disabled;
        let ordered = judge(&status);
        assert!(
            ordered.iter().any(|it| it.verdict == Verdict::Warning),
            "{ordered:#?}"
        );
    }
}
