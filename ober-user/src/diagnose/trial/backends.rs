//! Each server of each backend, asked once by the check of its backend.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};

use crate::{
    api::{
        self,
        status::{Status, backends::ServerState},
    },
    backends::{
        Ask, Backends, Ready, With,
        check::{self, Answer, engine},
        discover::{self, own::Own},
        server::{Server, Servers},
    },
    config::{Check, Config, Service, sections::check::Kind},
    diagnose::finding::Finding,
    names::resolve::Answers,
    system::clock,
};

const PART: &str = "backends";
/// Servers asked at once.
const AT_ONCE: usize = 64;

/// The daemon's state of each server.
type Known = BTreeMap<(String, SocketAddr), ServerState>;

/// The servers of the daemon if one runs, otherwise those that the configuration gives now.
pub(super) async fn ask(
    config: &Config,
    status: Option<&Status>,
    patience: Duration,
) -> Vec<Finding> {
    let (mut findings, servers) = match status {
        Some(status) => (Vec::new(), running(status)),
        None => match find(config).await {
            Ok(ready) => (lacking(&ready), ready.in_force.servers),
            Err(reason) => return vec![Finding::failed(PART, "servers", reason)],
        },
    };
    findings.extend(empty(config, &servers));
    let known = status.map(known).unwrap_or_default();
    let asked = stream::iter(targets(config, &servers, patience)).map(|target| {
        let was = known.get(&(target.backend.clone(), target.server));
        async move {
            let (backend, server, kind) = (target.backend.clone(), target.server, name(&target));
            judge(&backend, server, kind, &engine::once(target).await, was)
        }
    });
    findings.extend(asked.buffered(AT_ONCE).collect::<Vec<_>>().await);
    findings
}

fn running(status: &Status) -> Servers {
    let backends = status.backends.iter().map(|(name, backend)| {
        let servers = backend.servers.iter().map(|server| Server {
            host: server.host.clone(),
            ..Server::new(server.name.clone(), server.address)
        });
        (name.clone(), servers.collect())
    });
    backends.collect()
}

fn known(status: &Status) -> Known {
    let backends = status.backends.iter();
    let all = backends.flat_map(|(name, backend)| {
        let server = |server: &crate::api::status::backends::Server| {
            ((name.clone(), server.address), server.state)
        };
        backend.servers.iter().map(server).collect::<Vec<_>>()
    });
    all.collect()
}

/// Resolves and discovers as a start of the daemon does, and keeps nothing.
async fn find(config: &Config) -> Result<Ready, String> {
    let mut backends = Backends::open(config).map_err(|error| error.to_string())?;
    for learned in discover::engine::first(config).await {
        backends.learn(config, learned, clock::seconds());
    }
    let config = Arc::new(config.clone());
    let with = With {
        config: &config,
        sync: &api::Sync::default(),
        own: &Arc::new(Own::of(&config, [])),
        ask: Ask::All,
    };
    let ready = backends.draft().ready(with, &Answers::default()).await;
    ready.map_err(|error| error.to_string())
}

/// Names without an address, and entries that are no server.
fn lacking(ready: &Ready) -> Vec<Finding> {
    let left_out = ready.in_force.left_out.iter().flat_map(|(backend, all)| {
        let finding = move |why: &String| Finding::failed(PART, backend, why.clone());
        all.iter().map(finding)
    });
    let unresolved = ready.synced.iter().flat_map(|synced| {
        let backend = match &synced.target {
            api::Target::List(name) | api::Target::Backend(name) => name,
        };
        synced.unresolved.iter().map(move |(name, why)| {
            let object = format!("{backend} {name}");
            Finding::failed(PART, object, format!("the name does not resolve: {why}"))
                .advice("correct the name, or ask why the name service does not know it")
        })
    });
    left_out.chain(unresolved).collect()
}

/// Backends that services refer to and that have no server.
fn empty(config: &Config, servers: &Servers) -> Vec<Finding> {
    let mut used: Vec<_> = config.services.iter().flat_map(Service::backends).collect();
    used.sort_unstable();
    used.dedup();
    let none = |name: &&str| servers.get(*name).is_none_or(Vec::is_empty);
    let finding = |name| {
        Finding::failed(PART, name, "it has no server")
            .advice("write `servers`, or see what its sources under `discover` say")
    };
    used.into_iter().filter(none).map(finding).collect()
}

/// The targets to check. A server without a check must accept a TCP connection.
fn targets(config: &Config, servers: &Servers, patience: Duration) -> Vec<engine::Target> {
    let mut open = config.clone();
    for backend in open.backends.values_mut() {
        let check = backend.check.get_or_insert(Check {
            kind: Kind::Tcp,
            port: None,
            interval: patience,
            fast: patience,
            timeout: patience,
            rise: 1,
            fall: 1,
        });
        check.timeout = check.timeout.min(patience);
    }
    check::targets::targets(&open, servers)
}

fn name(target: &engine::Target) -> &'static str {
    target.check.kind.name()
}

/// The verdict on one server; `was`: the daemon's state of it.
fn judge(
    backend: &str,
    server: SocketAddr,
    kind: &str,
    answer: &Answer,
    was: Option<&ServerState>,
) -> Finding {
    let object = format!("{backend} {server}");
    let finding = match answer {
        Answer::Good(reason) if was == Some(&ServerState::Down) => Finding::warning(
            PART,
            object,
            format!("{reason}, but it is still taken for down"),
        )
        .advice("it comes back after `rise` good checks; `ober-user backends` shows them"),
        Answer::Good(reason) => Finding::ok(PART, object, reason),
        Answer::Bad(reason) => Finding::failed(PART, object, reason)
            .advice("ask it by hand from this node; if it is well, correct `check` of its backend"),
        Answer::Unclear(reason) => Finding::warning(PART, object, reason)
            .advice("its check says neither good nor bad; see `check` of its backend"),
    };
    let finding = finding.detail("check", kind);
    match was {
        Some(state) => finding.detail("state", state.name()),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::finding::Verdict;

    #[test]
    fn a_server_is_judged_by_its_answer_and_the_daemons_verdict() {
        let good = Answer::Good("status 200".into());
        let bad = Answer::Bad("refused".into());
        let unclear = Answer::Unclear("status 302".into());
        let (up, down) = (ServerState::Up, ServerState::Down);
        for (answer, was, verdict, reason) in [
            (&good, None, Verdict::Ok, "status 200"),
            (&good, Some(&up), Verdict::Ok, "status 200"),
            (
                &good,
                Some(&down),
                Verdict::Warning,
                "status 200, but it is still taken for down",
            ),
            (&bad, Some(&up), Verdict::Failed, "refused"),
            (&unclear, None, Verdict::Warning, "status 302"),
        ] {
            let server = "10.0.0.1:7480".parse().unwrap();
            let finding = judge("rgw", server, "http", answer, was);
            assert_eq!(
                (finding.verdict, finding.reason.as_str()),
                (verdict, reason)
            );
            assert_eq!(finding.advice.is_some(), verdict != Verdict::Ok);
        }
    }
}
