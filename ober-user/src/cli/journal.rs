//! The daemon's log in systemd's journal, by its own protocol: each event is one datagram of fields, so that `logs` finds it by
//! its part, VIP, worker or server, whatever its words are.
//!
//! `MESSAGE` has the values too, since an operator also reads the journal by other programs. That is why tracing-journald (0.3.2)
//! is not used: its messages have no values, and "the gate of the VIP is down" does not say which.

use std::{
    env,
    fmt::{self, Write as _},
    io::{self, Stderr, Write as _},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use clap::ValueEnum;
use nix::sys::stat::fstat;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::MakeWriter,
    layer::{Context, Layer},
};

use crate::system::text::{OneLine, tame};

/// Where journald takes events.
const SOCKET: &str = "/run/systemd/journal/socket";
/// How long an event may wait while journald does not read.
const PATIENCE: Duration = Duration::from_secs(1);
/// Letters of a value.
const LONGEST: usize = 16 << 10;
/// Bytes of a value, whose control characters are escaped, and of a message.
const LARGEST: usize = 64 << 10;
/// Bytes of a datagram: the kernel refuses one of more than some 212,000 (`net.core.wmem_default`).
const DATAGRAM: usize = 200_000;
/// Lines that wait for journald.
const WAITING: usize = 512;

/// systemd puts the device and the inode of the journal's stream into `JOURNAL_STREAM` (systemd.exec(5)). They differ if
/// standard error was redirected afterwards.
pub(super) fn is_standard_error() -> bool {
    let Ok(file) = fstat(io::stderr()) else {
        return false;
    };
    let named = env::var("JOURNAL_STREAM").ok();
    named.is_some_and(|named| named == format!("{}:{}", file.st_dev, file.st_ino))
}

/// A part of the daemon, as `logs --service` and the field `OBER_PART` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Every line, also systemd's about the unit
    All,
    /// Which VIPs may be announced
    Gate,
    Bgp,
    Bfd,
    Vrrp,
    /// HAProxy's processes
    Workers,
    /// Servers, where they come from and their checks
    Checks,
    /// Access lists and names
    Acl,
    Certificates,
    /// What operators changed, and the account of each
    Audit,
}

