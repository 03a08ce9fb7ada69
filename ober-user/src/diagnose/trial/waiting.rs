//! Connections on which the neighbour acknowledges nothing. A router that learns only after it has accepted a connection that
//! this node is too far away for its ttl-security answers the first messages and then receives nothing more: to both ends the
//! session looks established until the hold time is over.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{diagnose::doctor::ports::socket_address, system::file};

const ESTABLISHED: &str = "01";

/// The neighbours on whose connections something waits to be acknowledged, in this network namespace.
pub(super) fn unheard() -> BTreeSet<IpAddr> {
    let tables = ["tcp", "tcp6"].map(|it| format!("/proc/thread-self/net/{it}"));
    let texts = tables.map(|path| file::kernel_text(path).unwrap_or_default());
    texts.iter().flat_map(|text| read(text)).collect()
}

fn read(text: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        let (remote, state, queues) = (words.next()?, words.next()?, words.next()?);
        let (sent, _received) = queues.split_once(':')?;
        let waits = u64::from_str_radix(sent, 16).ok()? > 0;
        (state == ESTABLISHED && waits).then(|| socket_address(remote))?
    };
    let ends = text.lines().skip(1).filter_map(line);
    ends.map(|end| end.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_established_connections_with_unacknowledged_data_count_as_waiting() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr\n   \
            0: 0100090A:8000 0200090A:00B3 01 00000013:00000000 01\n   \
            1: 0100090A:8001 0300090A:00B3 01 00000000:00000013 00\n   \
            2: 0100090A:8002 0400090A:00B3 02 00000001:00000000 01\n";
        assert_eq!(read(text), [IpAddr::from([10, 9, 0, 2])]);
    }
}
