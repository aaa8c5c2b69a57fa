//! The hosts that a master has heard of, by their beats.

use crate::frame::Beat;
use crate::identity::Build;
use std::collections::BTreeMap;

/// A host that was not heard for this time counts no more: three beats.
pub const GONE_NS: u64 = 15_000_000_000;

/// A host, as its last beat told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its workers.
    pub workers: u32,
    /// Those that are busy.
    pub busy: u32,
    /// What it serves.
    pub build: Build,
    /// When it was last heard.
    pub heard_ns: u64,
}

/// All hosts that were heard of.
#[derive(Debug, Default)]
pub struct Hosts(BTreeMap<(String, Build), Host>);

impl Hosts {
    /// A beat has come.
    pub fn heard(&mut self, now: u64, beat: &Beat<'_>) {
        let (name, build) = (beat.name.to_string(), beat.build);
        let host = Host { name: name.clone(), workers: beat.workers, busy: beat.busy, build, heard_ns: now };
        self.0.insert((name, build), host);
        self.0.retain(|_, host| host.heard_ns + GONE_NS > now);
    }

    /// The hosts that are there and serve this build, and their workers.
    #[must_use]
    pub fn serving(&self, now: u64, build: Build) -> (usize, usize) {
        let there = self.0.values().filter(|host| host.build == build && host.heard_ns + GONE_NS > now);
        there.fold((0, 0), |(hosts, workers), host| (hosts + 1, workers + host.workers as usize))
    }

    /// All that are there.
    pub fn all(&self, now: u64) -> impl Iterator<Item = &Host> {
        self.0.values().filter(move |host| host.heard_ns + GONE_NS > now)
    }

    /// Why nothing runs, where no host serves this build.
    #[must_use]
    pub fn missing(&self, now: u64, build: Build) -> String {
        let mut others: BTreeMap<Build, usize> = BTreeMap::new();
        self.all(now).for_each(|host| *others.entry(host.build).or_default() += 1);
        let told: Vec<String> =
            others.iter().map(|(other, hosts)| format!("{hosts} agents serve build {}…", other.short())).collect();
        match told.is_empty() {
            true => format!("no agent has been heard; start one of build {}…", build.short()),
            false => format!("{}, this is {}…: start agents with these bytes", told.join(", "), build.short()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_silent_count_no_more() {
        let (mut hosts, build) = (Hosts::default(), Build([1; 32]));
        for (at, name, build) in [(0, "a", build), (5, "b", build), (6, "c", Build([0x34; 32]))] {
            hosts.heard(at, &Beat { name, workers: 2, busy: 0, build });
        }
        for (at, expected) in [(6, (2, 4)), (GONE_NS, (1, 2)), (GONE_NS + 5, (0, 0))] {
            assert_eq!(hosts.serving(at, build), expected);
        }
        let text = hosts.missing(GONE_NS + 5, build);
        assert_eq!(text, "1 agents serve build 34343434…, this is 01010101…: start agents with these bytes");
        assert!(hosts.missing(2 * GONE_NS, build).starts_with("no agent has been heard"));
    }
}
