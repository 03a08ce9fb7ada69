//! The world of one neighbour's machine: its connections and its commands.

use std::{collections::VecDeque, future::Future, io, pin::Pin};

use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    link::{Came, Link},
    socket,
};
use crate::{
    machine::drive::World,
    protocols::bgp::{
        configured::Neighbour as Settings,
        connection,
        event::{Action, Event, Report, Side, State},
        message::Notification,
        peering::Peering,
        rib::NextHops,
    },
};

/// A command to a neighbour's task.
#[derive(Debug)]
pub(super) enum Command {
    Event(Event),
    /// Settings that change without ending the session.
    Configure(Box<(Settings, connection::Settings)>),
    Accepted(TcpStream),
    /// Answered when all earlier decisions have been written.
    Flush(oneshot::Sender<()>),
    /// The last command.
    End(Notification),
}

type Dialing = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

pub(super) struct Neighbour {
    settings: Settings,
    commands: mpsc::UnboundedReceiver<Command>,
    reports: watch::Sender<Report>,
    ours: Option<Link>,
    theirs: Option<Link>,
    /// A connection of the neighbour that the machine has not accepted or refused yet.
    visitor: Option<Link>,
    dialing: Option<Dialing>,
    /// Further events of a command, beside its first one.
    events: VecDeque<Event>,
    flushes: Vec<oneshot::Sender<()>>,
    farewells: JoinSet<()>,
    ending: bool,
    state: State,
    /// The last complaint in the log, which is not repeated.
    complaint: Option<String>,
}

/// The first thing that happened.
enum First {
    Command(Option<Command>),
    Link(Side, Came),
    Dialed(io::Result<TcpStream>),
}

impl Neighbour {
    pub(super) fn new(
        settings: Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        reports: watch::Sender<Report>,
    ) -> Self {
        Self {
            settings,
            commands,
            reports,
            ours: None,
            theirs: None,
            visitor: None,
            dialing: None,
            events: VecDeque::new(),
            flushes: Vec::new(),
            farewells: JoinSet::new(),
            ending: false,
            state: State::Idle,
            complaint: None,
        }
    }

    fn link(&mut self, side: Side) -> &mut Option<Link> {
        match side {
            Side::Ours => &mut self.ours,
            Side::Theirs => &mut self.theirs,
        }
    }

    fn answer_flushes(&mut self) {
        let links = self.ours.iter().chain(&self.theirs);
        if links.into_iter().all(Link::is_written) {
            for flush in self.flushes.drain(..) {
                // An error means that the caller gave up.
                flush.send(()).unwrap_or_default();
            }
        }
    }

    async fn first(&mut self) -> First {
        // Before messages of the neighbour: a withdrawal must not wait behind a flood.
        tokio::select! {
            biased;
            command = self.commands.recv() => First::Command(command),
            came = next(&mut self.ours) => First::Link(Side::Ours, came),
            came = next(&mut self.theirs) => First::Link(Side::Theirs, came),
            dialed = dialed(&mut self.dialing) => {
                self.dialing = None;
                First::Dialed(dialed)
            }
            Some(_) = self.farewells.join_next() => First::Link(Side::Ours, Came::Written),
        }
    }

    fn next_hops(&self, link: &Link) -> NextHops {
        socket::next_hops(link.stream(), &self.settings).unwrap_or_else(|error| {
            tracing::warn!(neighbour = %self.settings.address, %error, "look for next hops");
            NextHops::default()
        })
    }

    fn dialed(&mut self, dialed: io::Result<TcpStream>) -> Event {
        match dialed {
            Ok(stream) => {
                let link = Link::new(stream);
                let next_hops = self.next_hops(&link);
                self.ours = Some(link);
                Event::Dialed(next_hops)
            }
            Err(error) => Event::NotDialed(error.to_string()),
        }
    }

    fn command(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Event(event) => Some(event),
            Command::Configure(change) => {
                let (settings, machine) = *change;
                self.configure(settings, machine);
                self.events.pop_front()
            }
            Command::Flush(flush) => {
                self.flushes.push(flush);
                None
            }
            Command::End(notification) => {
                self.ending = true;
                Some(Event::Stop(notification))
            }
            Command::Accepted(stream) => {
                if let Err(error) = socket::accepted(&stream, &self.settings) {
                    self.complain(format!("refused a connection: {error}"));
                    return None;
                }
                let link = Link::new(stream);
                let next_hops = self.next_hops(&link);
                self.visitor = Some(link);
                Some(Event::Accepted(next_hops))
            }
        }
    }

    fn configure(&mut self, settings: Settings, machine: connection::Settings) {
        let was = std::mem::replace(&mut self.settings, settings);
        self.events.push_back(Event::Configure(Box::new(machine)));
        if was.bfd.is_some() && self.settings.bfd.is_none() {
            self.events.push_back(Event::Unwatched);
        }
        if was.next_hops != self.settings.next_hops {
            let links = [(Side::Ours, &self.ours), (Side::Theirs, &self.theirs)]
                .into_iter()
                .filter_map(|(side, link)| {
                    let next_hops = self.next_hops(link.as_ref()?);
                    Some(Event::NextHops(side, next_hops))
                });
            self.events.extend(links.collect::<Vec<_>>());
        }
    }

    fn complain(&mut self, text: String) {
        let address = self.settings.address;
        if self.complaint.as_ref() == Some(&text) {
            tracing::debug!(neighbour = %address, "BGP: {text}");
        } else {
            tracing::warn!(neighbour = %address, "BGP: {text}");
            self.complaint = Some(text);
        }
    }
}

async fn next(link: &mut Option<Link>) -> Came {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn dialed(dialing: &mut Option<Dialing>) -> io::Result<TcpStream> {
    match dialing {
        Some(dialing) => dialing.await,
        None => std::future::pending().await,
    }
}

impl World<Peering> for Neighbour {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.answer_flushes();
            if self.ending {
                while self.farewells.join_next().await.is_some() {}
                return None;
            }
            let event = match self.first().await {
                First::Command(command) => self.command(command?),
                First::Dialed(dialed) => Some(self.dialed(dialed)),
                First::Link(side, Came::Message(message)) => Some(Event::Received(side, message)),
                First::Link(side, Came::Garbage(what)) => Some(Event::Garbage(side, what)),
                First::Link(side, Came::Closed(reason)) => Some(Event::Closed(side, reason)),
                First::Link(_, Came::Written) => None,
            };
            if event.is_some() {
                return event;
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Dial => self.dialing = Some(Box::pin(socket::dial(self.settings.clone()))),
            Action::HangUp => self.dialing = None,
            Action::Accept => self.theirs = self.visitor.take(),
            Action::Refuse => {
                if let Some(visitor) = self.visitor.take() {
                    visitor.refuse(&mut self.farewells);
                }
            }
            Action::Send(side, message) => {
                if let Some(link) = self.link(side) {
                    link.send(&message);
                }
            }
            Action::Close(side) => {
                if let Some(link) = self.link(side).take() {
                    link.close(&mut self.farewells);
                }
            }
            Action::Failed(failure) => self.complain(failure.to_string()),
        }
    }

    fn publish(&mut self, machine: &Peering) {
        let report = machine.report();
        if report.state == State::Established && self.state != State::Established {
            self.complaint = None;
            let asn = report.agreed.as_ref().map(|agreed| agreed.open.asn);
            tracing::info!(neighbour = %self.settings.address, asn, "BGP: session established");
        }
        self.state = report.state;
        self.reports.send_replace(report);
    }
}
