//! What a change of a list costs: the whole command as its user waits for it, and the daemon's memory.

use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ober_tests::nodes::one::{Settings, Stage};

use crate::{
    report::{Part, Target},
    series::Series,
};

pub(crate) const PART: &str = "acl sync";

const MILLION: u32 = 1_000_000;
const LIST: u32 = 100_000;
/// Each from an empty list.
const FILLS: usize = 5;
/// Changes of one address.
const CHANGES: u32 = 31;

/// The daemon gives memory back after it has answered.
const SETTLE: Duration = Duration::from_millis(300);

const FILL_LIMIT: f64 = 2000.0;
const CHANGE_LIMIT: f64 = 5.0;
const MEMORY_LIMIT: f64 = 32.0;

/// How the addresses of a list lie.
#[derive(Clone, Copy)]
enum Spread {
    /// Subnets of 200 hosts here and there in 10.0.0.0/8.
    Fleet,
    /// Anywhere in 10.0.0.0/8, the fewest neighbours there can be.
    Random,
}

impl Spread {
    const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "in subnets of 200 hosts",
            Self::Random => "anywhere in 10.0.0.0/8",
        }
    }

    /// Address `number`: no two are the same, and neighbours in a file are not neighbours in the network.
    fn address(self, number: u32) -> Ipv4Addr {
        let low = match self {
            Self::Fleet => {
                let (subnet, host) = (number / 200, number % 200);
                shuffle(subnet, 16) << 8 | (host.wrapping_mul(77) + subnet) & 0xff
            }
            Self::Random => shuffle(number, 24),
        };
        Ipv4Addr::from_bits(10 << 24 | low)
    }
}

/// A permutation of the numbers of this many bits: odd factors and exclusive-or with a shifted copy lose nothing.
fn shuffle(number: u32, bits: u32) -> u32 {
    let mask = (1 << bits) - 1;
    let mut mixed = number & mask;
    for factor in [0x9e_3779, 0x85_ebcb] {
        mixed = mixed.wrapping_mul(factor | 1) & mask;
        mixed ^= mixed >> (bits / 2);
    }
    mixed
}

/// Everything this part measures.
pub(crate) fn measure() -> Result<Part> {
    let settings = Settings {
        listed: Vec::new(),
        ..Settings::default()
    };
    let mut stage = Stage::new("bench-sync", &settings)?;
    stage.start()?;
    let mut bench = Bench {
        stage,
        memory: Series::new(format!("{PART}, daemon's memory after 1,000,000"), "MiB"),
        peak: Series::new(format!("{PART}, daemon's memory at its most"), "MiB"),
        part: Part::default(),
    };
    for spread in [Spread::Fleet, Spread::Random] {
        bench.fill(spread)?;
    }
    bench.change()?;
    bench.add()?;
    Ok(bench.finish())
}

struct Bench {
    stage: Stage,
    memory: Series,
    peak: Series,
    part: Part,
}

impl Bench {
    /// A million addresses onto an empty list.
    fn fill(&mut self, spread: Spread) -> Result<()> {
        let name = format!("{PART}, 1,000,000 {}", spread.name());
        let mut series = Series::new(&name, "ms");
        let source = self.file(spread, MILLION, None)?;
        for _ in 0..FILLS {
            self.set("")?;
            self.forget_peak()?;
            let (time, said) = self.set(&source)?;
            ensure!(
                said.contains("1000000 added"),
                "a million was applied, and the command said: {said}"
            );
            series.push_time(time);
            std::thread::sleep(SETTLE);
            let memory = self.daemon_memory()?;
            self.memory.push(memory.now);
            self.peak.push(memory.peak);
        }
        self.hold(name, &series, FILL_LIMIT);
        Ok(())
    }

    /// One line of a long file changes.
    fn change(&mut self) -> Result<()> {
        let name = format!("{PART}, one of 100,000 changed in the file");
        let mut series = Series::new(&name, "ms");
        let source = self.file(Spread::Random, LIST, None)?;
        self.set(&source)?;
        for number in 0..CHANGES {
            self.file(Spread::Random, LIST, Some(LIST + number))?;
            let (time, said) = self.set(&source)?;
            ensure!(
                said.contains("1 added, 1 removed, 100000 on it"),
                "one line was changed, and the command said: {said}"
            );
            series.push_time(time);
        }
        self.hold(name, &series, CHANGE_LIMIT);
        Ok(())
    }

    /// One address more, on the list that the file gave.
    fn add(&mut self) -> Result<()> {
        let name = "acl add, one address to 100,000".to_owned();
        let mut series = Series::new(&name, "ms");
        for number in 0..CHANGES {
            let address = Spread::Random.address(LIST + CHANGES + number).to_string();
            let (time, said) = self.run(&["acl", "add", "frontend-http", &address])?;
            ensure!(
                said.contains("1 added, 0 removed"),
                "one address was added, and the command said: {said}"
            );
            series.push_time(time);
            self.run(&["acl", "remove", "frontend-http", &address])?;
        }
        self.hold(name, &series, CHANGE_LIMIT);
        Ok(())
    }

