//! Rings, workers and sockets: to which worker, CPU and listening socket a flow goes.

use std::{os::fd::AsRawFd, sync::atomic::Ordering};

use ober_common::abi::{PLACES, RING_SLOTS, Ring, Service, USED, WORKERS, Worker};

use super::{
    Error, Maps, Plane,
    memory::{word16, word32},
};

impl Maps {
    /// The ring in force for a service.
    pub fn ring(&self, service: &Service) -> Ring {
        self.ring_at(self.active_ring(service))
    }

    fn ring_at(&self, place: u32) -> Ring {
        self.rings.read(place as usize)
    }

    /// The service's slot in the table in force.
    fn entry(&self, service: &Service) -> Option<*mut Service> {
        let table = self.tables.at(self.table()).as_ptr();
        // SAFETY: mapped; slots are only rewritten in the table that is not in force.
        let slots = unsafe { &raw mut (*table).slots };
        (0..ober_common::abi::SERVICE_SLOTS)
            // SAFETY: as above, and within the array.
            .map(|slot| unsafe { &raw mut (*slots)[slot] })
            // SAFETY: as above.
            .find(|entry| unsafe { (**entry).index == service.index && (**entry).used == USED })
    }

    fn active_ring(&self, service: &Service) -> u32 {
        self.entry(service).map_or(service.ring, |entry| {
            // SAFETY: `entry` points into the mapping.
            unsafe { word32(&raw mut (*entry).ring) }.load(Ordering::Acquire)
        })
    }
}

impl Plane {
    /// Puts a ring in force for every service. Each packet sees either the old ring or the new one as a whole. Returns
    /// how many services had another ring.
    pub fn set_ring(&self, ring: &Ring) -> usize {
        let mut changed = 0;
        for service in self.maps.services() {
            let active = self.maps.active_ring(&service);
            if self.maps.ring_at(active).slots == ring.slots {
                continue;
            }
            let idle = active ^ 1;
            self.write_ring(idle, ring);
            self.publish_ring(&service, idle);
            changed += 1;
        }
        changed
    }

    /// Writes the workers' CPUs into the node's value, and makes a place in the CPU map for each when packets are steered.
    pub fn set_workers(&mut self, cpus: &[u32], steer: bool) -> Result<(), Error> {
        for (number, cpu) in cpus.iter().enumerate().take(WORKERS) {
            let steerable = u32::from(steer && self.open_cpu(*cpu)?);
            self.write_worker(
                number,
                Worker {
                    cpu: *cpu,
                    steerable,
                },
            );
        }
        for number in cpus.len()..WORKERS {
            self.write_worker(number, Worker::default());
        }
        self.set_switch(|node| &raw mut node.steer, u32::from(steer));
        Ok(())
    }

    /// Puts a worker's listening socket into the socket map, for the service with this index.
    pub fn set_socket(
        &mut self,
        service: u32,
        worker: usize,
        socket: &impl AsRawFd,
    ) -> Result<(), Error> {
        let place = service * PLACES + u32::try_from(worker % WORKERS).unwrap_or(0);
        self.maps
            .sockets
            .set(place, socket, 0)
            .map_err(|source| Error::Write {
                name: "SOCKET_TABLE",
                source: Box::new(source),
            })
    }

    fn open_cpu(&mut self, cpu: u32) -> Result<bool, Error> {
        // Setting an entry again would drain its queue, so an entry with this queue size is left as it is.
        if self
            .maps
            .cpus
            .get(cpu, 0)
            .is_ok_and(|value| value.queue_size == self.limits.steer_queue)
        {
            return Ok(true);
        }
        let set = self.maps.cpus.set(cpu, self.limits.steer_queue, None, 0);
        set.map(|()| true).map_err(|source| Error::Write {
            name: "CPU_QUEUES",
            source: Box::new(source),
        })
    }

    fn write_worker(&self, number: usize, worker: Worker) {
        // SAFETY: `number` is below `WORKERS`; the node's value is mapped as long as `self`.
        let (cpu, steerable) = unsafe {
            let entry = &raw mut (*self.maps.node.at(0).as_ptr()).workers[number];
            (
                word32(&raw mut (*entry).cpu),
                word32(&raw mut (*entry).steerable),
            )
        };
        if cpu.load(Ordering::Relaxed) != worker.cpu {
            steerable.store(0, Ordering::Release);
            cpu.store(worker.cpu, Ordering::Release);
        }
        steerable.store(worker.steerable, Ordering::Release);
    }

    pub(super) fn clear_ring(&self, place: u32) {
        self.write_ring(
            place,
            &Ring {
                slots: [0; RING_SLOTS],
            },
        );
    }

    fn write_ring(&self, place: u32, ring: &Ring) {
        let target = self.maps.rings.at(place as usize).as_ptr();
        for (slot, worker) in ring.slots.iter().enumerate() {
            // SAFETY: `slot` is within the ring, which is mapped as long as `self`.
            unsafe { word16(&raw mut (*target).slots[slot]) }.store(*worker, Ordering::Relaxed);
        }
    }

    fn publish_ring(&self, service: &Service, place: u32) {
        if let Some(entry) = self.maps.entry(service) {
            // SAFETY: `entry` points into the mapping.
            unsafe { word32(&raw mut (*entry).ring) }.store(place, Ordering::Release);
        }
    }
}
