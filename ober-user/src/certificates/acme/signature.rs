//! AWS signature version 4 of a request whose signed headers are `host` and `x-amz-date`.

use ring::{
    digest::{SHA256, digest},
    hmac::{HMAC_SHA256, Key, Tag, sign},
};

use crate::config::sections::acme::Route53;

/// A request to be signed.
pub(super) struct Signing<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) body: &'a [u8],
    /// `20150830T123600Z`.
    pub(super) time: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl Signing<'_> {
    /// The header `Authorization`.
    pub(super) fn header(&self, keys: &Route53) -> String {
        let Self {
            method,
            path,
            host,
            body,
            time,
            region,
            service,
        } = self;
        let date = time.get(..8).unwrap_or(time);
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let canonical = format!(
            "{method}\n{path}\n\nhost:{host}\nx-amz-date:{time}\n\nhost;x-amz-date\n{}",
            hex(digest(&SHA256, body).as_ref())
        );
        let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
        let secret = format!("AWS4{}", keys.secret_key.0);
        let first = mac(secret.as_bytes(), date);
        let parts = [region, service, "aws4_request", &text];
        let signature = parts
            .iter()
            .fold(first, |key, part| mac(key.as_ref(), part));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={}",
            keys.access_key,
            hex(signature.as_ref())
        )
    }
}

fn mac(key: &[u8], text: &str) -> Tag {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// Seconds since 1970 as `20150830T123600Z`.
pub(super) fn time(now: u64) -> String {
    let (days, second) = (now / 86_400, now % 86_400);
    // Days since 0000-03-01, in a calendar whose years begin in March, so that a leap day is the last of a year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + later;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{config::sections::acme::SecretKey, system::url::Url};

    /// The keys of AWS's examples.
    pub(in super::super) fn keys(url: &str) -> Route53 {
        Route53 {
            url: Url::read(url).unwrap(),
            zone: "Z1PA6795UKMFR9".into(),
            access_key: "AKIDEXAMPLE".into(),
            secret_key: SecretKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
        }
    }

    /// `get-vanilla` and `post-vanilla` of AWS's test suite for signature version 4.
    #[test]
    fn signatures_match_the_aws_test_suite() {
        for (method, signature) in [
            (
                "GET",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
        ] {
            let signing = Signing {
                method,
                path: "/",
                host: "example.amazonaws.com",
                body: b"",
                time: "20150830T123600Z",
                region: "us-east-1",
                service: "service",
            };
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            assert_eq!(
                signing.header(&keys("http://example.amazonaws.com")),
                expected
            );
        }
    }

    #[test]
    fn seconds_become_a_date_in_leap_years_and_others() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_735_689_600, "20250101T000000Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
