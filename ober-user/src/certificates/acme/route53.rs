//! Sets records in a hosted zone of AWS Route 53, by its API of 2013-04-01.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header::AUTHORIZATION};
use tokio::time::{sleep, timeout};

use super::{
    records::Records,
    signature::{self, Signing},
};
use crate::{
    config::sections::acme::Route53,
    system::{
        clock, fetch,
        tls::{self, Tls, Verify},
        url::Url,
    },
};

const VERSION: &str = "/2013-04-01";
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the state of a change is asked. A change is usually on all name servers within a minute.
const ASKED: u32 = 60;
const PACE: Duration = Duration::from_secs(3);
const MOST: usize = 256 << 10;
/// The region of its only endpoint.
const REGION: &str = "us-east-1";

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("ask Route 53 at {host}: {source}")]
    Fetch { host: String, source: fetch::Error },
    #[error("ask Route 53 at {host}: no answer in {PATIENCE:?}")]
    Silent { host: String },
    #[error("ask Route 53: {0}")]
    Tls(#[from] tls::Error),
    #[error("ask Route 53: {0}")]
    Request(#[from] hyper::http::Error),
    #[error(
        "ask Route 53 for {path}: status {status}: {why}; may the access key change that zone?"
    )]
    Refused {
        path: String,
        status: StatusCode,
        why: String,
    },
    #[error("wait for Route 53: its change {0} is not on all name servers yet")]
    Pending(String),
}

/// Sets the records. Returns when all name servers have them.
pub(super) async fn set(route53: &Route53, records: &Records) -> Result<(), Error> {
    let change = change(route53, "UPSERT", records).await?;
    let path = format!("{VERSION}{change}");
    for _ in 0..ASKED {
        let answer = ask(route53, "GET", &path, "").await?;
        if inside(&answer, "Status") == Some("INSYNC") {
            return Ok(());
        }
        sleep(PACE).await;
    }
    Err(Error::Pending(change))
}

pub(super) async fn clear(route53: &Route53, records: &Records) -> Result<(), Error> {
    change(route53, "DELETE", records).await.map(drop)
}

/// Sends a change. Returns its path, such as `/change/C2682N5HXP0BZ4`.
async fn change(route53: &Route53, action: &str, records: &Records) -> Result<String, Error> {
    let path = format!("{VERSION}/hostedzone/{}/rrset", route53.zone);
    let answer = ask(route53, "POST", &path, &body(action, records)).await?;
    Ok(inside(&answer, "Id").unwrap_or_default().to_owned())
}

