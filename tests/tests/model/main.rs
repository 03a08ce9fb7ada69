//! The kernel half against the model: every packet must be counted in the one cell, and end in the one way, that the
//! model says. Runs as root; attaches to nothing and sends nothing.

mod kernel;
mod laws;

use kernel::{Kernel, Outcome, SHORTEST};
use ober_common::abi::{Count, cell};
use ober_tests::{
    model::{Frame, Judgement},
    packets::{Case, Stage, Tally, case, fuzz, rich_stage},
};

fn judged(stage: &Stage, case: &Case) -> Judgement {
    stage.node.judge(Frame {
        readable: case.readable(),
        length: case.bytes.len(),
    })
}

/// What the model says the kernel must have done.
fn expected(case: &Case, judgement: &Judgement) -> Outcome {
    let cell = cell(judgement.verdict, judgement.worker.unwrap_or(0));
    let count = Count {
        packets: 1,
        bytes: case.bytes.len() as u64,
    };
    Outcome {
        action: judgement.action,
        rises: vec![(judgement.service, cell, count)],
    }
}

/// Runs the packet, compares, and returns the verdict both agree on.
fn agreed(kernel: &mut Kernel, stage: &Stage, case: &Case, law: &str) -> Judgement {
    let judgement = judged(stage, case);
    if kernel.run(case) == expected(case, &judgement) {
        return judgement;
    }
    let mut differs = |case: &Case| kernel.run(case) != expected(case, &judged(stage, case));
    let shortest = fuzz::shortest(case, SHORTEST, &mut differs);
    let judgement = judged(stage, &shortest);
    let (ran, wanted) = (kernel.run(&shortest), expected(&shortest, &judgement));
    panic!(
        "{law}\nkernel {ran:?}\nmodel  {wanted:?}\n       {judgement:?}\n{}",
        shortest.describe()
    );
}

#[test]
fn the_kernel_and_the_model_agree_on_every_random_packet() {
    let mut stage = rich_stage();
    let mut kernel = Kernel::load("random", &mut stage);
    let routers = stage.node.routers;
    let (cases, counted) = (fuzz::cases(), kernel.counted());
    let mut tally = Tally::default();
    let cast = stage.clone();
    let frames = fuzz::seeds()
        .map(|seed| case(&cast, seed))
        .filter(|case| case.bytes.len() >= SHORTEST);
    for (number, case) in frames.take(cases).enumerate() {
        // Mostly with everything on; a tenth each without routers and without steering.
        if number % (cases / 10).max(1) == 0 {
            let tenth = number * 10 / cases;
            kernel.switch(&mut stage, routers.filter(|_| tenth != 1), tenth != 2);
        }
        let case = kernel.fit(case);
        let judgement = agreed(&mut kernel, &stage, &case, "a random packet");
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
    let mut stage = rich_stage();
    let mut kernel = Kernel::load("cut", &mut stage);
    let whole = fuzz::seeds()
        .map(|seed| case(&stage, seed))
        .filter(|case| case.bytes.len() < 400);
    for whole in whole.take(fuzz::cases() / 100).collect::<Vec<_>>() {
        for end in SHORTEST..whole.bytes.len() {
            let case = Case {
                bytes: whole.bytes[..end].to_vec(),
                first_buffer: None,
                ..whole.clone()
            };
            agreed(&mut kernel, &stage, &case, "a packet cut short");
        }
    }
}
