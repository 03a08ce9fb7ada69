//! A child that ends with this process, however that ends. The kernel kills it (`PR_SET_PDEATHSIG`) when the *thread* that made
//! it ends, and those of the runtime come and go: one that waited for a disk ends when it was idle for ten seconds. So each
//! such child has a thread of its own, which makes it and stays until it is over. A program that does not get to its first
//! instruction, since its file system does not answer, keeps that thread waiting and no other.

use std::{convert::Infallible, io, sync::mpsc, thread};

use tokio::{runtime::Handle, sync::oneshot};

/// It runs no more than the starter of the standard library.
const STACK: usize = 256 << 10;

/// The thread of a child. Dropped, it ends, and the kernel kills the child if it is still there.
pub(super) struct Tie {
    _stays: mpsc::Sender<Infallible>,
}

/// Makes a child on a thread of its own. Given up before it is made, it is dropped once it is.
pub(super) async fn make<T: Send + 'static>(
    make: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<(T, Tie)> {
    let (tell, told) = oneshot::channel();
    let (stays, until) = mpsc::channel::<Infallible>();
    let runtime = Handle::current();
    let stay = move || {
        // The child is watched, and reaped, by the runtime.
        let _inside = runtime.enter();
        if tell.send(make()).is_ok() {
            // Until the other end is dropped.
            let Err(mpsc::RecvError) = until.recv();
        }
    };
    let name = "child".to_owned();
    thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(stay)?;
    let made = told.await.map_err(io::Error::other)??;
    Ok((made, Tie { _stays: stays }))
}
