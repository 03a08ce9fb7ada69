//! The command line: a file for each command. A command gets a [`Screen`] to write on and returns an [`Outcome`];
//! `main.rs` alone turns that into an exit status. Commands that are nouns show something, verbs change something.
//!
//! ```text
//! instance, client      where the daemon is, even if its configuration has a mistake; requests to it
//! stdin                 a text in the place of a file
//! screen, typed, error  what a command writes, and how it fails; texts have the word that was typed, `ober` or `ober-user`
//! status, counters, backends, gate, bgp, bfd, vrrp, history, certificates, known   show what the daemon answers
//! run                   the daemon
//! start, stop, restart  the daemon by its unit: unit is what systemd is asked, announced and countdown what is waited for
//! acl/, plan, reload    change lists, servers, the configuration (`plan` has `apply` and `rollback` too)
//! test, doctor, findings, validate, flow, hostlist, detach   work in this process
//! config/               other values in the configuration: asked, given or edited; then `plan` and `apply`
//! host/                 `bootstrap`, `backend-setup`, `upgrade`, `uninstall`, which change this machine
//! logs, journal         the daemon's log in the journal: shown, and written
//! shell                 completions, manual pages, the schema
//! ```
//! A command never changes what a running daemon has in force: it asks the daemon to.

mod acl;
mod announced;
mod backends;
mod bfd;
mod bgp;
mod certificates;
pub mod client;
mod config;
mod countdown;
mod counters;
mod detach;
mod doctor;
mod error;
mod findings;
mod flow;
mod gate;
mod history;
mod host;
mod hostlist;
mod instance;
mod journal;
mod known;
mod logs;
mod plan;
mod reload;
mod restart;
mod run;
pub mod screen;
mod shell;
mod start;
mod status;
mod stdin;
mod stop;
mod test;
pub mod typed;
pub mod unit;
mod validate;
mod vrrp;

