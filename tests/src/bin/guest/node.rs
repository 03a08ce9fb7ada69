//! The data plane of the guest: the real programs on the real card, a restricted and an open service in each address family,
//! four workers that answer with their number.

use crate::boot::{self, CARD};
use anyhow::{Context, Result, ensure};
use ober_common::abi::{Verdict, cell};
use ober_tests::plane;
use ober_user::{
    config::XdpMode,
    dataplane::{Plane, Wanted, access, counters, rendezvous},
    names::entries::Entries,
};
use std::io::Write as _;
use std::net::{IpAddr, TcpListener};

/// The VIPs of the services.
pub(crate) const VIPS: [&str; 2] = ["10.77.9.1", "fd77:9::1"];
/// The port with the list.
pub(crate) const RESTRICTED: u16 = 80;
/// The port that all clients may use.
pub(crate) const OPEN: u16 = 443;
pub(crate) const WORKERS: u32 = 4;
const LIST: u32 = 0;
const KEY: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

/// XDP, socket lookup, and the two tracepoints that report losses.
const PROGRAMS: usize = 4;

/// All programs, past the verifier of this kernel.
pub(crate) fn load() -> Result<Plane> {
    load_with(XdpMode::Native)
}

/// The same, to be attached in this mode.
pub(crate) fn load_with(mode: XdpMode) -> Result<Plane> {
    let mut config = plane::config("guest", plane::LIMITS);
    config.node.xdp = mode;
    let plane = Plane::load(&config, KEY)?;
    let programs = aya::programs::loaded_programs()
        .collect::<Result<Vec<_>, _>>()
        .context("list the loaded programs")?;
    ensure!(
        programs.len() == PROGRAMS,
        "{} programs are loaded, not {PROGRAMS}",
        programs.len()
    );
    for program in programs {
        let steps = program.verified_instruction_count().unwrap_or_default();
        println!(
            "note {} has passed the verifier in {steps} steps",
            program.name_as_str().unwrap_or("?")
        );
    }
    Ok(plane)
}

/// The XDP program in the driver, the other in this network namespace.
pub(crate) fn attach(plane: &mut Plane) -> Result<()> {
    let attached = plane.attach(&[CARD.to_owned()])?;
    ensure!(
        attached.len() == 1 && attached[0].native,
        "attached as {attached:?}"
    );
    // `ip` confirms it: it lists generic mode as xdpgeneric.
    let link = boot::ip(&["-details", "link", "show", "dev", CARD])?;
    ensure!(
        link.contains("prog/xdp ") && !link.contains("xdpgeneric"),
        "ip shows {link}"
    );
    Ok(())
}

/// Services, workers, ring and sockets.
pub(crate) fn serve(plane: &mut Plane) -> Result<()> {
    let vips = VIPS.map(str::parse::<IpAddr>);
    let mut wanted = Vec::new();
    for vip in vips {
        let vip = vip.context("read a VIP")?;
        wanted.push(Wanted {
            vip,
            protocol: 6,
            port: RESTRICTED,
            list: Some(LIST),
        });
        wanted.push(Wanted {
            vip,
            protocol: 6,
            port: OPEN,
            list: None,
        });
    }
    let indices = plane.set_services(&wanted)?;
    plane.set_workers(&(0..WORKERS).collect::<Vec<_>>(), true)?;
    for worker in 0..WORKERS {
        for (want, index) in wanted.iter().zip(&indices) {
            let any = if want.vip.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = TcpListener::bind(any).with_context(|| format!("listen on {any}"))?;
            plane.set_socket(*index, worker as usize, &socket)?;
            std::thread::spawn(move || answer(&socket, worker));
        }
    }
    plane.set_ring(&rendezvous::fill(&[1; WORKERS as usize]));
    Ok(())
}

/// Puts exactly these addresses and prefixes on the list of the restricted services.
pub(crate) fn list(plane: &mut Plane, members: &[&str]) -> Result<()> {
    let mut entries = Entries::default();
    for member in members {
        match member.parse::<IpAddr>() {
            Ok(address) => entries.push(address),
            Err(_) => {
                entries.push_prefix(member.parse().with_context(|| format!("read {member}"))?);
            }
        }
    }
    entries.settle();
    access::replace(&mut plane.maps, LIST, &entries)?;
    Ok(())
}

/// A worker: reads all that a client sends, then answers with its number, the connection's CPU and the bytes read.
fn answer(socket: &TcpListener, worker: u32) {
    for mut client in socket.incoming().flatten() {
        let cpu = incoming_cpu(&client).unwrap_or(-1);
        let heard = std::io::copy(&mut client, &mut std::io::sink());
        if let Err(error) = heard.and_then(|bytes| writeln!(client, "{worker} {cpu} {bytes}")) {
            println!("note a worker could not answer: {error}");
        }
    }
}

fn incoming_cpu(client: &impl std::os::fd::AsRawFd) -> Option<i32> {
    let mut cpu: i32 = -1;
    let mut length: libc::socklen_t = 4;
    let value = std::ptr::from_mut(&mut cpu).cast();
    // SAFETY: the descriptor is open, `value` has room for the four bytes that `length` promises.
    let result = unsafe {
        libc::getsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_CPU,
            value,
            &raw mut length,
        )
    };
    (result == 0).then_some(cpu)
}

/// Packets with this verdict, over all services, workers and CPUs; and on how many CPUs there were any.
pub(crate) fn packets(plane: &Plane, verdict: Verdict) -> Result<(u64, usize)> {
    let mut by_cpu = Vec::new();
    for service in 0..16 {
        let values = counters::cells(&plane.maps, service)?;
        by_cpu.resize(values.len(), 0u64);
        for (sum, cells_of_cpu) in by_cpu.iter_mut().zip(values.iter()) {
            let cells = 0..if matches!(verdict, Verdict::Passed | Verdict::Steered) {
                WORKERS as usize
            } else {
                1
            };
            *sum += cells
                .map(|worker| cells_of_cpu[cell(verdict, worker)].packets)
                .sum::<u64>();
        }
    }
    Ok((
        by_cpu.iter().sum(),
        by_cpu.iter().filter(|count| **count > 0).count(),
    ))
}
