//! A run directory, a certificate, a storage server and clients; dropping the laboratory ends what is left of them.

use std::{
    collections::BTreeMap,
    fs,
    io::{
        BufRead, BufReader,
        ErrorKind::{AddrInUse, AddrNotAvailable},
        Read, Write,
    },
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU16,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_user::{
    backends::server::{Server, Servers},
    config::{
        Access, Backend, Balance, Check, ClientTimeouts, Config, Fragments, Limits, Listener, Node,
        Protocol, Service, Steer, Throttle, Timeouts, UnknownName, VipInterface, WhenFull, Workers,
        XdpMode,
        sections::{
            check::{Http, Kind, Statuses},
            tls::{Termination, Terms, Version},
        },
    },
    haproxy::{Pool, WorkerEvent},
    names::resolve::Resolve,
    system::manager::Manager,
};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) servers: Servers,
    pub(crate) certificate: Vec<u8>,
    storage: SocketAddr,
    closing: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Lab {
    /// A plain listener on port 80 and a TLS one on port 443, in front of one storage server.
    pub(crate) fn new(workers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pem = dir.path().join("s3.pem");
        let certificate = certify(&pem);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = listener.local_addr().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let accepting = {
            let closing = Arc::clone(&closing);
            thread::spawn(move || {
                for stream in listener
                    .incoming()
                    .take_while(|_| !closing.load(Ordering::Relaxed))
                {
                    thread::spawn(move || store(&stream.unwrap()));
                }
            })
        };
        let servers = BTreeMap::from([("storage".to_owned(), vec![server("disk-1", storage)])]);
        let config = config(dir.path(), &pem, workers);
        Self {
            dir,
            config,
            servers,
            certificate,
            storage,
            closing,
            accepting: Some(accepting),
        }
    }

    /// The text from which another process makes the same configuration: see [`given`].
    pub(crate) fn gift(&self) -> String {
        format!("{} {}", self.storage, self.dir.path().display())
    }

    pub(crate) async fn start(&self) -> (Pool, UnboundedReceiver<WorkerEvent>) {
        let (events, heard) = unbounded_channel();
        let pool = Pool::start(&self.config, &self.servers, events, &Manager::default())
            .await
            .unwrap();
        assert_eq!(
            pool.ready(Duration::from_secs(10)).await,
            self.config.workers.cpus.len()
        );
        (pool, heard)
    }

    /// HAProxy processes of this laboratory, also those that another process started.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let ours = self.dir.path().to_str().unwrap().as_bytes();
        let pids = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(ours.len()).any(|part| part == ours)
        })
        .collect()
    }
}

/// The configuration and servers of the laboratory of another process.
pub(crate) fn given(gift: &str) -> (Config, Servers) {
    let (storage, dir) = gift.split_once(' ').unwrap();
    let dir = Path::new(dir);
    let servers = vec![server("disk-1", storage.parse().unwrap())];
    let config = config(dir, &dir.join("s3.pem"), 2);
    (config, BTreeMap::from([("storage".to_owned(), servers)]))
}