use std::{future::Future, io, path::PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{announce::gate::Order, config as configuration, system::text::OneLine};
pub use error::Error;
use journal::{Journal, Native, Rest};
use screen::Screen;

const EXIT: &str = "Exit status: 0 done; 1 failed, or the answer of `acl check`, `test` or `doctor` is no, or `status` finds \
every VIP down or disabled; 2 wrong usage or bad \
configuration; 3 done, but some names did not resolve; 4 there is something to do, and it was only to be shown: `plan`, \
`upgrade --check-only`, `--dry-run` of `bootstrap`, `backend-setup`, `uninstall` and `config`; 5 `start` or `restart` ended \
with a VIP that is not announced.\n\nColour is used on a terminal unless NO_COLOR is set. \
RUST_LOG sets what is logged, for example RUST_LOG=debug.";

/// Herr Ober: an S3 ingress with its filter, balancer and socket lookup in the kernel
#[derive(Debug, Parser)]
#[command(name = "ober-user", version, after_help = EXIT, subcommand_required = true, arg_required_else_help = true)]
pub struct Ober {
    /// The configuration; `config.d/*.toml` beside it is read as well
    #[arg(
        long,
        global = true,
        env = "OBER_CONFIG",
        hide_env_values = true,
        value_name = "FILE",
        default_value = configuration::MAIN
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: load the data plane, run the workers, keep the lists
    Run(run::Run),
    /// Start the daemon, now and with the machine, and wait until every VIP is announced
    Start(start::Start),
    /// Give the VIPs up, wait for connections, stop the daemon, dismiss the workers and detach the programs
    Stop(stop::Stop),
    /// Restart the daemon and wait until every VIP is announced; transfers go on. Or replace the workers
    Restart(restart::Restart),
    /// Show what the daemon logged, as the journal of this machine has it
    Logs(logs::Logs),
    /// Check the configuration, have HAProxy check what is made of it, and change nothing
    Validate(Json),
    /// Show workers, services, lists and what is attached
    Status(Json),
    /// Take the programs off the interfaces and remove all pins
    Detach(detach::Detach),
    /// Have the daemon read its configuration again and put it in force
    Reload(Json),
    /// Show what a change of the configuration would do, and do nothing
    Plan(plan::Show),
    /// Put a configuration in force, and in its place on disk
    Apply(plan::Apply),
    /// Show the configurations that were in force
    History(history::History),
    /// Put an earlier configuration in force
    Rollback(plan::Rollback),
    /// Show and change the access lists
    #[command(subcommand)]
    Acl(acl::Acl),
    /// Set lists and servers from hostlists; the same as `acl sync`
    Sync(acl::Sync),
    /// Follow a flow through the data plane
    #[command(subcommand)]
    Flow(flow::Flow),
    /// Show the servers of each backend: where they come from, their state and why
    Backends(Json),
    /// Show the health gate of each VIP
    Gate(Json),
    /// Send the traffic of a VIP elsewhere: the community `GRACEFUL_SHUTDOWN` first, withdrawn after a time
    Drain(gate::Vip),
    /// Undo `drain`: announce the VIP again if it is served
    Undrain(gate::Vip),
    /// Withdraw a VIP at once
    Disable(gate::Vip),
    /// Undo `disable`: announce the VIP again if it is served
    Enable(gate::Vip),
    /// Show the BGP neighbours and what is announced to them
    Bgp(Json),
    /// Show the BFD sessions
    Bfd(Json),
    /// Show the VRRP instances
    Vrrp(Json),
    /// Try neighbours, servers and certificates, without announcing anything
    Test(test::Test),
    /// Look at what this machine must have and should have; changes nothing
    Doctor(Json),
    /// Ask for what only you can know, and put it into the configuration; with answers given, nothing is asked
    Config(config::Config),
    /// Make this machine what it should be, part by part: settings, queueing, accounts, ...
    ///
    /// What is there before a change is recorded in /var/lib/ober/bootstrap.json; `--undo` puts it back. A file of the administrator
    /// is never overwritten. Run again, it finds nothing to do.
    Bootstrap(host::Bootstrap),
    /// Have this storage server take packets for the VIPs, and keep it from answering for them
    ///
    /// For the modes in which a balancer sends packets for a VIP on without a change: `dr`, in frames to this server's card, and
    /// `ipip`, within packets to its own address. The VIPs come to be on `lo`, after the settings that leave the answers of ARP to the balancers.
    /// What is there before a change is recorded in /var/lib/ober/backend-setup.json; `--undo` puts it back. It needs no
    /// configuration. Run again, it finds nothing to do.
    BackendSetup(host::BackendSetup),
    /// Install newer packages of Herr Ober and HAProxy, and go back where one does not serve
    ///
    /// The new program reads the configuration before it is installed. After the change every VIP that was served must be served
    /// again within 60 s, or else the old package is put back, which is kept in /var/cache/ober.
    Upgrade(host::Upgrade),
    /// Take Herr Ober off this machine: daemon, workers, programs, what bootstrap changed, package
    ///
    /// Shows what it will do, and asks. HAProxy stays installed. What was done before by a run that failed half way is found done.
    Uninstall(host::Uninstall),
    /// Work with Slurm hostlist expressions
    #[command(subcommand)]
    Hostlist(hostlist::Hostlist),
    /// Show what the data plane counted
    ///
    /// Where XDP is generic it runs behind GRO: what the kernel has joined counts as one packet.
    Counters(counters::Counters),
    /// Print a completion script for a shell
    Completions(shell::Completions),
    /// Print the manual page, or write those of all commands into a directory
    Man(shell::Man),
    /// Print the JSON schema of the configuration
    Schema,
}

/// For commands whose answer a script may read.
#[derive(Clone, Copy, Debug, Args)]
struct Json {
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// How a command went, if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was a question, and the answer is no.
    No,
    /// Done, but names did not resolve.
    Unresolved,
    /// There is something to do, and it was only to be shown.
    Changes,
    /// Done, but a VIP is not announced.
    Late,
}

impl Ober {
    /// What was typed. A mistake, or a request for help, ends the process; its usage has the word that was typed.
    pub fn typed() -> Self {
        let matches = Self::command().bin_name(typed::word()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    pub fn run(self, screen: &mut Screen) -> Result<Outcome, Error> {
        let path = self.config;
        // A core dump would hold keys, which `validate`, `test` and `apply` read as well.
        crate::daemon::leave_no_core();
        match self.command {
            Command::Run(run) => run.run(&path),
            Command::Start(start) => wait(start.run(&path, screen)),
            Command::Stop(stop) => wait(stop.run(&path, screen)),
            Command::Logs(logs) => logs.run(&path),
            Command::Validate(json) => wait(validate::run(&path, json, screen)),
            Command::Status(json) => wait(status::run(&path, json, screen)),
            Command::Detach(detach) => wait(detach.run(&path, screen)),
            Command::Reload(json) => wait(reload::run(&path, json, screen)),
            Command::Restart(restart) => wait(restart.run(&path, screen)),
            Command::Plan(show) => wait(show.run(&path, screen)),
            Command::Apply(apply) => wait(apply.run(&path, screen)),
            Command::Rollback(rollback) => wait(rollback.run(&path, screen)),
            Command::History(history) => wait(history.run(&path, screen)),
            Command::Acl(acl) => wait(acl.run(&path, screen)),
            Command::Sync(sync) => wait(sync.run(&path, screen)),
            Command::Flow(flow) => wait(flow.run(&path, screen)),
            Command::Gate(json) => wait(gate::run(&path, json, screen)),
            Command::Drain(vip) => wait(vip.order(Order::Drain, &path, screen)),
            Command::Undrain(vip) => wait(vip.order(Order::Undrain, &path, screen)),
            Command::Disable(vip) => wait(vip.order(Order::Disable, &path, screen)),
            Command::Enable(vip) => wait(vip.order(Order::Enable, &path, screen)),
            Command::Backends(json) => wait(backends::run(&path, json, screen)),
            Command::Bgp(json) => wait(bgp::run(&path, json, screen)),
            Command::Bfd(json) => wait(bfd::run(&path, json, screen)),
            Command::Vrrp(json) => wait(vrrp::run(&path, json, screen)),
            Command::Test(test) => wait_with("error", test.run(&path, screen)),
            Command::Doctor(json) => wait_with("error", doctor::run(&path, json, screen)),
            Command::Config(config) => wait(config.run(&path, screen)),
            Command::Bootstrap(bootstrap) => wait(bootstrap.run(&path, screen)),
            Command::BackendSetup(setup) => wait(setup.run(screen)),
            Command::Upgrade(upgrade) => wait(upgrade.run(&path, screen)),
            Command::Uninstall(uninstall) => wait(uninstall.run(&path, screen)),
            Command::Hostlist(hostlist) => hostlist.run(screen),
            Command::Counters(counters) => wait(counters.run(&path, screen)),
            Command::Completions(completions) => completions.run(screen),
            Command::Man(man) => man.run(screen),
            Command::Schema => shell::schema(screen),
        }
    }
}

/// Runs a command other than the daemon.
fn wait(command: impl Future<Output = Result<Outcome, Error>>) -> Result<Outcome, Error> {
    wait_with("warn", command)
}

/// Logs at `level` unless `RUST_LOG` says otherwise: the answer of some commands holds what a daemon would log.
fn wait_with(
    level: &str,
    command: impl Future<Output = Result<Outcome, Error>>,
) -> Result<Outcome, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    logs(level);
    let outcome = runtime.block_on(command);
    // A name service that hangs must not delay the end of the command.
    runtime.shutdown_background();
    outcome
}

/// The daemon's log: into the journal with its fields where systemd runs the daemon, else to standard error. What it
/// returns is kept to the end of the process.
fn daemon_logs() -> Option<Rest> {
    let Some(native) = journal::is_standard_error().then(Native::new).flatten() else {
        logs("info");
        return None;
    };
    let rest = native.rest();
    tracing_subscriber::registry()
        .with(native.with_filter(filter("info")))
        .init();
    Some(rest)
}

fn filter(otherwise: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(otherwise))
}

/// Structured logs on standard error, at the level of `RUST_LOG`, or of `otherwise` without it. A line that cannot be written is
/// lost: the subscriber would say so on standard error too, and that panics in the task that logs.
fn logs(otherwise: &str) {
    let filter = filter(otherwise);
    if journal::is_standard_error() {
        let log = tracing_subscriber::fmt().with_env_filter(filter);
        log.with_writer(Journal)
            .log_internal_errors(false)
            .with_ansi(false)
            .without_time()
            .init();
        return;
    }
    let coloured = screen::coloured(&io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(move || OneLine::new(io::stderr(), coloured))
        .with_ansi(coloured)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_definition_of_the_arguments() {
        Ober::command().debug_assert();
    }

    /// The arguments of this command and of those below it that have no help text.
    fn without_help(command: &clap::Command, found: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if argument.get_help().is_none() && !argument.is_hide_set() {
                found.push(format!("{} {}", command.get_name(), argument.get_id()));
            }
        }
        for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            without_help(command, found);
        }
    }

    #[test]
    fn every_argument_of_every_command_has_a_help_text() {
        let mut found = Vec::new();
        without_help(&Ober::command(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
