//! Names that only the C library knows, from a service that nsswitch.conf names beside files and dns. Its call cannot be
//! cancelled: after it is given up it occupies its thread until the library gives up too. So it has a few threads of its own.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs as _},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::Why;

static THREADS: Semaphore = Semaphore::const_new(8);

/// The addresses of a name. The time limit begins when a thread asks; waiting for a thread has the same limit.
pub(super) async fn lookup(name: &str, limit: Duration) -> Result<Vec<IpAddr>, Why> {
    let Ok(Ok(turn)) = timeout(limit, THREADS.acquire()).await else {
        let words = "the system still looks for names that were given up";
        return Err(Why::Other(words.to_owned()));
    };
    let (tell, answer) = oneshot::channel();
    let asked = (name.to_owned(), 0);
    let thread = std::thread::Builder::new().name("names".to_owned());
    let thread = thread.spawn(move || {
        let found = asked.to_socket_addrs();
        let found = found.map(|found| found.map(|socket| socket.ip()).collect());
        drop(turn);
        // An error means the caller gave up and no longer listens.
        drop(tell.send(found));
    });
    thread.map_err(|error| Why::Other(format!("start a thread: {error}")))?;
    match timeout(limit, answer).await {
        Ok(Ok(found)) => found.map_err(|error| why(&error)),
        Ok(Err(_)) | Err(_) => Err(Why::Timeout),
    }
}

/// The standard library hides the code of `getaddrinfo`, so its text decides: those of glibc for no such name and for a name
/// without an address, then that of musl.
fn why(error: &io::Error) -> Why {
    const NOT_FOUND: [&str; 3] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
    ];
    let text = error.to_string();
    if error.kind() == io::ErrorKind::NotFound || NOT_FOUND.iter().any(|known| text.contains(known))
    {
        return Why::NotFound;
    }
    Why::Other(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_systems_error_for_an_unknown_name_is_understood() {
        // The C library itself refuses an empty label, so no name server is needed.
        let answer = lookup("a..b", Duration::from_secs(20)).await;
        assert_eq!(answer, Err(Why::NotFound));
        let found = lookup("localhost", Duration::from_secs(20)).await;
        assert!(found.unwrap().iter().all(IpAddr::is_loopback));
    }
}
