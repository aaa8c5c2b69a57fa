//! How much of the time of many hosts is worked, by the length of a chunk: discrete events with measured costs.
//!
//! `cargo run --release -p multicore-nats --example simulate`
//!
//! One server takes 100 us of its time for a chunk, one master 30 us; an agent holds 2 chunks, and a chunk takes a host up to 30 % more or less than it should.
//! The window of the master and the length of a chunk in the last row of each block are the crate's own (`chunk::window`, `chunk::target_ns`). The costs are played
//! twice: server and master on one core, which they share (the figures of the design: 7,600 chunks a second at most), and on a core each (10,000). A server of more
//! cores, a network and disks are not in it: it shows where one server becomes the narrowest part, and that chunks must get longer with more hosts.

use multicore_nats::chunk::{target_ns, window};
use multicore_nats::transport::loopback::Random;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

const MS: u64 = 1_000_000;

/// What a chunk costs the server, there and back.
const SERVER_NS: u64 = 100_000;

/// What it costs the master.
const MASTER_NS: u64 = 30_000;

/// The chunks that an agent holds.
const HELD: usize = 2;

/// A chunk takes at least 7 and at most 13 tenths of what it should.
const SPREAD: (u64, u64) = (700, 1_300);

/// The time that is played, and the part of it before the hosts are counted.
const PLAYED_NS: u64 = 12_000 * MS;
const WARM_NS: u64 = 2_000 * MS;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The server has a chunk from the master.
    Published,
    /// A host gets a chunk.
    Delivered(usize),
    /// A host has run a chunk.
    Ended(usize),
    /// The master reads an outcome.
    Read,
}

struct Play {
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, What)>>,
    order: u64,
    /// Until when the server and the master are busy.
    server_until: u64,
    master_until: u64,
    waiting: usize,
    /// Hosts that have room, each as often as it has.
    hungry: VecDeque<usize>,
    /// The chunks that each host holds, and since when it works.
    held: Vec<usize>,
    worked_ns: u64,
    random: Random,
    /// Server and master take turns on one core.
    is_shared: bool,
}

impl Play {
    fn at(&mut self, when: u64, what: What) {
        self.order += 1;
        self.events.push(Reverse((when, self.order, what)));
    }

    /// Half of a chunk's cost is its way to the host, half that of its outcome.
    fn by_server(&mut self) -> u64 {
        self.server_until = self.server_until.max(self.now) + SERVER_NS / 2;
        self.server_until
    }

    fn publish(&mut self) {
        let until = if self.is_shared { &mut self.server_until } else { &mut self.master_until };
        *until = (*until).max(self.now) + MASTER_NS;
        let when = *until;
        self.at(when, What::Published);
    }

    fn deliver(&mut self) {
        while self.waiting > 0 && !self.hungry.is_empty() {
            let host = self.hungry.pop_front().expect("it is not empty");
            self.waiting -= 1;
            let when = self.by_server();
            self.at(when, What::Delivered(host));
        }
    }

    fn begin(&mut self, host: usize, chunk_ns: u64) {
        let takes = chunk_ns * self.random.between(SPREAD.0, SPREAD.1 + 1) / 1_000;
        let end = self.now + takes;
        self.worked_ns += end.min(PLAYED_NS).saturating_sub(self.now.max(WARM_NS));
        self.at(end, What::Ended(host));
    }

    fn step(&mut self, what: What, chunk_ns: u64) {
        match what {
            What::Published => {
                self.waiting += 1;
                self.deliver();
            }
            What::Delivered(host) => {
                self.held[host] += 1;
                if self.held[host] == 1 {
                    self.begin(host, chunk_ns);
                }
            }
            What::Ended(host) => {
                self.held[host] -= 1;
                if self.held[host] > 0 {
                    self.begin(host, chunk_ns);
                }
                self.hungry.push_back(host);
                let when = self.by_server();
                self.at(when, What::Read);
                self.deliver();
            }
            What::Read => self.publish(),
        }
    }
}

/// The share of the hosts' time that is worked.
fn share(hosts: usize, chunk_ns: u64, is_shared: bool) -> f64 {
    let mut play = Play {
        now: 0,
        events: BinaryHeap::new(),
        order: 0,
        server_until: 0,
        master_until: 0,
        waiting: 0,
        hungry: (0..HELD).flat_map(|_| 0..hosts).collect(),
        held: vec![0; hosts],
        worked_ns: 0,
        random: Random::new(hosts as u64 ^ chunk_ns),
        is_shared,
    };
    (0..window(hosts)).for_each(|_| play.publish());
    while let Some(Reverse((when, _, what))) = play.events.pop() {
        if when >= PLAYED_NS {
            break;
        }
        play.now = when;
        play.step(what, chunk_ns);
    }
    play.worked_ns as f64 / (hosts as f64 * (PLAYED_NS - WARM_NS) as f64)
}

fn main() {
    println!("| hosts | chunk, ms | worked, one core | chunks/s | worked, a core each | chunks/s |");
    println!("|-------|-----------|------------------|----------|---------------------|----------|");
    for hosts in [200, 500, 1_000, 2_000] {
        for chunk_ms in [10, 20, 50, 100, 200, 400, 1_000] {
            row(hosts, chunk_ms * MS, "");
        }
        row(hosts, target_ns(100 * MS, hosts), " (rule)");
    }
}

fn row(hosts: usize, chunk_ns: u64, note: &str) {
    let cells = [true, false].map(|is_shared| {
        let share = share(hosts, chunk_ns, is_shared);
        format!("{share:.2} | {:.0}", share * hosts as f64 * 1e9 / chunk_ns as f64)
    });
    println!("| {hosts} | {}{note} | {} |", chunk_ns / MS, cells.join(" | "));
}
