//! What a start of the machine reads: the file of settings, and the unit that puts the VIPs on `lo`.

use std::fmt::Write as _;

use super::setup::{Of, Setup};

/// After the files of distributions, before `99-`, which administrators use.
pub(super) const SETTINGS: &str = "/etc/sysctl.d/60-ober-vip.conf";
pub(super) const SETTINGS_HOME: &str = "/etc/sysctl.d";
pub(super) const UNIT: &str = "ober-vip.service";
pub(super) const UNIT_FILE: &str = "/etc/systemd/system/ober-vip.service";
/// Where the VIPs are: there from the start, and taken down by no program that manages interfaces.
pub(super) const LINK: &str = "lo";

const HEAD: &str = "# Written by `ober-user backend-setup`: this storage server takes packets for VIPs of Herr Ober.\n\
                    # `ober-user backend-setup --undo` removes it; without that program see the unit ober-vip.service.\n";

pub(super) fn settings(setup: &Setup) -> String {
    let mut text = HEAD.to_owned();
    for it in setup.settings() {
        // One that is not there is no failure: the unit sets it as well.
        let late = if it.of == Of::All { "" } else { "-" };
        // Writing to a string does not fail.
        _ = write!(text, "\n# {}\n{late}{} = {}\n", it.reason, it.key, it.value);
    }
    text
}

/// The words of `ip` that put a VIP on `lo`, and take it off again.
pub(super) fn address(vip: &str, six: bool) -> Vec<&str> {
    // With scope host it is the source of no connection of this server's own, and deprecated for IPv6 likewise.
    if six {
        vec![vip, "dev", LINK, "nodad", "preferred_lft", "0"]
    } else {
        vec![vip, "dev", LINK, "scope", "host"]
    }
}

/// Commands that set all up, in their order, without anything that a shell would have to quote.
pub(super) fn commands(setup: &Setup) -> Vec<Command> {
    let mut all = Vec::new();
    for tunnel in setup.tunnels() {
        // A kernel may have it built in.
        all.push(Command::may_fail(format!("modprobe {}", tunnel.module)));
    }
    for it in setup.settings() {
        all.push(Command {
            words: format!("echo {} >{}", it.value, it.file()),
            shell: true,
            may_fail: it.of == Of::Interface,
        });
    }
    for tunnel in setup.tunnels() {
        all.push(Command::must(format!("ip link set {} up", tunnel.link)));
    }
    for vip in &setup.vips {
        let text = vip.to_string();
        let words = address(&text, vip.address().is_ipv6()).join(" ");
        all.push(Command::must(format!("ip address replace {words}")));
    }
    all
}

pub(super) struct Command {
    pub(super) words: String,
    /// Does it need a shell?
    shell: bool,
    pub(super) may_fail: bool,
}

impl Command {
    fn must(words: String) -> Self {
        Self {
            words,
            shell: false,
            may_fail: false,
        }
    }

    fn may_fail(words: String) -> Self {
        Self {
            may_fail: true,
            ..Self::must(words)
        }
    }
}

/// The unit. It has no `ExecStop`: a VIP that was there before it is not its to take away.
pub(super) fn unit(setup: &Setup) -> String {
    let mut text = format!(
        "{HEAD}\n[Unit]\nDescription=VIPs of Herr Ober on this storage server\n\
         After=systemd-sysctl.service\nBefore=network.target\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         # The settings come first: the VIPs are the balancers' to answer for.\n"
    );
    for it in commands(setup) {
        let minus = if it.may_fail { "-" } else { "" };
        _ = if it.shell {
            writeln!(text, "ExecStart={minus}/bin/sh -c '{}'", it.words)
        } else {
            writeln!(text, "ExecStart={minus}{}", it.words)
        };
    }
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}
