//! Metrics of `crate::certificates`.

use super::{Family, counter, gauge, one, plain};
use crate::api::status::certificates::{Certificate, Certificates, Issued};

pub(super) fn families(certificates: &Certificates) -> Vec<Family> {
    let lines = |value: fn(&Certificate) -> u64| {
        let line = |certificate: &Certificate| {
            let labels = vec![
                ("certificate", certificate.source.display().to_string()),
                ("names", certificate.names.join(",")),
            ];
            (labels, value(certificate))
        };
        certificates.held.iter().map(line).collect::<Vec<_>>()
    };
    let behind = certificates.behind.iter();
    let issued = |value: fn(&Issued) -> u64| {
        let line = |issued: &Issued| (one("names", &issued.names.join(",")), value(issued));
        certificates.issued.iter().map(line).collect::<Vec<_>>()
    };
    vec![
        gauge(
            "ober_certificate_not_after_timestamp_seconds",
            "When the certificate in use ends, in seconds since 1970.",
            lines(|certificate| certificate.not_after),
        ),
        gauge(
            "ober_certificate_failed",
            "1: something is wrong with the certificate in use, or with the file that was to replace it.",
            lines(|certificate| u64::from(certificate.problem.is_some())),
        ),
        gauge(
            "ober_certificate_files_refused",
            "Files in directories of certificates of which nothing is used.",
            plain(certificates.refused.len() as u64),
        ),
        gauge(
            "ober_certificate_worker_behind",
            "1: the worker did not take the certificates in use.",
            behind
                .map(|behind| (one("worker", &behind.worker), 1))
                .collect(),
        ),
        gauge(
            "ober_acme_failures",
            "Orders in a row that came to nothing.",
            issued(|issued| u64::from(issued.failures)),
        ),
        gauge(
            "ober_acme_ordering",
            "1: an order is under way.",
            issued(|issued| u64::from(issued.ordering)),
        ),
        counter(
            "ober_certificate_changes",
            "Certificates put into workers while they served.",
            plain(certificates.taken),
        ),
    ]
}