impl Part {
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The parts that an event belongs to.
    fn of(event: &Metadata<'_>) -> Vec<Self> {
        let is_audit = event
            .fields()
            .iter()
            .any(|it| ["by", "uid"].contains(&it.name()));
        let place = PLACES.iter().find(|(place, _)| {
            let rest = event.target().strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        let place = place.map(|(_, part)| *part);
        place
            .into_iter()
            .chain(is_audit.then_some(Self::Audit))
            .collect()
    }
}

/// The part that a room, or a file of one, belongs to; the rest is the daemon as a whole.
const PLACES: [(&str, Part); 15] = [
    ("ober_user::announce", Part::Gate),
    // They decide about gates: an interface that is gone, a driver that runs no program, connections that are lost.
    ("ober_user::daemon::interfaces", Part::Gate),
    ("ober_base::protocols::bgp", Part::Bgp),
    ("ober_base::protocols::bfd", Part::Bfd),
    ("ober_base::protocols::vrrp", Part::Vrrp),
    ("ober_user::haproxy::certificates", Part::Certificates),
    ("ober_user::haproxy", Part::Workers),
    ("ober_user::daemon::membership", Part::Workers),
    ("ober_user::backends", Part::Checks),
    ("ober_user::daemon::servers", Part::Checks),
    ("ober_user::lists", Part::Acl),
    ("ober_user::daemon::sync", Part::Acl),
    ("ober_user::daemon::unlisted", Part::Acl),
    ("ober_user::certificates", Part::Certificates),
    ("ober_user::daemon::certificates", Part::Certificates),
];

/// Gives events to the thread that sends them to journald. A task of the daemon never waits for journald: a line that finds too
/// many before it is lost, and counted.
#[derive(Debug)]
pub(super) struct Native {
    waiting: SyncSender<Note>,
    lost: Arc<AtomicU64>,
}

/// What the thread gets.
#[derive(Debug)]
enum Note {
    Line(Line),
    /// Everything before it was sent: say so.
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Line {
    priority: u8,
    datagram: String,
    message: String,
}

impl Line {
    fn lost(count: u64) -> Self {
        let message = format!("{count} lines of the log were lost: journald took them too slowly");
        Self {
            priority: 4,
            datagram: format!("MESSAGE={message}\nPRIORITY=4\nSYSLOG_IDENTIFIER=ober-user\n"),
            message,
        }
    }
}

/// When it is dropped, the lines before are sent, unless journald does not take them.
#[derive(Debug)]
#[must_use]
pub(super) struct Rest(SyncSender<Note>);

impl Drop for Rest {
    fn drop(&mut self) {
        let (done, all) = sync_channel(1);
        if self.0.try_send(Note::Flush(done)).is_ok() {
            all.recv_timeout(2 * PATIENCE).unwrap_or_default();
        }
    }
}

/// Sends lines to journald.
#[derive(Debug)]
struct Sender {
    socket: UnixDatagram,
    /// Named in each datagram: a connection would end when journald's socket is made anew.
    journald: PathBuf,
}

impl Native {
    /// `None`: journald cannot be reached, or not as a whole.
    pub(super) fn new() -> Option<Self> {
        let native = Self::to(Path::new(SOCKET)).ok()?;
        Path::new(SOCKET).exists().then_some(native)
    }

    fn to(journald: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let sender = Sender {
            socket,
            journald: journald.to_owned(),
        };
        let (waiting, notes) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let native = Self {
            waiting,
            lost: Arc::clone(&lost),
        };
        let thread = thread::Builder::new().name("journal".to_owned());
        thread.spawn(move || sender.send_all(&notes, &lost))?;
        Ok(native)
    }

    pub(super) fn rest(&self) -> Rest {
        Rest(self.waiting.clone())
    }
}

impl Sender {
    fn send_all(&self, notes: &Receiver<Note>, lost: &AtomicU64) {
        for note in notes {
            match note {
                Note::Line(line) => self.send(&line),
                Note::Flush(done) => done.send(()).unwrap_or_default(),
            }
            let count = lost.swap(0, Ordering::Relaxed);
            if count > 0 {
                self.send(&Line::lost(count));
            }
        }
    }

    fn send(&self, line: &Line) {
        let bytes = line.datagram.as_bytes();
        if self.socket.send_to(bytes, &self.journald).is_err() {
            // The stream takes it while journald's socket does not.
            // Where standard error is closed too, the line is lost: that must not end the thread, as `eprintln` would.
            let (priority, message) = (line.priority, &line.message);
            writeln!(io::stderr(), "<{priority}>{message}").unwrap_or_default();
        }
    }
}

impl<S: Subscriber> Layer<S> for Native {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut said = Said::default();
        event.record(&mut said);
        let priority = priority(*metadata.level());
        let line = Line {
            priority,
            datagram: said.datagram(priority, metadata),
            message: said.message(),
        };
        if self.waiting.try_send(Note::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What an event says: its message, and its values by name.
#[derive(Debug, Default)]
struct Said {
    words: String,
    values: Vec<(&'static str, String)>,
}

impl Said {
    fn message(&self) -> String {
        let mut message = self.words.clone();
        for (name, value) in &self.values {
            let blank = if message.is_empty() { "" } else { " " };
            let quoted = value.is_empty() || value.contains(char::is_whitespace);
            let quote = if quoted { "\"" } else { "" };
            // A `String` takes everything.
            write!(message, "{blank}{name}={quote}{value}{quote}").unwrap_or_default();
        }
        cut(&message, LARGEST).to_owned()
    }

    /// The lines of the protocol: no value has a line break in it. A value that does not fit into the datagram any more is only
    /// in the message.
    fn datagram(&self, priority: u8, event: &Metadata<'_>) -> String {
        let mut lines = format!(
            "MESSAGE={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=ober-user\nOBER_TARGET={}\n",
            self.message(),
            event.target()
        );
        let parts = Part::of(event)
            .into_iter()
            .map(|part| ("PART", part.name()));
        let values = self.values.iter();
        let values = values.map(|(name, value)| (*name, value.clone()));
        for (name, value) in parts.chain(values) {
            let name = name.to_ascii_uppercase().replace('.', "_");
            let line = format!("OBER_{name}={value}\n");
            if lines.len() + line.len() <= DATAGRAM {
                lines.push_str(&line);
            }
        }
        lines
    }

    fn take(&mut self, field: &Field, value: &str) {
        let end = value.char_indices().nth(LONGEST).map(|(at, _)| at);
        let value = tame(value.get(..end.unwrap_or(value.len())).unwrap_or_default());
        let value = cut(&value, LARGEST);
        match field.name() {
            "message" => value.clone_into(&mut self.words),
            // What the crate `log` knows of its own records.
            name if name.starts_with("log.") => {}
            name => self.values.push((name, value.to_owned())),
        }
    }
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, &format!("{value:?}"));
    }
}

/// Standard error, each line with its priority (sd-daemon(3)): for commands, whose few words need no fields.
pub(super) struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = OneLine<Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine::new(io::stderr(), false)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        self.make_writer().after(match priority(*event.level()) {
            3 => "<3>",
            4 => "<4>",
            6 => "<6>",
            _ => "<7>",
        })
    }
}

/// The numbers of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn each_level_has_the_priority_by_which_the_journal_filters() {
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        assert_eq!(levels.map(priority), [3, 4, 6, 7, 7]);
    }

