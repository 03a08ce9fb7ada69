//! One HTTP/1.1 request to a URL, over TCP, TLS or a UNIX socket, for checks and HTTP sources. The host may be a name, which is
//! resolved first.

use std::{io, sync::Arc, time::Duration};

use http_body_util::Empty;
use hyper::{Request, header::HOST};
use rustls::ClientConfig;
use tokio::net::{TcpStream, UnixStream};

use crate::{
    names::resolve,
    system::{
        fetch::{Answer, Error, Said, Stream, exchange},
        tls,
        url::{Endpoint, Url},
    },
};

/// Asks `url` with these headers; at most `most` bytes of the answer are read. With TLS, the name given beside the
/// configuration is sent to the server and verified.
pub async fn get(
    url: &Url,
    tls: Option<(&Arc<ClientConfig>, &str)>,
    headers: &[(&'static str, String)],
    most: usize,
) -> Result<Answer, Error> {
    let stream = connect(&url.at, tls).await?;
    let mut request = Request::get(&url.path).header(HOST, url.host());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    exchange(stream, request.body(Empty::new())?, most).await
}

async fn connect(
    at: &Endpoint,
    tls: Option<(&Arc<ClientConfig>, &str)>,
) -> Result<Box<dyn Stream>, Error> {
    match at {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Error::Connect)?;
            Ok(Box::new(stream))
        }
        Endpoint::Tcp { host, port, .. } => {
            let stream = reach(host, *port).await.map_err(Error::Connect)?;
            match tls {
                Some((config, name)) => Ok(Box::new(
                    tls::connect(Arc::clone(config), name, stream).await?,
                )),
                None => Ok(Box::new(stream)),
            }
        }
    }
}

/// The time limit of a name lookup; callers have a shorter limit of their own.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the first address of the host that accepts one.
async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = resolve::addresses(host, PATIENCE)
        .await
        .map_err(|why| io::Error::other(format!("{host}: {why}")))?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends `request` to the server of `url`; of its own URI only the path counts. Otherwise as [`get`].
pub async fn send<B: Said>(
    url: &Url,
    tls: Option<(&Arc<ClientConfig>, &str)>,
    mut request: Request<B>,
    most: usize,
) -> Result<Answer, Error> {
    let stream = connect(&url.at, tls).await?;
    *request.uri_mut() = url.path.parse().map_err(hyper::http::Error::from)?;
    if !request.headers().contains_key(HOST) {
        let host = url.host().parse().map_err(hyper::http::Error::from)?;
        request.headers_mut().insert(HOST, host);
    }
    exchange(stream, request, most).await
}
