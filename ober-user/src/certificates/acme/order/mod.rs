//! One order from the request to the chain (RFC 8555 section 7.4).
//!
//! It never proves a name that is not in the order.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};

use super::{
    account,
    client::{Client, Rest},
    dns,
    records::Records,
};
use crate::{
    certificates::{Bundle, CertificateFacts, Error as FileError},
    config::sections::acme::{Acme, Challenge, Dns},
    machine::drive,
    system::{
        store::{self, Kind, Pending},
        tls,
    },
};

/// How long and how often to ask whether the authority has validated the names and issued the certificate.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_mins(3));

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Account(#[from] account::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("ask the authority: {0}")]
    Acme(#[from] instant_acme::Error),
    #[error("the authority does not offer {wanted} for {name}; it offers {offered}")]
    NotOffered {
        wanted: &'static str,
        name: String,
        offered: String,
    },
    #[error("the authority asks for a proof of {name:?}, which this order is not about")]
    Strange { name: String },
    #[error("the authority did not validate {name}: {why}")]
    Unproven { name: String, why: String },
    #[error("the authority did not issue a certificate, and gave no reason")]
    Unissued,
    #[error("set the records for DNS-01: {0}")]
    Dns(#[from] dns::Error),
    #[error("make the key of a certificate: {0}")]
    Key(#[from] rcgen::Error),
    #[error("use what the authority issued: {0}")]
    Issued(#[from] FileError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why there is no certificate, and how long the authority wants no request.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry_after: Option<Duration>,
}

/// Orders a certificate for these names and writes chain and key into `file`.
pub(super) async fn place(
    acme: &Acme,
    state: &Path,
    names: &[String],
    file: &Path,
) -> Result<CertificateFacts, Failure> {
    let rest = Rest::default();
    let placed = attempt(acme, state, names, file, &rest).await;
    placed.map_err(|error| {
        let asked = *rest.lock().unwrap_or_else(PoisonError::into_inner);
        let later = match &error {
            Error::Acme(instant_acme::Error::Timeout(Some(at))) => Some(until(*at)),
            _ => None,
        };
        Failure {
            error,
            retry_after: asked.max(later),
        }
    })
}

fn until(at: Instant) -> Duration {
    at.saturating_duration_since(drive::now())
}

async fn attempt(
    acme: &Acme,
    state: &Path,
    names: &[String],
    file: &Path,
    rest: &Rest,
) -> Result<CertificateFacts, Error> {
    let account = account(acme, state, rest).await?;
    let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    match &acme.challenge {
        Challenge::Http => prove(&mut order, names, ChallengeType::Http01).await?,
        Challenge::Dns(dns) => by_records(&mut order, names, dns).await?,
    }
    let key = rcgen::KeyPair::generate()?;
    let mut request = rcgen::CertificateParams::new(names)?;
    request.distinguished_name = rcgen::DistinguishedName::new();
    let request = request.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&PATIENCE).await?;
    let bundle = Bundle::parse(file, format!("{chain}\n{}", key.serialize_pem()).as_bytes())?;
    let facts = CertificateFacts::of(file, &bundle)?;
    Pending::write(Kind::Issued, file, bundle.pem().as_bytes())?.commit()?;
    Ok(facts)
}

/// The account of our key, which is made if the authority does not have it.
async fn account(acme: &Acme, state: &Path, rest: &Rest) -> Result<Account, Error> {
    let (key, der) = account::key(acme, state)?;
    let client = Client {
        tls: tls::client(&acme.tls, true)?,
        name: acme.tls.name.clone(),
        rest: Arc::clone(rest),
    };
    let builder = Account::builder_with_http(Box::new(client));
    let created = builder.create_from_key((key, der.into()), acme.directory.clone());
    let (account, _) = created.await?;
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    if !contact.is_empty() {
        account.update_contacts(&contact).await?;
    }
    Ok(account)
}

/// Proves the names by TXT records, which are removed afterwards also when that fails.
async fn by_records(order: &mut Order, names: &[String], dns: &Dns) -> Result<(), Error> {
    let records = records(order, names).await?;
    // No name is pending: the authority accepts the proof of an earlier order.
    if records.is_empty() {
        return prove(order, names, ChallengeType::Dns01).await;
    }
    let set = dns::set(dns, &records).await;
    let proven = match set {
        Ok(()) => prove(order, names, ChallengeType::Dns01).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = dns::clear(dns, &records).await {
        tracing::warn!(%error, "a record for DNS-01 stays behind");
    }
    proven
}

/// The TXT records for the pending names (RFC 8555 section 8.4).
async fn records(order: &mut Order, names: &[String]) -> Result<Records, Error> {
    let mut records = Records::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = of_order(authorization.identifier().identifier, names)?.to_owned();
        let offered = offered(&authorization.challenges);
        let Some(challenge) = authorization.challenge(ChallengeType::Dns01) else {
            return Err(not_offered("dns-01", name, offered));
        };
        let value = challenge.key_authorization().dns_value();
        let values = records.entry(format!("_acme-challenge.{name}"));
        values.or_default().push(value);
    }
    Ok(records)
}

/// The name of this order that the authority names. Any other name is an error, and is used neither in a record nor as
/// an argument of a program. For a wildcard the authority names the domain behind `*.`.
fn of_order<'n>(said: &Identifier, names: &'n [String]) -> Result<&'n str, Error> {
    let strange = |name: String| Error::Strange { name };
    let Identifier::Dns(said) = said else {
        return Err(strange(format!("{said:?}")));
    };
    let mut ordered = names
        .iter()
        .map(|name| name.strip_prefix("*.").unwrap_or(name));
    let meant = ordered.find(|name| name.eq_ignore_ascii_case(said));
    meant.ok_or_else(|| strange(said.clone()))
}

/// Tells the authority that the challenges are ready, and waits until it has validated them.
async fn prove(order: &mut Order, names: &[String], by: ChallengeType) -> Result<(), Error> {
    let wanted = if by == ChallengeType::Http01 {
        "http-01"
    } else {
        "dns-01"
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = of_order(authorization.identifier().identifier, names)?.to_owned();
        let offered = offered(&authorization.challenges);
        let Some(mut challenge) = authorization.challenge(by.clone()) else {
            return Err(not_offered(wanted, name, offered));
        };
        challenge.set_ready().await?;
    }
    if order.poll_ready(&PATIENCE).await? == OrderStatus::Ready {
        return Ok(());
    }
    Err(reason(order).await?)
}

fn offered(challenges: &[instant_acme::Challenge]) -> String {
    let kinds = challenges.iter().map(|it| format!("{:?}", it.r#type));
    kinds.collect::<Vec<_>>().join(", ")
}

fn not_offered(wanted: &'static str, name: String, offered: String) -> Error {
    Error::NotOffered {
        wanted,
        name,
        offered,
    }
}

/// The authority's reason for the challenge that failed.
async fn reason(order: &mut Order) -> Result<Error, Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        authorization.refresh().await?;
        let problem = authorization
            .challenges
            .iter()
            .find_map(|it| it.error.as_ref());
        if let Some(problem) = problem {
            return Ok(Error::Unproven {
                name: authorization.identifier().to_string(),
                why: problem.to_string(),
            });
        }
    }
    Ok(Error::Unissued)
}

#[cfg(test)]
mod tests;
