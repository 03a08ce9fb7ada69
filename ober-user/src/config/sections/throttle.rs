//! Limits on what clients may use of a service.

use std::num::NonZeroU32;

use super::service;
use crate::config::{
    judge::Judge,
    text::{notation::Rate, source::Fault},
};

/// Limits of a service. Each worker enforces its share, since workers do not share their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// Connections to the service at a time; further ones are closed.
    pub connections: Option<NonZeroU32>,
    /// The same for one client address.
    pub client_connections: Option<NonZeroU32>,
    /// New connections of one client address.
    pub client_connection_rate: Option<Rate>,
    /// Requests of one client address; further ones are answered with 429.
    pub client_request_rate: Option<Rate>,
}

impl Throttle {
    /// Is there a limit for each client?
    pub fn by_client(&self) -> bool {
        self.client_connections.is_some()
            || self.client_connection_rate.is_some()
            || self.client_request_rate.is_some()
    }
}

impl Judge<'_> {
    /// `http`: does a listener of the service speak HTTP? `workers`: how many share a limit.
    pub(super) fn throttle(&mut self, raw: &service::Raw, http: bool, workers: u32) -> Throttle {
        if let (Some(at), false) = (&raw.client_request_rate.0, http) {
            let message = "`client_request_rate` without a listener that speaks HTTP";
            let help = "limit connections with `client_connection_rate`";
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        let client_connections = &raw.client_connections;
        Throttle {
            connections: self.shared("max_connections", &raw.max_connections, workers),
            client_connections: self.shared("client_connections", client_connections, workers),
            client_connection_rate: raw.client_connection_rate.0.as_ref().map(|at| at.value),
            client_request_rate: raw.client_request_rate.0.as_ref().map(|at| at.value),
        }
    }

    /// A limit that the workers divide among them: at least one each.
    pub(super) fn shared(
        &mut self,
        name: &str,
        key: &crate::config::text::notation::Key<NonZeroU32>,
        workers: u32,
    ) -> Option<NonZeroU32> {
        let at = key.0.as_ref()?;
        if at.value.get() < workers {
            let message = format!(
                "`{name}` is {}, but {workers} workers share it and each needs at least one",
                at.value
            );
            let help = format!("write {workers} or more, or use fewer workers");
            self.refuse(Fault::new(at.span.clone(), message).help(help));
        }
        Some(at.value)
    }
}
