//! Check by an HTTP request.

use http_body_util::Empty;
use hyper::{Request, header::HOST};

use super::{tcp::Connector, tls::Speaker};
use crate::{
    config::sections::check::Http,
    system::fetch::{self, Answer, Stream},
};

/// The most bytes of a body that are read.
const MOST: usize = 64 << 10;

pub(super) async fn check(
    http: &Http,
    speaker: Option<&Speaker>,
    way: Connector,
) -> Result<String, super::Answer> {
    let stream: Box<dyn Stream> = match speaker {
        Some(speaker) => Box::new(speaker.connect(way).await?),
        None => Box::new(way.connect().await?),
    };
    // An address, because servers with virtual-hosted buckets would take a name for a bucket.
    let host = http.host.as_deref().unwrap_or("127.0.0.1");
    let request = Request::builder()
        .method(http.method.as_str())
        .uri(&http.path)
        .header(HOST, host)
        .body(Empty::new())
        .map_err(|error| format!("make the request: {error}"))?;
    let answer = fetch::exchange(stream, request, MOST)
        .await
        .map_err(|error| format!("ask {}: {error}", way.server))?;
    Ok(judge(http, &answer)?)
}

fn judge(http: &Http, answer: &Answer) -> Result<String, String> {
    let status = answer.status;
    if !http.status.contains(status.as_u16()) {
        return Err(format!("status {status}, wanted {}", http.status));
    }
    match &http.body {
        Some(pattern) if !pattern.0.is_match(&answer.body) => Err(format!(
            "status {status}, but the body does not match `{}`",
            pattern.0
        )),
        Some(_) | None => Ok(format!("status {status}")),
    }
}
