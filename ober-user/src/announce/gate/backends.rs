//! The servers of a backend as one worker sees them.

use std::{io, path::Path, time::Duration};

use tokio::time::timeout;

use super::Live;
use crate::haproxy;

/// Asks the worker over its command socket, for `patience` at most. An answer that is no table of servers is an error, not
/// "none".
pub async fn live(socket: &Path, backend: &str, patience: Duration) -> io::Result<Live> {
    // Type 4: servers. Names of backends are single words (`render::token`).
    let question = format!("show stat {backend} 4 -1");
    let answer = timeout(patience, haproxy::ask(socket, &question))
        .await
        .map_err(io::Error::from)??;
    count(&answer).ok_or_else(|| {
        let words = answer.lines().next().unwrap_or("nothing");
        io::Error::new(io::ErrorKind::InvalidData, words.to_owned())
    })
}

/// One line a server under a heading. `UP` may be followed by how near the server is to going down (`UP 1/3`). A server in
/// maintenance with weight 0 has left the backend and only finishes its connections.
fn count(table: &str) -> Option<Live> {
    let mut lines = table.lines().filter(|line| !line.is_empty());
    let heads = lines.next()?.strip_prefix("# ")?;
    let status = heads.split(',').position(|head| head == "status")?;
    let weight = heads.split(',').position(|head| head == "weight")?;
    let left = |line: &&str| {
        let cell = |column| line.split(',').nth(column);
        cell(status) == Some("MAINT") && cell(weight) == Some("0")
    };
    let up = |line: &str| {
        let status = line.split(',').nth(status).unwrap_or_default();
        // HAProxy sends requests to servers without checks as well.
        status == "no check" || status.split(' ').next() == Some("UP")
    };
    let (mut live, mut all) = (0, 0);
    for line in lines.filter(|line| !left(line)) {
        all += 1;
        live += usize::from(up(line));
    }
    Some(Live { up: live, all })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn haproxys_status_decides_which_servers_the_gate_counts_as_up() {
        let line = |status: &str| format!("rgw,s,0,0,{status},1,\n");
        let table = |statuses: &[&str]| {
            let lines: String = statuses.iter().map(|status| line(status)).collect();
            format!("# pxname,svname,qcur,qmax,status,weight,\n{lines}\n")
        };
        assert_eq!(count(&table(&[])), Some(Live { up: 0, all: 0 }));
        let good = ["UP", "UP 1/3", "no check"];
        assert_eq!(count(&table(&good)), Some(Live { up: 3, all: 3 }));
        let bad = [
            "DOWN",
            "DOWN 1/2",
            "MAINT",
            "MAINT (via b/s)",
            "DRAIN",
            "NOLB",
            "",
        ];
        assert_eq!(count(&table(&bad)), Some(Live { up: 0, all: 7 }));
        let leaving = "# pxname,svname,status,weight,\nrgw,a,MAINT,0,\nrgw,b,UP,1,\n";
        assert_eq!(count(leaving), Some(Live { up: 1, all: 1 }));
        assert_eq!(count("No such proxy.\n"), None);
        assert_eq!(count(""), None);
    }

    proptest! {
        #[test]
        fn counting_servers_in_arbitrary_text_never_panics(text in "(# [a-z,]*status,[a-z,]*weight\n)?(\\PC|[,\n])*") {
            count(&text);
        }
    }
}
