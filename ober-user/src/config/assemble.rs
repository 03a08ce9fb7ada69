//! The file as written becomes a [`Config`], section by section, or every reason why it cannot.

use super::{Config, judge::Judge, raw, sections::check, text::source::Fault};

impl Judge<'_> {
    /// The configuration, and the forgiven faults.
    pub(super) fn config(mut self, file: raw::File) -> Result<(Config, Vec<Fault>), Vec<Fault>> {
        let workers = self.workers(file.workers);
        let share = u32::try_from(workers.cpus.len()).unwrap_or(1);
        let limits = self.limits(file.limits);
        let mut lists = self.lists(file.lists, &limits);
        let mut backends = self.backends(file.backends, share, &limits);
        let node = self.node(file.node, &lists);
        let services = self.services(file.services, &mut lists, &backends, node.metrics, share);
        self.certificates(&node.run);
        check::settle(&mut backends, &services, &self.assumed);
        let bfd = self.bfd(file.bfd);
        let issued = std::mem::take(&mut self.issued);
        let config = Config {
            vrrp: self.vrrp(file.vrrp, &services, &node.interfaces),
            limits,
            resolve: self.resolve(file.resolve),
            node,
            lists,
            backends,
            gate: self.gate(file.gate, workers.cpus.len()),
            workers,
            bgp: self.bgp(file.bgp, &services, &bfd),
            bfd,
            acme: self.acme(file.acme, &issued, &services),
            services,
            forgiving: self.forgiving,
        };
        if self.faults.is_empty() {
            Ok((config, self.forgiven))
        } else {
            Err(self.faults)
        }
    }
}