/// The XML of a change. Names are those of the order and values are base64url; both are escaped all the same.
fn body(action: &str, records: &Records) -> String {
    let mut changes = String::new();
    for (name, values) in records {
        let values = values.iter().fold(String::new(), |mut text, value| {
            // Writing to a String cannot fail.
            write!(
                text,
                "<ResourceRecord><Value>\"{}\"</Value></ResourceRecord>",
                escaped(value)
            )
            .unwrap_or_default();
            text
        });
        write!(
            changes,
            "<Change><Action>{action}</Action><ResourceRecordSet><Name>{}.</Name><Type>TXT</Type><TTL>60</TTL>\
             <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet></Change>",
            escaped(name)
        )
        .unwrap_or_default();
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ChangeResourceRecordSetsRequest \
         xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>{changes}</Changes>\
         </ChangeBatch></ChangeResourceRecordSetsRequest>"
    )
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

async fn ask(route53: &Route53, method: &str, path: &str, body: &str) -> Result<String, Error> {
    let (time, host) = (signature::time(clock::seconds()), host(route53));
    let signing = Signing {
        method,
        path,
        host: &host,
        body: body.as_bytes(),
        time: &time,
        region: REGION,
        service: "route53",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, &host)
        .header("x-amz-date", &time)
        .header(AUTHORIZATION, signing.header(route53))
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let answer = send(route53, request, &host).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status.is_success() {
        return Ok(text);
    }
    let why = [inside(&text, "Code"), inside(&text, "Message")];
    Err(Error::Refused {
        path: path.to_owned(),
        status: answer.status,
        why: why.into_iter().flatten().collect::<Vec<_>>().join(": "),
    })
}

async fn send(
    route53: &Route53,
    request: Request<Full<Bytes>>,
    host: &str,
) -> Result<fetch::Answer, Error> {
    let trust = Tls {
        verify: Verify::System,
        name: None,
        identity: None,
    };
    let url = &Url {
        at: route53.url.at.clone(),
        path: request.uri().path().to_owned(),
    };
    let trust = url
        .is_tls()
        .then(|| tls::client(&trust, true))
        .transpose()?;
    let trust = trust.as_ref().map(|trust| (trust, url.name()));
    let answer = timeout(
        PATIENCE,
        crate::names::fetch::send(url, trust, request, MOST),
    )
    .await;
    let silent = |_| Error::Silent {
        host: host.to_owned(),
    };
    answer.map_err(silent)?.map_err(|source| Error::Fetch {
        host: host.to_owned(),
        source,
    })
}

/// The host as it is signed: without the port if that is the default one.
fn host(route53: &Route53) -> String {
    let host = route53.url.host();
    let usual = if route53.url.is_tls() { ":443" } else { ":80" };
    host.strip_suffix(usual).unwrap_or(&host).to_owned()
}

/// The text inside the first element with this name.
fn inside<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside.trim())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::{super::signature::tests::keys, *};

    /// A server that gives these answers in their order, and keeps the requests.
    async fn serve(answers: Vec<(&'static str, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        tokio::spawn(async move {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !whole(&request) {
                    stream.read_buf(&mut request).await.unwrap();
                }
                hears
                    .lock()
                    .unwrap()
                    .push(String::from_utf8(request).unwrap());
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (url, heard)
    }

    fn whole(request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        body.len() >= length
    }

    fn field<'t>(request: &'t str, name: &str) -> &'t str {
        let mut lines = request.lines();
        let start = format!("{name}: ");
        lines.find_map(|line| line.strip_prefix(&start)).unwrap()
    }

    fn information(status: &str) -> (&'static str, String) {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ChangeResourceRecordSetsResponse \
             xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\n <ChangeInfo>\n  <Id>/change/C2682N5HXP0BZ4</Id>\n  \
             <Status>{status}</Status>\n  <SubmittedAt>2017-03-10T01:36:41.958Z</SubmittedAt>\n </ChangeInfo>\n\
             </ChangeResourceRecordSetsResponse>"
        );
        ("200 OK", body)
    }

    fn records() -> Records {
        let name = "_acme-challenge.s3.test".to_owned();
        [(name, vec!["one".to_owned(), "two".to_owned()])].into()
    }

    #[tokio::test]
    async fn both_values_of_a_name_go_into_one_signed_change_that_is_awaited_and_later_removed() {
        let answers = vec![
            information("PENDING"),
            information("INSYNC"),
            information("PENDING"),
        ];
        let (url, heard) = serve(answers).await;
        let route53 = keys(&url);
        set(&route53, &records()).await.unwrap();
        clear(&route53, &records()).await.unwrap();
        let heard = heard.lock().unwrap().clone();
        let [change, asked, taken] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert!(
            change.starts_with("POST /2013-04-01/hostedzone/Z1PA6795UKMFR9/rrset HTTP/1.1\r\n")
        );
        assert!(asked.starts_with("GET /2013-04-01/change/C2682N5HXP0BZ4 HTTP/1.1\r\n"));
        for part in [
            "<Action>UPSERT</Action>",
            "<Name>_acme-challenge.s3.test.</Name><Type>TXT</Type>",
            "<ResourceRecord><Value>\"one\"</Value></ResourceRecord><ResourceRecord><Value>\"two\"</Value>",
        ] {
            assert!(change.contains(part), "{part}\n{change}");
        }
        assert!(taken.contains("<Action>DELETE</Action>"));
        for request in &heard {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let mut line = head.lines().next().unwrap().split(' ');
            let signing = Signing {
                method: line.next().unwrap(),
                path: line.next().unwrap(),
                host: field(head, "host"),
                body: body.as_bytes(),
                time: field(head, "x-amz-date"),
                region: "us-east-1",
                service: "route53",
            };
            assert_eq!(field(head, "authorization"), signing.header(&route53));
        }
    }

    #[test]
    fn a_name_with_xml_markup_is_escaped_and_stays_one_name() {
        let name = "x</Name><Type>\"&".to_owned();
        let body = body("UPSERT", &[(name, vec!["</Value>".to_owned()])].into());
        assert_eq!(body.matches("<Name>").count(), 1);
        assert!(
            body.contains("<Name>x&lt;/Name&gt;&lt;Type&gt;&quot;&amp;.</Name>"),
            "{body}"
        );
        assert!(body.contains("<Value>\"&lt;/Value&gt;\"</Value>"), "{body}");
    }

    #[tokio::test]
    async fn a_refusal_is_reported_in_route_53s_own_words() {
        let body = "<?xml version=\"1.0\"?>\n<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                    <Message>User is not authorized</Message></Error></ErrorResponse>";
        let (url, _) = serve(vec![("403 Forbidden", body.to_owned())]).await;
        let error = set(&keys(&url), &records()).await.unwrap_err().to_string();
        assert!(
            error.contains("AccessDenied: User is not authorized"),
            "{error}"
        );
    }
}
