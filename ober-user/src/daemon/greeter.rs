//! Answers while a daemon starts: how far it is. A command without an answer would take the daemon for stopped.

use std::{
    fmt::{self, Display},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::BufReader,
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use super::control::{accept, asked, say};
use crate::{
    api::{Failure, connections::Served},
    system::manager::{Manager, notify::Notifier},
};

/// The most that one step of a start may take before the service manager gives it up.
const LONGEST: Duration = Duration::from_mins(3);

/// The step that is being taken.
#[derive(Debug, Default)]
struct Step {
    number: usize,
    of: usize,
    what: String,
}

impl Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, of, what } = self;
        write!(out, "step {number} of {of}, {what}")
    }
}

/// Answers on the control socket until the daemon does, and reports to the service manager.
pub(super) struct Greeter {
    listener: Arc<UnixListener>,
    step: Arc<Mutex<Step>>,
    task: JoinHandle<()>,
    notifier: Notifier,
}

impl Greeter {
    /// For a start of `steps` steps.
    pub(super) fn new(listener: UnixListener, steps: usize, manager: &Manager) -> Self {
        let listener = Arc::new(listener);
        let step = Arc::new(Mutex::new(Step {
            of: steps,
            ..Step::default()
        }));
        let task = tokio::spawn({
            let (listener, step) = (Arc::clone(&listener), Arc::clone(&step));
            async move {
                let greet = |stream, served| greet(stream, Arc::clone(&step), served);
                accept(&listener, greet).await;
            }
        });
        Self {
            listener,
            step,
            task,
            notifier: manager.notifier.clone(),
        }
    }

    pub(super) fn next(&self, what: impl Display) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.number += 1;
        step.what = what.to_string();
        self.notifier
            .starting(&format!("starting: {step}"), LONGEST);
    }

    /// Ends the greeter: the daemon answers later connections.
    pub(super) fn end(self) -> Arc<UnixListener> {
        Arc::clone(&self.listener)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One answer a connection: the daemon may answer the next one.
async fn greet(stream: UnixStream, step: Arc<Mutex<Step>>, served: Served) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    if matches!(asked(&mut BufReader::new(read), &mut line).await, Ok(true)) {
        served.set(true);
        let message = {
            let step = step.lock().unwrap_or_else(PoisonError::into_inner);
            format!("the daemon is starting: {step}; ask again when it serves")
        };
        let failure = Failure {
            message,
            usage: false,
        };
        if let Err(error) = say(&mut write, &Err(failure)).await {
            tracing::debug!(%error, "answer a request while the daemon starts");
        }
    }
}