impl Drop for Lab {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ended_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.closing.store(true, Ordering::Relaxed);
        let _wake = TcpStream::connect(self.storage);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

pub(crate) fn server(name: &str, addr: SocketAddr) -> Server {
    Server::new(name.to_owned(), addr)
}

pub(crate) const PLAIN: Protocol = Protocol::Http { redirect: None };

pub(crate) fn https(certificate: &Path) -> Protocol {
    Protocol::Https {
        tls: Termination {
            certificates: vec![certificate.to_owned()],
            acme: Vec::new(),
            terms: Terms {
                min: Version::V12,
                max: None,
                ciphers: None,
                suites: None,
            },
            tickets: true,
            alpn: vec!["http/1.1".to_owned()],
        },
        hsts: None,
    }
}

fn certify(pem: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["s3.test".to_owned()]).unwrap();
    fs::write(pem, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

pub(crate) fn port(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

pub(crate) fn listener(number: u16, protocol: Protocol) -> Listener {
    Listener {
        port: port(number),
        protocol,
        access: Access::Open,
        rules: Vec::new(),
        proxy_from: Vec::new(),
    }
}

pub(crate) fn service(name: &str, vips: &[&str], listeners: Vec<Listener>) -> Service {
    let vips = vips
        .iter()
        .map(|vip| vip.parse::<IpAddr>().unwrap())
        .collect();
    Service {
        name: name.to_owned(),
        vips,
        listeners,
        backend: "storage".to_owned(),
        routes: Vec::new(),
        unexpected_name: UnknownName::Default,
        no_name: UnknownName::Default,
        throttle: Throttle::default(),
        timeouts: ClientTimeouts::default(),
    }
}

pub(crate) fn backend() -> Backend {
    Backend {
        servers: Vec::new(),
        port: port(7480),
        balance: Balance::LeastConn,
        max_connections: None,
        when_full: WhenFull::Queue,
        strict_max_connections: false,
        retries: 3,
        redispatch: true,
        proxy_protocol: None,
        tls: None,
        discover: Vec::new(),
        check: Some(Check {
            kind: Kind::Http(Http {
                method: "GET".to_owned(),
                path: "/".to_owned(),
                host: None,
                status: Statuses::read("200-399,403,404,503").unwrap(),
                body: None,
                tls: None,
            }),
            port: None,
            interval: Duration::from_secs(2),
            fast: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            client: Duration::from_mins(1),
            server: Duration::from_mins(1),
            http_request: Duration::from_secs(10),
            keep_alive: Duration::from_secs(30),
            queue: Duration::from_secs(5),
        },
    }
}

pub(crate) fn config(dir: &Path, pem: &Path, workers: usize) -> Config {
    let cpus = thread::available_parallelism().unwrap().get();
    let listeners = vec![listener(443, https(pem)), listener(80, PLAIN)];
    Config {
        forgiving: false,
        node: Node {
            instance: "test".to_owned(),
            interfaces: vec!["lo".to_owned()],
            xdp: XdpMode::Auto,
            steer: Steer::Off,
            vip_interface: VipInterface::Unmanaged,
            routers: None,
            cluster_key: None,
            state: dir.join("state"),
            run: dir.join("run"),
            bpffs: PathBuf::from("/sys/fs/bpf"),
            metrics: "127.0.0.1:0".parse().unwrap(),
            sample: 0,
            event_rate: 100,
            fragments: Fragments::Listed,
            packet_log: false,
            history: 2,
            reconcile: Duration::ZERO,
        },
        workers: Workers {
            cpus: (0..workers)
                .map(|worker| u32::try_from(worker % cpus).unwrap())
                .collect(),
            haproxy: PathBuf::from("/usr/sbin/haproxy"),
            user: None,
            group: None,
            max_connections: 1000,
            drain: Duration::from_secs(20),
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(2),
        },
        limits: Limits {
            ipv4_pages: 1,
            ipv6_hosts: 1,
            ipv6_prefixes: 1,
            expansion: 1,
            steer_queue: 2048,
            servers: 1000,
        },
        resolve: Resolve {
            interval: Duration::ZERO,
            timeout: Duration::from_secs(1),
            concurrency: 1,
            slurm_conf: None,
        },
        lists: BTreeMap::new(),
        services: vec![service("s3", &["192.0.2.1", "2001:db8::1"], listeners)],
        backends: BTreeMap::from([("storage".to_owned(), backend())]),
        gate: ober_user::config::sections::gate::Gate::default(),
        bgp: None,
        bfd: ober_user::config::sections::bfd::Bfd::default(),
        vrrp: None,
        acme: None,
    }
}

/// One message: its first line, its headers in small letters, its body.
pub(crate) struct Message {
    pub(crate) first: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// `None` at the end of the stream.
    pub(crate) fn read(from: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut message = Self {
            first: line.trim().to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            message
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = message
            .all("content-length")
            .first()
            .map_or(0, |length| length.parse().unwrap());
        from.take(length).read_to_end(&mut message.body)?;
        Ok(Some(message))
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// A storage server that answers with the request it received. `/slow` takes 600 ms, `/slow/longer` 3 s, `/none` is not there,
/// and `/busy` answers 503, as S3 does under too much load.
fn store(stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Message::read(&mut reader) {
        if request.first.contains("/slow/longer") {
            thread::sleep(Duration::from_secs(3));
        } else if request.first.contains("/slow") {
            thread::sleep(Duration::from_millis(600));
        }
        let headers = |name| request.all(name).join("|");
        let answer = format!(
            "{}\nfor={}\nproto={}\nforwarded={}\nbytes={}\n",
            request.first,
            headers("x-forwarded-for"),
            headers("x-forwarded-proto"),
            headers("forwarded"),
            request.body.len()
        );
        let status = match request.first.split(' ').nth(1) {
            Some("/none") => "404 Not Found",
            Some("/busy") => "503 Slow Down\r\nContent-Type: application/xml",
            _ => "200 OK",
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let mut stream = stream;
        if stream.write_all((head + &answer).as_bytes()).is_err() {
            return;
        }
    }
}

/// Connects to a worker's own socket, as probes do: from a privileged port.
pub(crate) fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let own = match at {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    connect_from(own, at)
}

pub(crate) fn connect_from(source: IpAddr, at: SocketAddr) -> std::io::Result<TcpStream> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut answer = Err(std::io::ErrorKind::AddrInUse.into());
    for _ in 0..400 {
        let port = 600 + NEXT.fetch_add(1, Ordering::Relaxed) % 400;
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Linger 0: a closed connection leaves no TIME-WAIT that would keep the port.
        socket.set_linger(Some(Duration::ZERO))?;
        let bound = socket.bind(&SocketAddr::new(source, port).into());
        answer = bound.and_then(|()| socket.connect(&at.into()));
        if !matches!(&answer, Err(error) if matches!(error.kind(), AddrInUse | AddrNotAvailable)) {
            return answer.map(|()| socket.into());
        }
    }
    Err(answer.unwrap_err())
}

/// One request on a connection of its own; the status line and the body.
pub(crate) fn request(
    at: SocketAddr,
    head: &str,
    body: &[u8],
) -> std::io::Result<(String, String)> {
    let mut stream = connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    let length = body.len();
    stream.write_all(
        format!("{head}\r\nHost: s3.test\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
    )?;
    stream.write_all(body)?;
    let answer =
        Message::read(&mut BufReader::new(stream))?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((
        answer.first,
        String::from_utf8_lossy(&answer.body).into_owned(),
    ))
}

pub(crate) fn get(at: SocketAddr, path: &str) -> std::io::Result<String> {
    let (status, body) = request(at, &format!("GET {path} HTTP/1.1"), b"")?;
    if status.contains(" 200 ") {
        Ok(body)
    } else {
        Err(std::io::Error::other(status))
    }
}

/// Clients that ask without pause, each time on a new connection, and count.
pub(crate) struct Load {
    enough: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    pub(crate) fn on(addresses: &[SocketAddr]) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let client = |at: SocketAddr| {
            let enough = Arc::clone(&enough);
            thread::spawn(move || {
                let (mut answered, mut failed) = (0, Vec::new());
                while !enough.load(Ordering::Relaxed) {
                    match get(at, "/load") {
                        Ok(_) => answered += 1,
                        Err(error) => failed.push(error.to_string()),
                    }
                    thread::sleep(Duration::from_millis(2));
                }
                (answered, failed)
            })
        };
        let clients = addresses
            .iter()
            .chain(addresses)
            .map(|at| client(*at))
            .collect();
        Self { enough, clients }
    }

    /// Ends the clients: how many requests were answered. Fails if one was not.
    pub(crate) fn all_answered(self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        let mut total = 0;
        for client in self.clients {
            let (answered, failed) = client.join().unwrap();
            assert_eq!(failed, Vec::<String>::new(), "after {answered} good ones");
            total += answered;
        }
        total
    }
}

/// The address of the plain or TLS socket of each worker, IPv4.
pub(crate) fn addresses(pool: &Pool, number: u16) -> Vec<SocketAddr> {
    let sockets = pool.sockets();
    let wanted = sockets.iter().filter(|socket| socket.port == port(number));
    wanted
        .map(|socket| socket.address().unwrap())
        .filter(SocketAddr::is_ipv4)
        .collect()
}
