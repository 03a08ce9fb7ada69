//! The kernel half against the model: every packet must be counted in the one cell, and end in the one way, that the model
//! says. Its bytes are those of the frame, or of the first buffer where that holds the packet and the program need not ask for
//! more ([`without_filling`]). Runs as root; attaches to nothing and sends nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod kernel;
mod laws;
mod splits;
mod wire;

use kernel::{Kernel, SHORTEST};
use ober_common::abi::{Count, cell};
use ober_tests::{
    model::{Action, Judgement, Reading, read},
    packets::{Case, Tally, Target, case, fuzz, rich_target},
};

/// The bytes that may be counted instead of the whole frame's: those of the first buffer, where it holds all of the IP
/// packet and is no shorter than the shortest frame of Ethernet. What lies in the buffers behind is no part of the packet.
fn without_filling(case: &Case) -> Option<usize> {
    let (Reading::Flow { outer, .. }
    | Reading::LaterFragment { outer }
    | Reading::Bare { outer, .. }) = read(&case.bytes)
    else {
        return None;
    };
    case.first_buffer
        .filter(|first| *first >= 60 && *first >= outer.ip_end)
}

/// The difference between what the kernel did and what the model says, if there is one.
fn difference(kernel: &mut Kernel, target: &Target, case: &Case) -> Option<String> {
    let judgement = target.node.judge(&case.bytes);
    let Judgement {
        verdict,
        service,
        worker,
        action,
        syn,
    } = judgement;
    let rise = |bytes: usize| {
        let count = Count {
            packets: 1,
            bytes: bytes as u64,
        };
        vec![(service, cell(verdict, worker.unwrap_or(0)), count)]
    };
    let rises = rise(case.bytes.len());
    let outcome = kernel.run(case);
    let report = outcome
        .report
        .map(|report| (report.verdict, report.service, report.length as usize));
    let reported = (action == Action::Drop).then_some((verdict as u32, service, case.bytes.len()));
    let counted =
        outcome.rises == rises || without_filling(case).map(rise) == Some(outcome.rises.clone());
    let syns: Vec<_> = syn.then_some((service, 1)).into_iter().collect();
    let same = outcome.action == action && counted && report == reported && outcome.syns == syns;
    (!same).then(|| format!("kernel {outcome:?}\nmodel  {judgement:?}, {rises:?}"))
}

/// Runs the packet, compares, and returns the verdict both agree on.
fn agreed(kernel: &mut Kernel, target: &Target, case: &Case, law: &str) -> Judgement {
    if difference(kernel, target, case).is_some() {
        let shortest = fuzz::shortest(case, SHORTEST, |case| {
            difference(kernel, target, case).is_some()
        });
        let difference = difference(kernel, target, &shortest);
        panic!(
            "{law}\n{}\n{}",
            difference.unwrap_or_default(),
            shortest.describe()
        );
    }
    target.node.judge(&case.bytes)
}

#[test]
fn the_kernel_and_the_model_agree_on_every_random_packet() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("random", &mut target);
    let routers = target.node.routers;
    let (cases, counted) = (fuzz::cases(), kernel.counted());
    let mut tally = Tally::default();
    let script = target.clone();
    let frames = fuzz::seeds()
        .map(|seed| case(&script, seed))
        .filter(|case| case.bytes.len() >= SHORTEST);
    for (number, case) in frames.take(cases).enumerate() {
        // Mostly with everything on; a tenth each without routers and without steering.
        if number % (cases / 10).max(1) == 0 {
            let tenth = number * 10 / cases;
            kernel.switch(&mut target, routers.filter(|_| tenth != 1), tenth != 2);
        }
        let case = kernel.fit(case);
        let judgement = agreed(&mut kernel, &target, &case, "a random packet");
        tally.record(&case, &judgement);
    }
    assert_eq!(
        kernel.counted() - counted,
        cases as u64,
        "a packet was counted in a service nobody looked at"
    );
    println!("{}", tally.table());
    let missing = kernel.out_of_reach();
    let thin: Vec<String> = tally
        .thin()
        .into_iter()
        .filter(|name| {
            !missing
                .iter()
                .any(|shape| name.starts_with(&format!("{shape:?}")))
        })
        .collect();
    assert_eq!(thin, Vec::<String>::new(), "\n{}", tally.table());
}

#[test]
fn the_kernel_and_the_model_agree_wherever_a_packet_ends() {
    let mut target = rich_target();
    let mut kernel = Kernel::load("cut", &mut target);
    let whole = fuzz::seeds()
        .map(|seed| case(&target, seed))
        .filter(|case| case.bytes.len() < 400);
    for whole in whole.take(fuzz::cases() / 100).collect::<Vec<_>>() {
        for end in SHORTEST..whole.bytes.len() {
            let case = Case {
                bytes: whole.bytes[..end].to_vec(),
                first_buffer: None,
                ..whole.clone()
            };
            agreed(&mut kernel, &target, &case, "a packet cut short");
        }
    }
}