    /// The fields of the one event that `log` makes.
    fn fields(log: impl FnOnce()) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        journald.set_read_timeout(Some(PATIENCE)).unwrap();
        let native = Native::to(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(native);
        tracing::subscriber::with_default(subscriber, log);
        let mut bytes = vec![0; DATAGRAM];
        let length = journald.recv(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_found_in_the_journal_by_its_part_and_its_values_and_read_as_one_line() {
        let vip = IpAddr::from([192, 0, 2, 10]);
        let found = fields(|| {
            tracing::warn!(target: "ober_user::announce::gate::world", %vip, from = "up", reason = "interface down",
                worker = 3, "the gate is down");
        });
        let expected = [
            "MESSAGE=the gate is down vip=192.0.2.10 from=up reason=\"interface down\" worker=3",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=ober-user",
            "OBER_TARGET=ober_user::announce::gate::world",
            "OBER_PART=gate",
            "OBER_VIP=192.0.2.10",
            "OBER_FROM=up",
            "OBER_REASON=interface down",
            "OBER_WORKER=3",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_value_of_another_machine_adds_no_field_and_a_long_one_is_cut() {
        let forged = "x\nOBER_PART=audit";
        let found = fields(|| tracing::info!(target: "elsewhere", forged, "heard"));
        assert_eq!(found[0], "MESSAGE=heard forged=x\\nOBER_PART=audit");
        assert!(
            !found.iter().any(|it| it.starts_with("OBER_PART=")),
            "{found:?}"
        );
        let long = "é".repeat(LONGEST * 2);
        let found = fields(|| tracing::info!(target: "elsewhere", "{long}"));
        assert_eq!(found[0], format!("MESSAGE={}", "é".repeat(LONGEST)));
    }

    #[test]
    fn an_event_of_any_size_fits_into_a_datagram_with_its_part() {
        let long = "\u{10ffff}".repeat(LONGEST);
        let found = fields(|| {
            tracing::info!(target: "ober_user::announce", a = long, b = long, c = long, d = long, "{long}");
        });
        assert!(found.contains(&"OBER_PART=gate".to_owned()));
        let bytes: usize = found.iter().map(|it| it.len() + 1).sum();
        assert!(bytes <= DATAGRAM, "{bytes}");
    }

    #[test]
    fn a_journald_that_does_not_read_stops_no_task_and_the_lines_it_missed_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        journald.set_read_timeout(Some(10 * PATIENCE)).unwrap();
        let native = Native::to(&path).unwrap();
        let lost = Arc::clone(&native.lost);
        let subscriber = tracing_subscriber::registry().with(native);
        let began = std::time::Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            while lost.load(Ordering::Relaxed) == 0 && began.elapsed() < 10 * PATIENCE {
                tracing::info!("a line");
            }
        });
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        let mut bytes = [0; 4096];
        let counted = loop {
            let length = journald.recv(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]);
            if text.contains(" were lost") {
                break text.into_owned();
            }
        };
        assert!(counted.contains("PRIORITY=4"), "{counted}");
        journald.set_read_timeout(Some(PATIENCE / 5)).unwrap();
        while journald.recv(&mut bytes).is_ok() {}
    }

    #[test]
    fn the_longest_place_decides_the_part_and_what_an_operator_did_is_also_audit() {
        let part = |found: Vec<String>| {
            let lines = found.into_iter();
            let parts = lines.filter_map(|it| Some(it.strip_prefix("OBER_PART=")?.to_owned()));
            parts.collect::<Vec<_>>()
        };
        let by = Some(0_u32);
        let said = fields(|| tracing::info!(target: "ober_user::daemon::sync", uid = by, "a"));
        assert_eq!(part(said), ["acl", "audit"]);
        let said = fields(|| tracing::info!(target: "ober_user::daemon::change", by, "a"));
        assert_eq!(part(said), ["audit"]);
        let said = fields(|| tracing::info!(target: "ober_user::haproxy::certificates", "a"));
        assert_eq!(part(said), ["certificates"]);
        let said = fields(|| tracing::info!(target: "ober_user::haproxy::pool", "a"));
        assert_eq!(part(said), ["workers"]);
        let said = fields(|| tracing::info!(target: "ober_user::lists_of_others", "a"));
        assert_eq!(part(said), [""; 0]);
    }

    /// What the speakers say is about a protocol, and no place but their `target` tells which.
    #[test]
    fn what_the_speakers_say_names_its_protocol() {
        let text = include_str!("../announce/speakers.rs");
        let said = text.match_indices("tracing::").map(|(at, _)| &text[at..]);
        let said = said.filter(|it| it.contains('!') && it.find('!') < it.find(';'));
        for line in said {
            let arguments = line.split_once('(').unwrap().1.trim_start();
            let about = line.split(';').next().unwrap();
            // This one waits for all of them at once.
            let is_all = about.contains("a neighbour was not informed");
            assert!(arguments.starts_with("target: ") || is_all, "{about}");
        }
    }

    #[test]
    fn every_place_of_a_part_is_a_module_of_the_source() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (place, _) in PLACES {
            let place = place.replace("::", "/");
            let place = place.replacen("ober_user", "src", 1);
            let place = package.join(place.replacen("ober_base", "../ober-base/src", 1));
            assert!(
                place.is_dir() || place.with_extension("rs").is_file(),
                "{}",
                place.display()
            );
        }
    }
}
