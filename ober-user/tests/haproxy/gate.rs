//! The health gate before real workers: what a probe finds out about a worker, and which standing VIPs get.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ober_user::{
    announce::gate::{
        self, Live, News, Order, Plan, Standing, State, backends,
        probe::{ProbeTarget, Question},
        watch::Disabled,
    },
    api::status,
    config::sections::{
        gate::{AtLeast, Gate as Settings},
        route::{Names, Route},
    },
    haproxy::{Pool, WorkerEvent, command_socket},
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::lab::{Lab, addresses, server};

const PATIENCE: Duration = Duration::from_secs(20);

fn target(address: SocketAddr, tls: bool) -> ProbeTarget {
    ProbeTarget {
        http: true,
        address,
        tls,
        port: if tls { 443 } else { 80 },
    }
}

fn question(path: &str, timeout: Duration) -> Question {
    Question::new(&Settings {
        path: path.to_owned(),
        timeout,
        ..Settings::default()
    })
    .unwrap()
}

/// Asks a worker; the text of the error, empty when the answer is good.
async fn ask(question: &Question, target: ProbeTarget) -> String {
    let answer = question.ask(target).await;
    answer.err().map(|it| it.to_string()).unwrap_or_default()
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn pids(pool: &Pool) -> Vec<i32> {
    let snapshot = pool.snapshot();
    snapshot.iter().filter_map(|worker| worker.pid).collect()
}

/// A server that refuses every connection.
fn refusing() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn quick_checks(lab: &mut Lab) {
    let backend = lab.config.backends.get_mut("storage").unwrap();
    let check = backend.check.as_mut().unwrap();
    (check.interval, check.rise, check.fall) = (Duration::from_millis(100), 1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_answered_through_the_workers_own_listener_with_and_without_tls() {
    let lab = Lab::new(1);
    let (pool, _events) = lab.start().await;
    let (tls, plain) = (addresses(&pool, 443)[0], addresses(&pool, 80)[0]);
    for (path, words) in [
        ("/", ""),
        ("/none", ""),
        // The storage server answers, though with 503: the worker's path to it works.
        ("/busy", ""),
    ] {
        let question = question(path, Duration::from_secs(5));
        assert_eq!(ask(&question, target(tls, true)).await, words, "{path}");
        assert_eq!(ask(&question, target(plain, false)).await, words, "{path}");
    }
    let strict = Question::new(&Settings {
        path: "/none".to_owned(),
        status: vec![(200, 299)],
        sni: Some("s3.test".to_owned()),
        ..Settings::default()
    });
    let words = ask(&strict.unwrap(), target(tls, true)).await;
    assert_eq!(words, "port 443: status 404");
    let v6 = pool
        .sockets()
        .into_iter()
        .find(|socket| socket.port.get() == 443 && socket.family == ober_user::haproxy::Family::V6)
        .unwrap()
        .address()
        .unwrap();
    let words = ask(&question("/", Duration::from_secs(5)), target(v6, true)).await;
    assert_eq!(words, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_probe_names_its_cause_handshake_answer_or_refused_connection() {
    let lab = Lab::new(1);
    let (pool, _events) = lab.start().await;
    let (tls, plain) = (addresses(&pool, 443)[0], addresses(&pool, 80)[0]);
    let patient = question("/", Duration::from_secs(5));
    let words = ask(&patient, target(plain, true)).await;
    assert!(words.starts_with("port 443: TLS handshake: "), "{words}");
    let words = ask(&patient, target(tls, false)).await;
    assert!(words.starts_with("port 80: "), "{words}");
    let words = ask(&patient, target(refusing(), false)).await;
    assert!(words.starts_with("port 80: connect: "), "{words}");
    let hasty = question("/slow", Duration::from_millis(200));
    let words = ask(&hasty, target(plain, false)).await;
    assert_eq!(words, "port 80: no answer within 200ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_that_still_accepts_connections_fails_its_probe() {
    let lab = Lab::new(1);
    let (pool, _events) = lab.start().await;
    let (tls, plain) = (addresses(&pool, 443)[0], addresses(&pool, 80)[0]);
    let pid = pids(&pool)[0];
    signal(pid, Signal::SIGSTOP);
    let hasty = question("/", Duration::from_millis(200));
    let words = ask(&hasty, target(tls, true)).await;
    assert_eq!(words, "port 443: no TLS handshake within 200ms");
    let words = ask(&hasty, target(plain, false)).await;
    assert_eq!(words, "port 80: no answer within 200ms");
    signal(pid, Signal::SIGCONT);
    let patient = question("/", Duration::from_secs(5));
    assert_eq!(ask(&patient, target(tls, true)).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_counted_from_the_workers_view_and_its_503_without_a_server_is_bad() {
    let mut lab = Lab::new(1);
    quick_checks(&mut lab);
    let good = lab.servers["storage"][0].addr;
    let mut start = vec![
        server("disk-1", good),
        server("disk-2", refusing()),
        server("disk-3", refusing()),
    ];
    lab.servers.insert("storage".to_owned(), start.clone());
    let (mut pool, _events) = lab.start().await;
    let cli = command_socket(&lab.config.node.run, 0);
    until_live(&cli, Live { up: 1, all: 3 }).await;
    start.remove(0);
    lab.servers.insert("storage".to_owned(), start);
    pool.reload(&lab.config, &lab.servers).await.unwrap();
    until_live(&cli, Live { up: 0, all: 2 }).await;
    let patient = question("/", Duration::from_secs(5));
    let at = addresses(&pool, 443)[0];
    assert_eq!(
        ask(&patient, target(at, true)).await,
        "port 443: status 503"
    );
    let error = backends::live(&cli, "nobody", PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("No such"), "{error}");
}

async fn until_live(cli: &std::path::Path, wanted: Live) {
    let began = Instant::now();
    loop {
        let live = backends::live(cli, "storage", PATIENCE).await.unwrap();
        if live == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{live:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Gates before a pool, with the facts of a node where all is well.
struct Node {
    lab: Lab,
    pool: Pool,
    gates: gate::Handle,
    stands: Receiver<(IpAddr, Standing)>,
}

fn vips() -> [IpAddr; 2] {
    ["192.0.2.1", "2001:db8::1"].map(|vip| vip.parse().unwrap())
}

impl Node {
    async fn new(lab: Lab) -> Self {
        let (pool, events) = lab.start().await;
        let (gates, stands) = gates(&lab, &pool, events);
        Self {
            lab,
            pool,
            gates,
            stands,
        }
    }

    /// Waits until both VIPs have been given this standing, in any order; how long that took.
    fn both(&self, standing: Standing) -> Duration {
        let began = Instant::now();
        let mut published = [0, 1].map(|_| self.stands.recv_timeout(PATIENCE).unwrap());
        published.sort();
        assert_eq!(published, vips().map(|vip| (vip, standing)));
        began.elapsed()
    }

    /// `moves`: the VIPs whose addresses VRRP moves.
    fn plan(&self, moves: &[IpAddr]) -> Plan {
        let sockets = self.pool.sockets();
        Plan::of(&self.lab.config, &sockets, |vip| moves.contains(&vip)).unwrap()
    }

    fn silent(&self) {
        assert_eq!(
            self.stands.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Empty)
        );
    }

    fn reason(&self) -> String {
        shown(&self.gates)[0].reason.clone()
    }
}

/// Gates that learn of worker events at once, and that interface, program and addresses are well.
fn gates(
    lab: &Lab,
    pool: &Pool,
    mut events: UnboundedReceiver<WorkerEvent>,
) -> (gate::Handle, Receiver<(IpAddr, Standing)>) {
    let plan = Plan::of(&lab.config, &pool.sockets(), |_| false).unwrap();
    let (tell, stands) = channel();
    let stand = move |vip, standing| tell.send((vip, standing)).unwrap_or_default();
    let gates = gate::start(&plan, &lab.config.node.state, stand).unwrap();
    for worker in pool.snapshot() {
        gates.tell(News::Worker(WorkerEvent {
            worker: worker.worker,
            in_ring: worker.in_ring,
        }));
    }
    gates.tell(News::Interface(true));
    gates.tell(News::Program(true));
    gates.tell(News::Addresses(BTreeSet::from(vips())));
    let teller = gates.clone();
    std::thread::spawn(move || {
        while let Some(event) = events.blocking_recv() {
            teller.tell(News::Worker(event));
        }
    });
    (gates, stands)
}

fn quick(workers: usize) -> Lab {
    let mut lab = Lab::new(workers);
    lab.config.gate = Settings {
        interval: Duration::from_millis(300),
        fast_interval: Duration::from_millis(50),
        // A healthy worker may answer late on a busy machine.
        timeout: Duration::from_secs(5),
        min_up: Duration::ZERO,
        ..Settings::default()
    };
    lab
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vips_open_after_good_probes_close_with_the_last_worker_and_reopen_by_themselves() {
    let node = Node::new(quick(2)).await;
    node.gates.settled().await;
    node.both(Standing::Announced);
    let status = shown(&node.gates);
    assert_eq!((status[0].serving, status[0].servers), (2, Some(1)));
    for pid in pids(&node.pool) {
        signal(pid, Signal::SIGKILL);
    }
    let took = node.both(Standing::Withdrawn);
    println!("last worker killed to both VIPs withdrawn: {took:?}");
    node.both(Standing::Announced);
    let history = &shown(&node.gates)[0].history;
    let fell = history.iter().find(|it| it.from == State::Up).unwrap();
    assert_eq!(
        (fell.to, fell.reason.as_str()),
        (State::Down, "0 of 1 needed workers run")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_worker_closes_the_gate_if_all_are_required_and_reopens_it_when_resumed() {
    let mut lab = quick(2);
    lab.config.gate.timeout = Duration::from_millis(500);
    lab.config.gate.min_workers = AtLeast::Percent(100);
    let node = Node::new(lab).await;
    node.both(Standing::Announced);
    let pid = pids(&node.pool)[1];
    signal(pid, Signal::SIGSTOP);
    node.both(Standing::Withdrawn);
    assert_eq!(
        node.reason(),
        "1 of 2 needed workers answer: worker 1: port 80: no answer within 500ms"
    );
    signal(pid, Signal::SIGCONT);
    node.both(Standing::Announced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vips_without_a_live_server_are_announced_only_once_there_is_one() {
    let mut lab = quick(1);
    quick_checks(&mut lab);
    let good = lab.servers["storage"].clone();
    let dead = vec![server("disk-1", refusing())];
    lab.servers.insert("storage".to_owned(), dead);
    let mut node = Node::new(lab).await;
    node.gates.settled().await;
    node.silent();
    let status = &shown(&node.gates)[0];
    assert_eq!(
        (status.state, status.standing),
        (State::Down, Standing::Withdrawn)
    );
    node.lab.servers.insert("storage".to_owned(), good);
    let reload = node.pool.reload(&node.lab.config, &node.lab.servers).await;
    reload.unwrap();
    node.both(Standing::Announced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_that_a_service_reaches_by_its_routes_count_as_its_own() {
    let mut lab = quick(1);
    lab.config.gate.min_servers = AtLeast::Number(2);
    let cold = lab.config.backends["storage"].clone();
    lab.config.backends.insert("cold".to_owned(), cold);
    let servers = lab.servers["storage"].clone();
    assert_eq!(servers.len(), 1);
    lab.servers.insert("cold".to_owned(), servers);
    let route = Route {
        backend: "cold".to_owned(),
        vips: Vec::new(),
        sni: Names::default(),
        hosts: Names::default(),
        paths: vec!["/cold/".to_owned()],
    };
    lab.config.services[0].routes.push(route);
    let mut node = Node::new(lab).await;
    node.both(Standing::Announced);
    assert_eq!(shown(&node.gates)[0].servers, Some(2));
    node.lab.config.services[0].routes.clear();
    node.gates.configure(&node.plan(&[])).await.unwrap();
    node.both(Standing::Withdrawn);
    assert_eq!(node.reason(), "1 of 2 needed servers up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_reach_one_vip_or_all_and_are_still_in_force_after_a_restart() {
    let node = Node::new(quick(1)).await;
    node.both(Standing::Announced);
    let [v4, v6] = vips();
    let gates = node.gates.order(Some(v4), Order::Disable).await.unwrap();
    assert_eq!(
        gates
            .iter()
            .map(|gate| (gate.vip, gate.gate.state()))
            .collect::<Vec<_>>(),
        [(v4, State::Disabled)]
    );
    assert_eq!(
        node.stands.recv_timeout(PATIENCE),
        Ok((v4, Standing::Withdrawn))
    );
    let gates = node.gates.order(None, Order::Drain).await.unwrap();
    assert_eq!(
        gates
            .iter()
            .map(|gate| gate.gate.state())
            .collect::<Vec<_>>(),
        [State::Disabled, State::Draining]
    );
    assert_eq!(
        node.stands.recv_timeout(PATIENCE),
        Ok((v6, Standing::GracefulShutdown))
    );
    let stranger = "192.0.2.99".parse().unwrap();
    let error = node.gates.order(Some(stranger), Order::Enable).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "enable VIP 192.0.2.99: this node has no such VIP; it has 192.0.2.1, 2001:db8::1"
    );
    let (_, events) = tokio::sync::mpsc::unbounded_channel();
    let (again, stands) = gates_again(&node, events);
    again.settled().await;
    let states: Vec<_> = shown(&again).iter().map(|gate| gate.state).collect();
    assert_eq!(states, [State::Disabled, State::Draining]);
    again.order(None, Order::Enable).await.unwrap();
    again.order(None, Order::Undrain).await.unwrap();
    let mut published = [0, 1].map(|_| stands.recv_timeout(PATIENCE).unwrap());
    published.sort();
    assert_eq!(published, vips().map(|vip| (vip, Standing::Announced)));
}

/// What a status says of the gates.
fn shown(gates: &gate::Handle) -> Vec<status::gate::Gate> {
    gates.views().iter().map(Into::into).collect()
}

fn gates_again(
    node: &Node,
    events: UnboundedReceiver<WorkerEvent>,
) -> (gate::Handle, Receiver<(IpAddr, Standing)>) {
    gates(&node.lab, &node.pool, events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_vip_is_withdrawn_before_configure_returns_and_other_vips_do_not_change() {
    let mut node = Node::new(quick(1)).await;
    node.both(Standing::Announced);
    let [v4, v6] = vips();
    let before = shown(&node.gates)[0].clone();
    node.lab.config.services[0].vips.retain(|vip| *vip == v4);
    let plan = node.plan(&[]);
    node.gates.configure(&plan).await.unwrap();
    assert_eq!(node.stands.try_recv(), Ok((v6, Standing::Withdrawn)));
    node.lab.config.services[0].vips.push(v6);
    let plan = node.plan(&[]);
    node.gates.configure(&plan).await.unwrap();
    assert_eq!(
        node.stands.recv_timeout(PATIENCE),
        Ok((v6, Standing::Announced))
    );
    node.silent();
    let stayed = &shown(&node.gates)[0];
    assert_eq!(
        (stayed.vip, stayed.history.len()),
        (v4, before.history.len())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fact_that_fails_withdraws_the_vips_at_once_until_it_holds_again() {
    let node = Node::new(quick(1)).await;
    node.both(Standing::Announced);
    for (bad, good) in [
        (News::Interface(false), News::Interface(true)),
        (News::Program(false), News::Program(true)),
        (
            News::Addresses(BTreeSet::new()),
            News::Addresses(BTreeSet::from(vips())),
        ),
        (News::File(Disabled::All), News::File(Disabled::None)),
    ] {
        node.gates.tell(bad);
        node.both(Standing::Withdrawn);
        node.gates.tell(good);
        node.both(Standing::Announced);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vip_whose_address_vrrp_manages_opens_without_the_address() {
    let node = Node::new(quick(1)).await;
    node.both(Standing::Announced);
    node.gates.tell(News::Addresses(BTreeSet::new()));
    node.both(Standing::Withdrawn);
    let [v4, _] = vips();
    node.gates.configure(&node.plan(&[v4])).await.unwrap();
    assert_eq!(
        node.stands.recv_timeout(PATIENCE),
        Ok((v4, Standing::Announced))
    );
    node.silent();
}
