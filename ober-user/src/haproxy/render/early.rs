//! Answers that come before the body of their request: which connections may go on behind them.
//!
//! A client with `Expect: 100-continue` sends its body only when it is asked to, and what it sends behind a final answer
//! is a new request to some storages (Ceph's RGW: neither closes nor reads on) and still the body to HAProxy. So both
//! ends of such a request are closed whenever they could disagree: what one client sends as a body must never be run as
//! a request, and no request of another client may follow it.
//!
//! - The storage is told `Connection: close` with every `Expect`, however it is spelled. It closes behind its answer.
//! - A client of HTTP/1 is closed behind an answer to `Expect`, unless the storage asked for the body (100) and then took
//!   it (below 300).
//! - It is closed as well behind an answer of HAProxy's own to a request with a body: HAProxy 3.0 and 3.2 read the rest
//!   of the body first, and some of the next requests then wait for ever.
//!
//! `tcp-response` sees the first answer of a server, `http-response` its final answer only. HAProxy shows neither
//! answers of its own.

use super::text::Lines;

/// Before the first rule that may answer.
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
    // Whatever goes through a tunnel is seen by no rule, and S3 has none.
    lines.add("http-request deny deny_status 405 if { method CONNECT }");
    lines.add("http-request del-header Upgrade");
}

pub(super) fn of_servers(lines: &mut Lines) {
    for line in [
        "http-request set-header Connection close if { var(txn.expect) -m bool }",
        // It waits for the first answer, however long the body takes.
        "tcp-response inspect-delay 24d",
        "tcp-response content set-var(txn.asked) bool(true) if { var(txn.expect) -m bool } { status 100 }",
        "http-response set-var(txn.answered) bool(true) if { var(txn.body) -m bool }",
    ] {
        lines.add(line);
    }
}
