//! Gets one answer from a source of any kind.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::time::timeout;

use super::{Error, consul, dns, docker, json, lines};
use crate::{
    config::{
        Config,
        sections::discover::{Consul, Discover, Kind},
    },
    names::{
        hostlist::disk::Disk,
        resolve,
        server_line::{self, Found},
    },
    system::{
        command::{self, Program},
        fetch::Answer,
        file,
        tls::{self, Tls},
        url::Url,
    },
};

/// The longest answer in bytes: room for [`Limits::servers`] with long names, and short enough to be read at once.
///
/// [`Limits::servers`]: crate::config::Limits::servers
const MOST: usize = 1 << 20;

/// The time limit for reading one answer. Each source has its own time limit around this.
const PATIENCE: Duration = Duration::from_mins(1);

/// One source, with its state between two questions.
#[derive(Debug)]
pub struct Asker {
    source: Discover,
    /// The most servers that an answer may name.
    most: usize,
    /// The index of the last answer, for a source that has one (`consul`).
    index: Option<u64>,
}

impl Asker {
    pub fn new(source: Discover, config: &Config) -> Self {
        Self {
            source,
            most: config.limits.servers,
            index: None,
        }
    }

    /// Does the source hold the next question back until something changes? Then no pause is needed.
    pub fn waits(&self) -> bool {
        self.index.is_some()
    }

    /// The servers that the source names now. A source that waits answers when they change.
    pub async fn ask(&mut self) -> Result<Vec<Found>, Error> {
        let mut limit = self.source.timeout;
        if let (Kind::Consul(consul), Some(_)) = (&self.source.kind, self.index) {
            // The agent adds up to a sixteenth, so that not all clients ask again at once.
            limit += consul.wait + consul.wait / 16;
        }
        let _turn = match self.source.kind {
            Kind::Dns { .. } | Kind::Srv { .. } => resolve::turn().await,
            _ => None,
        };
        let answer = timeout(limit, self.answer())
            .await
            .unwrap_or(Err(Error::Late(limit)));
        if answer.is_err() {
            self.index = None;
        }
        answer
    }

    async fn answer(&mut self) -> Result<Vec<Found>, Error> {
        let (port, most) = (self.source.port, self.most);
        match self.source.kind.clone() {
            Kind::Static(found) => Ok(found),
            Kind::Hostlist(expressions) => expand_apart(expressions, port, most).await,
            Kind::Dns { name, ask } => Ok(dns::net::hosts(&name, &ask, port).await?),
            Kind::Srv { name, ask } => Ok(dns::net::service(&name, &ask).await?),
            Kind::Docker(docker) => {
                let answer = get(&docker::url(&docker), &docker.tls, &[]).await?;
                apart(move || docker::read(&answer.body, &docker, most)).await
            }
            Kind::Json(json) => {
                let answer = get(&json.at, &json.tls, &[]).await?;
                apart(move || json::read(&answer.body, &json, port, most)).await
            }
            Kind::Plaintext { at, tls, pattern } => {
                let answer = get(&at, &tls, &[]).await?;
                apart(move || lines::matches(&answer.body, &pattern, port, most)).await
            }
            Kind::Exec(program) => {
                let out = exec(&program).await?;
                apart(move || lines::lines(&String::from_utf8_lossy(&out), port, most)).await
            }
            Kind::Consul(consul) => self.instances(&consul).await,
        }
    }

    async fn instances(&mut self, consul: &Consul) -> Result<Vec<Found>, Error> {
        let (most, before) = (self.most, self.index);
        let token = consul.token.iter();
        let headers: Vec<_> = token
            .map(|token| ("X-Consul-Token", token.clone()))
            .collect();
        let answer = get(&consul::url(consul, before), &consul.tls, &headers).await?;
        let found = apart(move || consul::read(&answer.body, most)).await?;
        self.index = consul::index(&answer.headers, before);
        Ok(found)
    }
}

/// Reads an answer on another thread, so that it does not block the daemon.
async fn apart(
    read: impl FnOnce() -> Result<Vec<Found>, Error> + Send + 'static,
) -> Result<Vec<Found>, Error> {
    let read = file::away(PATIENCE, read).await;
    read.unwrap_or_else(|error| Err(Error::Sense(format!("the answer was not read: {error}"))))
}

/// Asks over HTTP. Every status but one of success is a failure, whatever the body is.
async fn get(url: &Url, how: &Tls, headers: &[(&'static str, String)]) -> Result<Answer, Error> {
    let speaker: Option<Arc<ClientConfig>> =
        url.is_tls().then(|| tls::client(how, true)).transpose()?;
    let name = how.name.as_deref().unwrap_or(url.name());
    let speaker = speaker.as_ref().map(|speaker| (speaker, name));
    let answer = crate::names::fetch::get(url, speaker, headers, MOST)
        .await
        .map_err(|source| Error::Fetch {
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

async fn exec(program: &Program) -> Result<Vec<u8>, Error> {
    let ended = command::run(program, &[], MOST).await?;
    if !ended.success {
        return Err(Error::Exit {
            program: program.path.display().to_string(),
            status: ended.status,
            complaint: ended.complaint,
        });
    }
    Ok(ended.out)
}

/// The servers of hostlist expressions, their names not yet resolved. Files are read on another thread.
pub async fn expand_apart(
    expressions: Vec<String>,
    port: NonZeroU16,
    most: usize,
) -> Result<Vec<Found>, Error> {
    apart(move || Ok(server_line::expand(&mut Disk, &expressions, port, most)?)).await
}
