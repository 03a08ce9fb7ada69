use std::{fs, path::PathBuf, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{
    backends::discover::own::Own,
    config::Env,
    lists::edit::{Edit, How, Sync, Target},
    names::resolve::{Answer, Answers, Why},
};

/// A node whose backends are on disk in a directory of the test.
struct Node(TempDir);

impl Node {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A configuration with these backends and their servers.
    fn config(&self, backends: &[(&str, &[&str])]) -> Arc<Config> {
        let mut text = format!(
            "[node]\ninterfaces=['in0']\nstate={:?}\n[workers]\nhaproxy='/usr/sbin/haproxy'\ncount=1\n",
            self.path("state")
        );
        for (name, servers) in backends {
            let backend = format!("[backends.{name}]\nservers={servers:?}\n");
            text.push_str(&backend);
        }
        let env = Env {
            cpus: vec![0],
            ..Env::default()
        };
        let config = Config::parse(&text, self.0.path(), &env);
        Arc::new(config.unwrap_or_else(|error| panic!("{error}\n{text}")))
    }

    fn open(&self, backends: &[(&str, &[&str])]) -> (Arc<Config>, Backends) {
        let config = self.config(backends);
        let backends = Backends::open(&config).unwrap();
        (config, backends)
    }
}

/// The change that `sync` makes, when the `known` names have these addresses and name servers do not answer for the
/// `lost` ones.
async fn ready(
    (config, backends): (&Arc<Config>, &Backends),
    sync: &Sync,
    known: &[(&str, &str)],
    lost: &[&str],
) -> Result<Ready, Error> {
    let known = known
        .iter()
        .map(|(name, address)| ((*name).to_owned(), Answer::all([address.parse().unwrap()])));
    let lost = lost
        .iter()
        .map(|name| ((*name).to_owned(), Answer::failed(Why::Timeout)));
    let answers: Answers = known.chain(lost).collect();
    let with = With {
        config,
        sync,
        own: &Arc::new(Own::default()),
        ask: Ask::All,
    };
    backends.draft().ready(with, &answers).await
}

fn addresses(in_force: &InForce, backend: &str) -> Vec<String> {
    let servers = in_force.servers[backend].iter();
    servers.map(|server| server.addr.to_string()).collect()
}

fn replace(backend: &str, servers: &[&str]) -> Edit {
    Edit {
        target: Target::Backend(backend.to_owned()),
        how: How::Replace,
        sources: servers.iter().map(ToString::to_string).collect(),
        stdin: None,
    }
}

#[tokio::test]
async fn a_configured_name_keeps_its_addresses_when_other_servers_change() {
    let node = Node::new();
    let nothing = Sync::default();
    let (config, mut before) = node.open(&[("rgw", &["a.test:80", "b.test:80"])]);
    let known = [("a.test", "10.0.0.1"), ("b.test", "10.0.0.2")];
    let first = ready((&config, &before), &nothing, &known, &[])
        .await
        .unwrap();
    before.put_in_force(first);
    let edited: [(&str, &[&str]); 1] = [("rgw", &["a.test:80", "10.0.0.9:80"])];
    let config = node.config(&edited);
    let reloaded = before.next(&config).unwrap();
    let (_, restarted) = node.open(&edited);
    for mut next in [reloaded, restarted] {
        let lost = ["a.test", "b.test"];
        let ready_now = ready((&config, &next), &nothing, &[], &lost).await.unwrap();
        assert_eq!(
            addresses(&ready_now.in_force, "rgw"),
            ["10.0.0.1:80", "10.0.0.9:80"]
        );
        assert_eq!(ready_now.synced[0].kept, ["a.test"]);
        next.put_in_force(ready_now);
        // A name that was removed is forgotten.
        let config = node.config(&[("rgw", &["b.test:80"])]);
        let next = next.next(&config).unwrap();
        let ready_now = ready((&config, &next), &nothing, &[], &lost).await.unwrap();
        assert_eq!(addresses(&ready_now.in_force, "rgw"), [""; 0]);
    }
}

/// The workers outlive the daemon. Another name would be a new server to them, and they would end the connections of
/// the old one after `workers.drain`.
#[tokio::test]
async fn a_server_keeps_its_name_over_a_restart_when_those_before_it_have_left() {
    let node = Node::new();
    let nothing = Sync::default();
    let three: [(&str, &[&str]); 1] = [("rgw", &["10.0.0.1:80", "10.0.0.1:81", "10.0.0.1:82"])];
    let (config, mut backends) = node.open(&three);
    let all = ready((&config, &backends), &nothing, &[], &[]).await;
    backends.put_in_force(all.unwrap());
    let last: [(&str, &[&str]); 1] = [("rgw", &["10.0.0.1:82"])];
    let config = node.config(&last);
    let mut reloaded = backends.next(&config).unwrap();
    let one = ready((&config, &reloaded), &nothing, &[], &[]).await;
    reloaded.put_in_force(one.unwrap());
    let (_, restarted) = node.open(&last);
    for next in [reloaded, restarted] {
        let ready_now = ready((&config, &next), &nothing, &[], &[]).await.unwrap();
        let servers = &ready_now.in_force.servers["rgw"];
        assert_eq!(servers.len(), 1);
        assert_eq!(servers[0].name, "10.0.0.1_3");
    }
}

#[tokio::test]
async fn pruning_names_concerns_the_edited_backend_alone() {
    let node = Node::new();
    let backends: [(&str, &[&str]); 2] = [("edited", &["a.test:80"]), ("other", &["b.test:80"])];
    let (config, mut before) = node.open(&backends);
    let known = [("a.test", "10.0.0.1"), ("b.test", "10.0.0.2")];
    let nothing = Sync::default();
    let first = ready((&config, &before), &nothing, &known, &[])
        .await
        .unwrap();
    before.put_in_force(first);
    let sync = Sync {
        edits: vec![replace("edited", &["a.test:80", "10.0.0.9:80"])],
        prune: true,
        ..Sync::default()
    };
    let lost = ["a.test", "b.test"];
    let ready_now = ready((&config, &before), &sync, &[], &lost).await.unwrap();
    assert_eq!(addresses(&ready_now.in_force, "edited"), ["10.0.0.9:80"]);
    assert_eq!(addresses(&ready_now.in_force, "other"), ["10.0.0.2:80"]);
    before.put_in_force(ready_now);
    // The file of the other backend survives a restart.
    let (config, next) = node.open(&backends);
    let ready_now = ready((&config, &next), &nothing, &[], &lost).await.unwrap();
    assert_eq!(addresses(&ready_now.in_force, "other"), ["10.0.0.2:80"]);
}

#[tokio::test]
async fn an_unreadable_server_file_affects_its_backend_alone_which_keeps_its_servers() {
    let node = Node::new();
    let file = node.path("servers");
    let at = format!("@{}", file.display());
    let backends: [(&str, &[&str]); 2] = [("broken", &[&at]), ("whole", &["10.0.0.2:80"])];
    let (config, mut before) = node.open(&backends);
    let (nothing, at_first) = (Sync::default(), "no server is known of them");
    // At the very first start no server is known of this backend, and the other one serves.
    let ready_now = ready((&config, &before), &nothing, &[], &[]).await.unwrap();
    assert_eq!(addresses(&ready_now.in_force, "broken"), [""; 0]);
    assert_eq!(addresses(&ready_now.in_force, "whole"), ["10.0.0.2:80"]);
    let [why] = &ready_now.in_force.left_out["broken"][..] else {
        panic!("{:?}", ready_now.in_force.left_out);
    };
    assert!(
        why.starts_with("servers: ") && why.contains(at_first),
        "{why}"
    );
    assert!(why.contains(file.to_str().unwrap()), "{why}");
    fs::write(&file, "10.0.0.1:80\n").unwrap();
    let ready_now = ready((&config, &before), &nothing, &[], &[]).await.unwrap();
    assert_eq!(addresses(&ready_now.in_force, "broken"), ["10.0.0.1:80"]);
    assert!(ready_now.in_force.left_out.is_empty());
    before.put_in_force(ready_now);
    let more: [(&str, &[&str]); 2] = [("broken", &[&at, "10.0.0.7:80"]), backends[1]];
    for text in [None, Some("10.0.0.[1-"), Some("10.0.0.1-20:80")] {
        match text {
            None => fs::remove_file(&file).unwrap(),
            Some(text) => fs::write(&file, text).unwrap(),
        }
        // A refresh, a reload with another line, and a restart.
        let config = node.config(&more);
        let (reloaded, restarted) = (before.next(&config).unwrap(), node.open(&backends).1);
        for next in [&before, &reloaded, &restarted] {
            let ready_now = ready((&config, next), &nothing, &[], &[]).await.unwrap();
            assert_eq!(addresses(&ready_now.in_force, "broken"), ["10.0.0.1:80"]);
            assert_eq!(addresses(&ready_now.in_force, "whole"), ["10.0.0.2:80"]);
            let why = &ready_now.in_force.left_out["broken"][0];
            assert!(why.contains("the last known server stays in use"), "{why}");
        }
        // An operator's edit of this backend is refused; one of the other backend is not.
        let order = |backend, servers: &[&str]| Sync {
            edits: vec![replace(backend, servers)],
            ..Sync::default()
        };
        let refused = ready((&config, &before), &order("broken", &[&at]), &[], &[])
            .await
            .expect_err("refused")
            .to_string();
        assert!(
            refused.starts_with("set the servers of backend broken: "),
            "{refused}"
        );
        let other = order("whole", &["10.0.0.3:80"]);
        let ready_now = ready((&config, &before), &other, &[], &[]).await.unwrap();
        assert_eq!(addresses(&ready_now.in_force, "whole"), ["10.0.0.3:80"]);
    }
}

#[test]
fn reporting_work_grows_linearly_with_the_left_out_servers() {
    let node = Node::new();
    let (_, mut backends) = node.open(&[("rgw", &["10.0.0.1:80"])]);
    let left_out = |count: usize| {
        let left_out =
            (0..count).map(|number| format!("10.0.0.1:{number} of x: it is the node's own"));
        Arc::new(InForce {
            left_out: [("rgw".to_owned(), left_out.collect())].into(),
            ..InForce::default()
        })
    };
    let backends = std::cell::RefCell::new(&mut backends);
    ober_test_support::scale::linear([100, 1000], left_out, |in_force| {
        backends.borrow_mut().in_force = Arc::clone(in_force);
        backends.borrow().complain(in_force);
    });
}
