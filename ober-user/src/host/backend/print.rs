//! What `backend-setup` would do, for a machine without this program.

use std::fmt::Write as _;

use super::{
    setup::{Mode, Setup},
    text,
};

/// What the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A script of the shell, to be run as root
    Sh,
    /// Tasks of a playbook, with modules of ansible.builtin alone
    Ansible,
    /// The addresses, and what netplan cannot do
    Netplan,
}

pub fn print(setup: &Setup, format: Format) -> String {
    match format {
        Format::Sh => sh(setup),
        Format::Ansible => ansible(setup),
        Format::Netplan => netplan(setup),
    }
}

fn names(setup: &Setup) -> String {
    let names = setup.vips.iter().map(|it| it.address().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// A document of the shell that it takes as it is.
fn document(file: &str, text: &str) -> String {
    format!("cat >{file} <<'END'\n{text}END\n")
}

fn sh(setup: &Setup) -> String {
    let mut script = format!(
        "#!/bin/sh\n\
         # Has this storage server take packets for {}. Run it as root; run again, it changes nothing more.\n\
         # To take it back: systemctl disable --now {unit}, `ip address del VIP dev {lo}` for each VIP, remove\n\
         # {settings} and {unit_file}, and start the machine anew.\n\
         set -eu\n\n",
        names(setup),
        unit = text::UNIT,
        lo = text::LINK,
        settings = text::SETTINGS,
        unit_file = text::UNIT_FILE,
    );
    if !setup.settings().is_empty() {
        _ = writeln!(script, "mkdir -p {}", text::SETTINGS_HOME);
        script.push_str(&document(text::SETTINGS, &text::settings(setup)));
    }
    script.push_str("\n# The settings come first: the VIPs are the balancers' to answer for.\n");
    for it in text::commands(setup) {
        let end = if it.may_fail { " || true" } else { "" };
        _ = writeln!(script, "{}{end}", it.words);
    }
    _ = write!(
        script,
        "\nif [ -d /run/systemd/system ]; then\n{}\
         systemctl daemon-reload\nsystemctl enable --now {unit}\n\
         else\necho 'systemd does not run here: have what starts programs run this script at each start' >&2\nfi\n",
        document(text::UNIT_FILE, &text::unit(setup)),
        unit = text::UNIT,
    );
    script
}

/// A file as a task writes it.
fn task(name: &str, file: &str, text: &str) -> String {
    let mut task = format!(
        "- name: {name}\n  ansible.builtin.copy:\n    dest: {file}\n    owner: root\n    group: root\n    mode: '0644'\n    content: |\n"
    );
    for line in text.lines() {
        let indent = if line.is_empty() { "" } else { "      " };
        _ = writeln!(task, "{indent}{line}");
    }
    task
}

fn ansible(setup: &Setup) -> String {
    let mut tasks = format!(
        "# Tasks for storage servers that take packets for {}, run as root (`become: true`).\n",
        names(setup)
    );
    if !setup.settings().is_empty() {
        let name = "settings that keep this server from answering for the VIPs";
        tasks.push_str(&task(name, text::SETTINGS, &text::settings(setup)));
    }
    let name = "the unit that puts the VIPs on lo, after the settings";
    tasks.push_str(&task(name, text::UNIT_FILE, &text::unit(setup)));
    _ = write!(
        tasks,
        "  register: ober_vip\n\
         - name: the unit runs now and at each start\n  ansible.builtin.systemd:\n    name: {unit}\n    daemon_reload: true\n    \
         enabled: true\n    state: \"{{{{ 'restarted' if ober_vip is changed else 'started' }}}}\"\n",
        unit = text::UNIT
    );
    tasks
}

fn netplan(setup: &Setup) -> String {
    let mut text = String::from(
        "# The addresses alone. netplan sets no arp_ignore and no arp_announce, without which this server answers ARP for the VIPs\n\
         # and takes their traffic past the balancers: put the settings that `--print sh` shows into force first, and into\n",
    );
    _ = writeln!(text, "# {}.", text::SETTINGS);
    if setup.mode == Mode::Ipip {
        text.push_str(
            "# Nor does it bring up tunl0 and ip6tnl0, which take packets out of others.\n",
        );
    }
    text.push_str("network:\n  version: 2\n  ethernets:\n    lo:\n      match: {name: lo}\n      addresses:\n");
    for vip in &setup.vips {
        if vip.address().is_ipv6() {
            // Deprecated, so that it is the source of no connection of the server's own.
            _ = writeln!(text, "        - \"{vip}\":\n            lifetime: 0");
        } else {
            _ = writeln!(text, "        - \"{vip}\"");
        }
    }
    text
}
