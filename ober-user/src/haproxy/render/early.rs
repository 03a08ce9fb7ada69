//! Answers that come before the body of their request: which connections stay open after them.
//!
//! A client with `Expect: 100-continue` sends its body only when it is asked to. Bytes after a final answer are a new
//! request to some storages (Ceph's RGW neither closes nor reads on), but still the body to HAProxy. So both
//! connections of such a request are closed whenever the two could disagree: bytes that one client sends as a body must
//! never be run as a request, and no request of another client may follow them.
//!
//! - The storage gets `Connection: close` with every `Expect`, whatever its value. It closes after its answer.
//! - The connection of a client of HTTP/1 is closed after an answer to `Expect`, unless the storage asked for the body
//!   (100) and then accepted it (below 300).
//! - It is closed as well after an answer of HAProxy's own to a request with a body: HAProxy 3.0 and 3.2 read the rest
//!   of the body first, and some of the next requests then wait for ever.
//!
//! `tcp-response` applies to the first answer of a server, `http-response` only to its final answer. Neither applies to
//! HAProxy's own answers.

use super::text::Lines;

/// The lines of a frontend, to be written before the first rule that may answer.
pub(super) fn of_clients(lines: &mut Lines) {
    for line in [
        "http-request set-var(txn.expect) bool(true) if { req.fhdr_cnt(expect) gt 0 }",
        "http-request set-var(txn.body) bool(true) if { req.hdr(content-length) -m int gt 0 } || \
         { req.fhdr_cnt(transfer-encoding) gt 0 }",
    ] {
        lines.add(line);
    }
    for condition in [
        "{ var(txn.body) -m bool } !{ var(txn.answered) -m bool }",
        "{ var(txn.expect) -m bool } !{ var(txn.asked) -m bool }",
        "{ var(txn.expect) -m bool } { status ge 300 }",
    ] {
        lines.add(format_args!(
            "http-after-response set-header Connection close if {condition} {{ fc_http_major 1 }}"
        ));
    }
    // No rule applies to what goes through a tunnel, and S3 has no tunnels.
    lines.add("http-request deny deny_status 405 if { method CONNECT }");
    lines.add("http-request del-header Upgrade");
}

pub(super) fn of_servers(lines: &mut Lines) {
    for line in [
        "http-request set-header Connection close if { var(txn.expect) -m bool }",
        // The rules below wait for the first answer, however long the body takes.
        "tcp-response inspect-delay 24d",
        "tcp-response content set-var(txn.asked) bool(true) if { var(txn.expect) -m bool } { status 100 }",
        "http-response set-var(txn.answered) bool(true) if { var(txn.body) -m bool }",
    ] {
        lines.add(line);
    }
}
