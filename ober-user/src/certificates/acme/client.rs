//! The HTTP client of `instant-acme`, over [`crate::system::fetch`]: one connection for each request. The server is
//! verified by the configured authorities.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, header::RETRY_AFTER};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::{names::fetch, system::url::Url};

const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer in bytes. No chain of certificates is longer.
const MOST: usize = 1 << 20;

/// How long the authority wants no requests, from its last refusal.
pub(super) type Rest = Arc<Mutex<Option<Duration>>>;

pub(super) struct Client {
    pub(super) tls: Arc<ClientConfig>,
    /// The name for SNI and verification; `None`: that in the URL.
    pub(super) name: Option<String>,
    pub(super) rest: Rest,
}

type Answering = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Client {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answering {
        let (tls, name) = (Arc::clone(&self.tls), self.name.clone());
        let rest = Arc::clone(&self.rest);
        Box::pin(async move {
            let Some(url) = Url::read(&request.uri().to_string()) else {
                return Err(Error::Str("an https URL from the authority"));
            };
            let name = name.unwrap_or_else(|| url.name().to_owned());
            let tls = url.is_tls().then_some((&tls, name.as_str()));
            let answer = timeout(PATIENCE, fetch::send(&url, tls, request, MOST)).await;
            let answer = match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => return Err(Error::Other(Box::new(error))),
                Err(over) => return Err(Error::Other(Box::new(over))),
            };
            if answer.status.is_client_error() || answer.status.is_server_error() {
                let seconds = answer
                    .headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.trim().parse().ok());
                *rest.lock().unwrap_or_else(PoisonError::into_inner) =
                    seconds.map(Duration::from_secs);
            }
            let mut response = Response::new(Full::new(Bytes::from(answer.body)));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok(BytesResponse::from(response))
        })
    }
}
