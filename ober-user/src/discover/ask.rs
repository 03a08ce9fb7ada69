//! Gets one answer from a source, of whatever kind.

use std::{num::NonZeroU16, sync::Arc};

use rustls::ClientConfig;
use tokio::time::timeout;

use super::{Error, Found, consul, dns, docker, json, lines};
use crate::{
    command,
    config::{
        Config,
        discover::{Consul, Discover, Kind},
        program::Program,
        tls_client::Tls,
        url::Url,
    },
    fetch::{self, Answer},
    hostlist::{Cap, Host, disk::Disk, expand_servers, servers::Standing},
    tls,
};

/// So long may an answer be.
const MOST: usize = 16 << 20;

/// One source, with what it must remember between two questions.
#[derive(Debug)]
pub struct Asker {
    source: Discover,
    expansion: usize,
    /// How new the last answer was, where the source counts.
    index: Option<u64>,
}

impl Asker {
    pub fn new(source: Discover, config: &Config) -> Self {
        Self {
            source,
            expansion: config.limits.expansion,
            index: None,
        }
    }

    /// Did the last answer say how to wait for the next one? Then there is no need for a pause.
    pub fn waits(&self) -> bool {
        self.index.is_some()
    }

    /// The servers the source knows now; with a source that waits, once they differ from the last ones.
    pub async fn ask(&mut self) -> Result<Vec<Found>, Error> {
        let mut limit = self.source.timeout;
        if let (Kind::Consul(consul), Some(_)) = (&self.source.kind, self.index) {
            // The agent adds up to a sixteenth, so that not all ask again at once.
            limit += consul.wait + consul.wait / 16;
        }
        let answer = timeout(limit, self.answer()).await;
        let answer = answer.unwrap_or(Err(Error::Late(limit)));
        if answer.is_err() {
            self.index = None;
        }
        answer
    }

    async fn answer(&mut self) -> Result<Vec<Found>, Error> {
        let port = self.source.port;
        match &self.source.kind {
            Kind::Static(found) => Ok(found.clone()),
            Kind::Hostlist(expressions) => expand(expressions, port, self.expansion),
            Kind::Dns { name, ask } => Ok(dns::net::hosts(name, ask, port).await?),
            Kind::Srv { name, ask } => Ok(dns::net::service(name, ask).await?),
            Kind::Docker(docker) => docker::read(
                &get(&docker::url(docker), &docker.tls, &[]).await?.body,
                docker,
            ),
            Kind::Json(json) => json::read(&get(&json.at, &json.tls, &[]).await?.body, json, port),
            Kind::Plaintext { at, tls, pattern } => {
                lines::matches(&get(at, tls, &[]).await?.body, pattern, port)
            }
            Kind::Exec(program) => exec(program, port).await,
            Kind::Consul(consul) => {
                let (found, index) = instances(consul, self.index).await?;
                self.index = index;
                Ok(found)
            }
        }
    }
}

async fn instances(
    consul: &Consul,
    before: Option<u64>,
) -> Result<(Vec<Found>, Option<u64>), Error> {
    let token = consul
        .token
        .iter()
        .map(|token| ("X-Consul-Token", token.clone()));
    let headers: Vec<_> = token.collect();
    let answer = get(&consul::url(consul, before), &consul.tls, &headers).await?;
    let found = consul::read(&answer.body)?;
    Ok((found, consul::index(&answer.headers, before)))
}

/// Any status but one of success is a failure, whatever the body says.
async fn get(url: &Url, how: &Tls, headers: &[(&'static str, String)]) -> Result<Answer, Error> {
    let speaker: Option<Arc<ClientConfig>> =
        url.is_tls().then(|| tls::client(how, true)).transpose()?;
    let name = how.name.as_deref().unwrap_or(url.name());
    let speaker = speaker.as_ref().map(|speaker| (speaker, name));
    let answer = fetch::get(url, speaker, headers, MOST).await;
    let answer = answer.map_err(|source| Error::Fetch {
        url: url.to_string(),
        source,
    })?;
    if !answer.status.is_success() {
        return Err(Error::Status {
            url: url.to_string(),
            status: answer.status.as_u16(),
        });
    }
    if answer.cut {
        return Err(Error::TooLong {
            url: url.to_string(),
            most: MOST,
        });
    }
    Ok(answer)
}

async fn exec(program: &Program, port: NonZeroU16) -> Result<Vec<Found>, Error> {
    let ended = command::run(program, &[], MOST).await?;
    if !ended.success {
        return Err(Error::Exit {
            program: program.path.display().to_string(),
            status: ended.status,
            complaint: ended.complaint,
        });
    }
    lines::lines(&String::from_utf8_lossy(&ended.out), port)
}

/// The servers of hostlist expressions, names not yet resolved.
pub fn expand(expressions: &[String], port: NonZeroU16, most: usize) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for expression in expressions {
        let (expression, standing) = Standing::split(expression).map_err(Error::Standing)?;
        let servers = expand_servers(expression, port, Cap::new(most), &mut Disk)?;
        found.extend(servers.into_iter().map(|server| {
            let host = match server.host {
                Host::Name(name) => name,
                Host::Addr(address) => address.to_string(),
            };
            Found {
                weight: standing.weight.into(),
                tier: standing.tier.into(),
                max_connections: standing.max_connections,
                ..Found::new(host, server.port)
            }
        }));
    }
    Ok(found)
}
