//! Reading an answer to its end, and judging it.

use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};

use super::{
    failure::{Failure, chain},
    pace::Pace,
};
use crate::pattern::Pattern;

/// Bytes of an error's body that are kept.
const EXPLANATION: usize = 300;

/// What is done with the answer's body.
pub(super) enum Expect {
    Nothing,
    Text,
    Pattern(Pattern),
}

/// Reads all of the answer: a connection can only be used again when nothing is left in it.
pub(super) async fn read(
    request: &str,
    answer: Response<Incoming>,
    expect: Expect,
    pace: Option<Pace>,
) -> Result<String, Failure> {
    let status = answer.status();
    let (mut walk, keep) = match expect {
        Expect::Pattern(content) => (Some(content.walk()), false),
        Expect::Text => (None, true),
        Expect::Nothing => (None, false),
    };
    let wrong = |offset| Failure::Wrong {
        request: request.to_owned(),
        offset,
    };
    let (mut body, mut got, mut text) = (answer.into_body(), 0, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Truncated {
            request: request.to_owned(),
            got,
            why: chain(&error),
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        got += data.len() as u64;
        if let Some(pace) = pace {
            tokio::time::sleep_until(pace.due(got)).await;
        }
        if keep || (!status.is_success() && text.len() < EXPLANATION) {
            text.extend_from_slice(&data);
        }
        if let Some(walk) = walk.as_mut().filter(|_| status.is_success()) {
            walk.check(&data).map_err(wrong)?;
        }
    }
    if !status.is_success() {
        return Err(Failure::Status {
            request: request.to_owned(),
            status,
            text: String::from_utf8_lossy(&text[..text.len().min(EXPLANATION)]).into_owned(),
        });
    }
    if walk.is_some_and(|walk| walk.left() > 0) {
        return Err(wrong(got));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
