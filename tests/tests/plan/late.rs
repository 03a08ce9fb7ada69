//! Changes that fail after some of their steps.

use super::*;

#[test]
fn a_change_that_fails_late_is_undone_completely() {
    let (stage, _) = serving("late", "");
    let (old, before) = (text(&stage), facts(&stage));
    let load = Load::get(stage.secure(VIP4), PATH, CONTENT)
        .start(&stage.cluster.clients[0])
        .expect("TLS load");
    // A VIP is added after workers, lists and services have changed: its interface is not there.
    let vip = format!("vips = [\"{VIP4}\"");
    let added = other(&stage).replace(&vip, &format!("{vip}, \"10.77.9.200\""));
    let file = write(&stage, "late.toml", elsewhere(&added));
    let (code, out, err) = run(&stage, &["apply", &file]);
    assert!(code == 1 && err.contains(NOWHERE), "{code}: {out}{err}");
    assert_eq!(text(&stage), old);
    let after = facts(&stage);
    assert_eq!((&after.0, &after.1), (&before.0, &before.1));
    assert_eq!(after.2.len(), 2, "there are as many workers as before");
    assert!(!served(&stage, 1, MORE) && served(&stage, 0, ober_tests::nodes::one::OPEN));
    let left: Plan = json(&stage, &["plan"], 0);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(history(&stage).len(), 1);
    let file = write(&stage, "late.toml", &added);
    let done: Reloaded = json(&stage, &["apply", &file], 0);
    assert!(done.failed.is_empty(), "{done:?}");
    let report = load.finish().expect("finish");
    report.none_failed().expect("requests");
}

/// No node has an interface of this name.
const NOWHERE: &str = "late0";

/// The same configuration with its VIPs on an interface that is not there.
fn elsewhere(text: &str) -> String {
    let other = text.replace(
        "vip_interface = \"lo\"",
        &format!("vip_interface = \"{NOWHERE}\""),
    );
    assert_ne!(text, other);
    other
}

/// A node with a neighbour whose password the kernel has no room to set again, and a change whose VIPs have no interface.
struct Stuck {
    stage: Stage,
    /// The change: a VIP comes, on an interface that is not there, and the password goes.
    file: String,
    secret: PathBuf,
}

impl Stuck {
    fn new() -> Self {
        let secret = std::env::temp_dir().join(format!("ober-plan-secret-{}", std::process::id()));
        fs::write(&secret, "hush").expect("write the password");
        let only_us = PermissionsExt::from_mode(0o600);
        fs::set_permissions(&secret, only_us).expect("keep it secret");
        let bgp = format!(
            "[bgp]\nas = 65001\nlisten = [\"0.0.0.0:1179\"]\n\n[[bgp.neighbours]]\naddress = \"10.77.0.250\"\n\
             as = 65002\npassword_file = \"{}\"\n",
            secret.display()
        );
        let (stage, _) = serving("doubt", &bgp);
        let vip = format!("vips = [\"{VIP4}\"");
        let added = text(&stage).replace(&vip, &format!("{vip}, \"10.77.9.200\""));
        let lines = added.lines();
        let open: Vec<&str> = lines
            .filter(|line| !line.starts_with("password_file"))
            .collect();
        let file = write(&stage, "doubt.toml", elsewhere(&open.join("\n")));
        let stuck = Self {
            stage,
            file,
            secret,
        };
        stuck.room("64");
        stuck
    }

    fn room(&self, bytes: &str) {
        let node = &self.stage.cluster.node;
        node.sysctl("net.core.optmem_max", bytes)
            .expect("a sysctl of the namespace");
    }

    fn free(&self) {
        self.room("131072");
    }

    fn doubt(&self) -> Option<Doubt> {
        let status = self.stage.status().expect("status");
        status.configuration.and_then(|it| it.doubt)
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // The directory for temporary files is the machine's; a file that stays there harms no other test.
        fs::remove_file(&self.secret).unwrap_or_default();
    }
}

#[test]
fn a_failed_undo_is_reported_and_the_next_change_puts_the_configuration_in_force() {
    let stuck = Stuck::new();
    let stage = &stuck.stage;
    let (old, before) = (text(stage), facts(stage));
    assert_eq!(stuck.doubt(), None);
    let (code, out, err) = run(stage, &["apply", &stuck.file]);
    assert!(code == 1 && err.contains(NOWHERE), "{code}: {out}{err}");
    let both = err.contains("could not be put back") && err.contains("password");
    assert!(both, "{err}");
    assert_eq!(text(stage), old);
    let known = stuck.doubt().expect("the daemon knows that it is in doubt");
    let named = known.failures.iter().any(|it| it.contains("10.77.0.250"));
    assert!(named, "{known:?}");
    let (_, words, _) = run(stage, &["status"]);
    let said = words.contains("the node is not as this configuration says");
    assert!(said, "{words}");
    // The node served all the time, and its plan shows what is to be done, also while it cannot be done.
    assert!(served(stage, 0, ober_tests::nodes::one::OPEN));
    let plan: Plan = json(stage, &["plan"], 4);
    assert!(plan.steps.len() > 8, "{plan:?}");
    let (_, words, _) = run(stage, &["plan"]);
    assert!(words.contains("could not be put back"), "{words}");
    assert_eq!(run(stage, &["reload"]).0, 1);
    assert!(stuck.doubt().is_some());
    stuck.free();
    let done: Reloaded = json(stage, &["reload"], 0);
    assert!(done.failed.is_empty(), "{done:?}");
    assert_eq!(stuck.doubt(), None);
    let left: Plan = json(stage, &["plan"], 0);
    assert!(left.is_empty(), "{left:?}");
    let after = facts(stage);
    assert_eq!((&after.0, &after.1), (&before.0, &before.1));
    let neighbours = stage.status().expect("status").bgp;
    assert!(neighbours.iter().all(|it| it.signed) && neighbours.len() == 1);
    assert!(served(stage, 0, ober_tests::nodes::one::OPEN));
}
