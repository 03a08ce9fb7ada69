//! Sets the records of DNS-01, by the configured provider.

use std::time::Duration;

use tokio::time::timeout;

use super::{records::Records, route53};
use crate::{
    config::sections::acme::{Dns, Provider},
    system::command::{self, Program},
};

/// The time limit of one call of the program.
const PATIENCE: Duration = Duration::from_mins(2);
/// The most output of the program that is read, in bytes.
const MOST: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error("run {program} {verb} {name}: {why}")]
    Failed {
        program: String,
        verb: &'static str,
        name: String,
        why: String,
    },
    #[error(transparent)]
    Route53(#[from] route53::Error),
}

/// Sets the records. Returns when every name server has them.
pub(super) async fn set(dns: &Dns, records: &Records) -> Result<(), Error> {
    match &dns.provider {
        Provider::Exec(program) => each(program, "set", records).await?,
        Provider::Route53(route53) => route53::set(route53, records).await?,
    }
    tokio::time::sleep(dns.wait).await;
    Ok(())
}

pub(super) async fn clear(dns: &Dns, records: &Records) -> Result<(), Error> {
    match &dns.provider {
        Provider::Exec(program) => each(program, "clear", records).await,
        Provider::Route53(route53) => Ok(route53::clear(route53, records).await?),
    }
}

async fn each(program: &Program, verb: &'static str, records: &Records) -> Result<(), Error> {
    for (name, values) in records {
        for value in values {
            let words = [verb, name, value].map(str::to_owned);
            let failed = |why| Error::Failed {
                program: program.path.display().to_string(),
                verb,
                name: name.clone(),
                why,
            };
            match timeout(PATIENCE, command::run(program, &words, MOST)).await {
                Err(over) => return Err(failed(over.to_string())),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(ended)) if !ended.success => {
                    return Err(failed(format!("{}: {}", ended.status, ended.complaint)));
                }
                Ok(Ok(_)) => {}
            }
        }
    }
    Ok(())
}
