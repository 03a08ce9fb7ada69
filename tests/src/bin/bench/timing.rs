//! Times a program packet by packet: the kernel repeats the wrapper, which goes on to the program under test.

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp, XdpMode},
};
use ober_common::bench::{CHUNK, Run, STAMPS};

use ober_tests::lab::Host;

use crate::packets::{LENGTH, Packets};

/// Most chunks of one run.
pub(crate) const MOST_CHUNKS: usize = STAMPS - 1;

#[repr(C, align(32))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OBER_OBJECTS"), "/bench")));

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain(Run);
// SAFETY: integers only, without padding.
unsafe impl aya::Pod for Plain {}

/// Attaches the empty program to an interface, natively, as long as the result lives.
pub(crate) fn attach_empty(host: &Host, interface: &str) -> Result<Ebpf> {
    let mut programs = EbpfLoader::new()
        .load(&OBJECT.0)
        .context("load the empty program")?;
    let empty = xdp(&mut programs, "empty_frags")?;
    empty.load().context("load empty_frags")?;
    host.run(|| empty.attach(interface, XdpMode::Driver))?
        .with_context(|| format!("attach the empty program to {interface}"))?;
    Ok(programs)
}

/// The wrapper, for programs of one kind.
pub(crate) struct Wrapper {
    /// Holds the empty program and the wrapper.
    programs: Ebpf,
    wrap: &'static str,
    empty: &'static str,
    run: Array<MapData, Plain>,
    target: ProgramArray<MapData>,
}

impl Wrapper {
    /// `frags`: does the program under test support multi-buffer packets?
    pub(crate) fn load(frags: bool) -> Result<Self> {
        let mut programs = EbpfLoader::new()
            .load(&OBJECT.0)
            .context("load the wrapper program")?;
        let (wrap, empty, array) = if frags {
            ("wrap_frags", "empty_frags", "WITH_FRAGS")
        } else {
            ("wrap_plain", "empty_plain", "WITHOUT_FRAGS")
        };
        for name in [wrap, empty] {
            xdp(&mut programs, name)?
                .load()
                .with_context(|| format!("load {name}"))?;
        }
        let mut take = |name: &str| {
            programs
                .take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        let run = take("RUN")?.try_into()?;
        let target = take(array)?.try_into()?;
        Ok(Self {
            programs,
            wrap,
            empty,
            run,
            target,
        })
    }

    /// The program that does nothing.
    pub(crate) fn empty(&mut self) -> Result<ProgramFd> {
        Ok(xdp(&mut self.programs, self.empty)?.fd()?.try_clone()?)
    }

    /// Nanoseconds per packet of each chunk. `action` is what the program must do with the last packet.
    pub(crate) fn time(
        &mut self,
        program: &ProgramFd,
        packets: &Packets,
        chunks: usize,
        action: u32,
    ) -> Result<Vec<f64>> {
        ensure!(
            (1..=MOST_CHUNKS).contains(&chunks),
            "between 1 and {MOST_CHUNKS} chunks a run"
        );
        self.target
            .set(0, program, 0)
            .context("put the program under test behind the wrapper")?;
        self.run
            .set(0, Plain(packets.run()), 0)
            .context("describe the packets to the wrapper")?;
        let frame = packets.frame();
        let mut after = [0; LENGTH];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut after),
            repeat: u32::try_from(chunks as u64 * CHUNK + 1)?,
            ..TestRunOptions::default()
        };
        let result = xdp(&mut self.programs, self.wrap)?
            .test_run(options)
            .context("run the program under test")?;
        ensure!(
            result.return_value == action,
            "the program under test did {} with {packets:?}, not {action}",
            result.return_value
        );
        let run = self.run.get(&0, 0).context("read the clock's readings")?.0;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a chunk takes far less than 2^52 ns"
        )]
        let per_packet = |pair: &[u64]| (pair[1] - pair[0]) as f64 / CHUNK as f64;
        Ok(run.stamps[..=chunks].windows(2).map(per_packet).collect())
    }
}

pub(crate) fn xdp<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = programs
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// Keeps this thread on one CPU, at the highest priority.
pub(crate) fn settle(cpu: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("stay on CPU {cpu}"))?;
    // SAFETY: a plain system call.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    ensure!(
        result == 0,
        "raise the priority: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}
