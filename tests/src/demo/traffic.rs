//! Objects through the VIP, and where their connections went.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use anyhow::{Result, ensure};
use ober_user::api::status::Status;

use super::{BUCKET, Demo, LARGE, SMALL, Script};
use crate::{
    client::{Connection, Failure},
    lab::{VIP4, VIP6, client4, client6},
    nodes::one::SECURE,
    pattern::Pattern,
    sockets::connections,
};

/// Connections held open to see where they land.
const HELD: usize = 64;

/// A node's status in few words.
pub(super) fn facts(status: &Status) -> Result<String> {
    let interface = status.data_plane.interfaces.first();
    let workers: Vec<_> = status
        .workers
        .iter()
        .map(|worker| {
            format!(
                "{} on CPU {}",
                worker.pid.unwrap_or(0),
                worker.cpu.unwrap_or(0)
            )
        })
        .collect();
    ensure!(
        status.workers.iter().all(|worker| worker.in_ring),
        "a worker is not in the ring: {workers:?}"
    );
    let mode = match interface {
        Some(interface) if interface.native => "native",
        Some(_) => "generic",
        None => "no",
    };
    Ok(format!(
        "{mode} XDP, HAProxy workers {}",
        workers.join(", ")
    ))
}

/// PUT and GET over TLS, once for each address family.
pub(super) fn objects(script: &mut Script, demo: &Demo) {
    for (vip, client, family) in [(VIP4, client4(0), "IPv4"), (VIP6, client6(0), "IPv6")] {
        let claim =
            format!("an object PUT and GET back over TLS through the VIP, byte for byte, {family}");
        script.step(&claim, || object(demo, vip, client));
    }
}

fn object(demo: &Demo, vip: IpAddr, from: IpAddr) -> Result<String> {
    let client = demo.stage.secure(vip);
    let path = if vip.is_ipv4() {
        "/demo/large-4"
    } else {
        "/demo/large-6"
    };
    let content = Pattern::new(u64::from(vip.is_ipv4()) + 40, LARGE);
    let began = Instant::now();
    demo.stage.cluster.clients[0].tokio(async || -> Result<(), Failure> {
        if vip.is_ipv4() {
            client.create_bucket(BUCKET).await?;
            client.put(SMALL.0, SMALL.1).await?;
        }
        client.put(path, content).await?;
        client.get(path, content).await
    })??;
    let seconds = began.elapsed().as_secs_f64();
    let seen = format!("GET {path} {from}");
    ensure!(
        demo.stage.storage.log().lines().any(|line| line == seen),
        "the S3 server was not told the client's address {from} in X-Forwarded-For"
    );
    Ok(format!(
        "{} MiB via {vip} in {seconds:.1} s, the S3 server sees {from}",
        LARGE >> 20
    ))
}

/// Connections spread over the workers, and each one's packets arrive on its worker's CPU.
pub(super) fn spread(script: &mut Script, demo: &Demo) {
    script.step(
        "connections spread over the workers and land on their CPUs (SO_INCOMING_CPU)",
        || {
            demo.stage.cluster.clients[0].tokio(async || {
                let client = demo.stage.secure(VIP4);
                let mut held = Vec::new();
                for _ in 0..HELD {
                    let mut connection = client.connect().await?;
                    connection.head(SMALL.0).await?;
                    held.push(connection);
                }
                landed(demo, &held)
            })?
        },
    );
}

fn landed(demo: &Demo, held: &[Connection]) -> Result<String> {
    let (mut facts, mut total) = (Vec::new(), 0);
    for worker in demo.stage.status()?.workers {
        let (Some(pid), Some(cpu)) = (worker.pid, worker.cpu) else {
            anyhow::bail!("worker {} does not run on a CPU of its own", worker.number);
        };
        let mut cpus = BTreeMap::new();
        for connection in connections(pid)?
            .iter()
            .filter(|connection| connection.peer.ip() == client4(0))
        {
            *cpus.entry(connection.cpu).or_insert(0) += 1;
        }
        let count: usize = cpus.values().sum();
        ensure!(
            cpus.keys().all(|&arrived| arrived == cpu),
            "worker {} is on CPU {cpu}, its connections arrive on {cpus:?} (CPU: connections)",
            worker.number
        );
        ensure!(
            count >= held.len() / 8,
            "worker {} has only {count} of {} connections",
            worker.number,
            held.len()
        );
        total += count;
        facts.push(format!(
            "{count} on worker {}, all received on its CPU {cpu}",
            worker.number
        ));
    }
    ensure!(
        total == held.len(),
        "{total} of {} connections to port {SECURE} found at the workers",
        held.len()
    );
    Ok(facts.join("; "))
}
