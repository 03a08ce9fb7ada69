//! A child that ends with this process, for whatever reason that ends. The kernel kills it (`PR_SET_PDEATHSIG`) when the
//! *thread* that made it ends, and threads of the runtime come and go: a blocking thread ends after ten idle seconds. So each
//! such child has its own thread, which makes it and stays until it has ended. A program whose file system does not answer
//! before its first instruction blocks only that thread.

use std::{convert::Infallible, io, sync::mpsc, thread};

use tokio::{runtime::Handle, sync::oneshot};

/// Bytes. The thread runs no more code than the standard library's start of a program.
const STACK: usize = 256 << 10;

/// The thread of a child. Dropping it ends the thread, and the kernel kills the child if it still runs.
pub(super) struct Tie {
    _stays: mpsc::Sender<Infallible>,
}

/// Makes a child on its own thread. When the caller drops this before the child is made, the child is dropped once it is made.
pub(super) async fn make<T: Send + 'static>(
    make: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<(T, Tie)> {
    let (sender, receiver) = oneshot::channel();
    let (stays, until) = mpsc::channel::<Infallible>();
    let runtime = Handle::current();
    let stay = move || {
        // The runtime watches and reaps the child.
        let _inside = runtime.enter();
        if sender.send(make()).is_ok() {
            // Waits until the other end is dropped.
            let Err(mpsc::RecvError) = until.recv();
        }
    };
    let name = "child".to_owned();
    thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(stay)?;
    let made = receiver.await.map_err(io::Error::other)??;
    Ok((made, Tie { _stays: stays }))
}