    fn hold(&mut self, name: String, series: &Series, limit: f64) {
        let target = Target::at_most(name, series.median(), limit, "ms");
        self.part.targets.push(target);
        self.part.measures.push(series.measure());
    }

    fn finish(mut self) -> Part {
        let memory = self.memory.measure();
        let target = Target::at_most(memory.name.clone(), memory.high, MEMORY_LIMIT, "MiB");
        self.part.targets.push(target);
        self.part.measures.extend([memory, self.peak.measure()]);
        self.part
    }

    /// Gives the list the addresses of the expression; how long the whole command took, and what it printed.
    fn set(&self, expression: &str) -> Result<(Duration, String)> {
        self.run(&["acl", "sync", "--frontend-http", expression])
    }

    fn run(&self, arguments: &[&str]) -> Result<(Duration, String)> {
        let began = Instant::now();
        let said = self.stage.cli(arguments)?;
        Ok((began.elapsed(), said))
    }

    /// A file of `count` addresses, of which the middle one may be replaced by another; the expression that names it.
    fn file(&self, spread: Spread, count: u32, other: Option<u32>) -> Result<String> {
        let mut text = String::new();
        for number in 0..count {
            let number = other.filter(|_| number == count / 2).unwrap_or(number);
            writeln!(text, "{}", spread.address(number))?;
        }
        let path = self.stage.cluster.lab.write("hosts", text)?;
        Ok(format!("@{}", path.display()))
    }

    fn proc(&self, file: &str) -> Result<PathBuf> {
        let daemon = self
            .stage
            .ober
            .daemon
            .as_ref()
            .context("the daemon does not run")?;
        Ok(format!("/proc/{}/{file}", daemon.pid()).into())
    }

    /// Lets the daemon's peak begin again at what it holds now.
    fn forget_peak(&self) -> Result<()> {
        std::fs::write(self.proc("clear_refs")?, "5").context("reset the daemon's peak")
    }

    fn daemon_memory(&self) -> Result<Memory> {
        let read = |file| std::fs::read_to_string(self.proc(file)?).context("read smaps");
        let mapped = Mapped::of(&read("smaps")?)?;
        let status = read("status")?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("status has no VmHWM")?;
        Ok(Memory {
            now: mebibytes(mapped.own),
            peak: mebibytes(kibibytes(peak)?.saturating_sub(mapped.maps)),
        })
    }
}

/// Resident memory without the maps, MiB.
struct Memory {
    now: f64,
    peak: f64,
}

/// Resident KiB of a process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mapped {
    own: u32,
    /// Of BPF maps, which the daemon shares with the kernel.
    maps: u32,
}

impl Mapped {
    fn of(smaps: &str) -> Result<Self> {
        let mut sum = Self::default();
        let mut map = false;
        for line in smaps.lines() {
            let first = line.split(' ').next().unwrap_or_default();
            if !first.ends_with(':') {
                map = line.ends_with("anon_inode:bpf-map");
            } else if let Some(size) = line.strip_prefix("Rss:") {
                *(if map { &mut sum.maps } else { &mut sum.own }) += kibibytes(size)?;
            }
        }
        Ok(sum)
    }
}

/// "   1234 kB"
fn kibibytes(text: &str) -> Result<u32> {
    let number = text.trim().trim_end_matches("kB").trim();
    number
        .parse()
        .with_context(|| format!("read {text:?} as kB"))
}

fn mebibytes(kibibytes: u32) -> f64 {
    f64::from(kibibytes) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_addresses_of_a_spread_are_distinct() {
        for spread in [Spread::Fleet, Spread::Random] {
            let all: HashSet<_> = (0..MILLION).map(|number| spread.address(number)).collect();
            assert_eq!(all.len(), MILLION as usize, "{}", spread.name());
        }
    }

    #[test]
    fn memory_of_bpf_maps_is_not_counted_as_the_daemons() {
        let smaps = "\
55d0-55d1 r-xp 00000000 fe:00 1 /usr/bin/ober-user
Size:   8 kB
Rss:    4 kB
VmFlags: rd ex
7f00-7f01 rw-s 00000000 00:0f 9 anon_inode:bpf-map
Rss: 8192 kB
7f02-7f03 rw-p 00000000 00:00 0
Rss:   12 kB
";
        let expected = Mapped {
            own: 16,
            maps: 8192,
        };
        assert_eq!(Mapped::of(smaps).unwrap(), expected);
    }
}
