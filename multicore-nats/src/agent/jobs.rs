//! What an agent knows of jobs: when their masters were last heard, and which are cancelled.

use super::types::SECOND_NS;
use crate::frame::{Control, Word};
use crate::identity::JobId;
use std::collections::BTreeMap;

/// A job without a name is dropped when its master was not heard for this time.
pub const DROP_NS: u64 = 60 * SECOND_NS;

/// A job with a name may be taken up by another master within this time.
pub const DROP_NAMED_NS: u64 = 7 * 24 * 3600 * SECOND_NS;

/// At most this number of jobs is remembered; the one that was heard longest ago goes first. Jobs of which chunks are held are heard of each 5 s.
const MOST: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Seen {
    heard_ns: u64,
    is_cancelled: bool,
}

/// The jobs that were heard of.
#[derive(Debug, Default)]
pub(super) struct Jobs(BTreeMap<JobId, Seen>);

impl Jobs {
    /// A master has spoken. True if the job was not known before.
    pub(super) fn heard(&mut self, now: u64, control: Control) -> bool {
        // A word of the master after the cancel is a new run of a named job.
        let seen = Seen { heard_ns: now, is_cancelled: control.word != Word::Beat };
        let is_new = self.0.insert(control.job, seen).is_none();
        self.prune();
        is_new
    }

    /// True if pieces of this job are to run. A job that was never heard of counts as heard now.
    pub(super) fn is_wanted(&mut self, now: u64, job: JobId) -> bool {
        let seen = *self.0.entry(job).or_insert(Seen { heard_ns: now, is_cancelled: false });
        self.prune();
        !seen.is_cancelled && now < seen.heard_ns.saturating_add(patience(job))
    }

    /// When the job is dropped if its master is not heard again; 0 if it is cancelled.
    pub(super) fn drop_at(&self, job: JobId) -> u64 {
        match self.0.get(&job) {
            Some(seen) if seen.is_cancelled => 0,
            Some(seen) => seen.heard_ns.saturating_add(patience(job)),
            None => u64::MAX,
        }
    }

    /// Without a connection no master could be heard.
    pub(super) fn reconnected(&mut self, now: u64) {
        self.0.values_mut().for_each(|seen| seen.heard_ns = now);
    }

    fn prune(&mut self) {
        while self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, seen)| seen.heard_ns).map(|(job, _)| *job);
            oldest.map(|job| self.0.remove(&job));
        }
    }
}

fn patience(job: JobId) -> u64 {
    if job.is_named() { DROP_NAMED_NS } else { DROP_NS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_without_a_master_are_dropped_after_their_time() {
        let mut jobs = Jobs::default();
        let (unnamed, named) = (JobId::unnamed([1; 16]), JobId::named("a").unwrap());
        for (job, patience) in [(unnamed, DROP_NS), (named, DROP_NAMED_NS)] {
            assert!(jobs.is_wanted(5, job) && jobs.is_wanted(4 + patience, job));
            assert!(!jobs.is_wanted(5 + patience, job));
            assert_eq!(jobs.drop_at(job), 5 + patience);
            assert!(!jobs.heard(100, Control { job, word: Word::Beat }));
            assert!(jobs.is_wanted(99 + patience, job));
        }
        jobs.reconnected(DROP_NS);
        assert!(jobs.is_wanted(2 * DROP_NS - 1, unnamed));
    }

    #[test]
    fn a_cancelled_job_is_wanted_again_when_its_master_comes_back() {
        let (mut jobs, job) = (Jobs::default(), JobId::named("a").unwrap());
        assert!(jobs.heard(1, Control { job, word: Word::Cancel }));
        assert_eq!((jobs.is_wanted(2, job), jobs.drop_at(job)), (false, 0));
        assert!(!jobs.heard(3, Control { job, word: Word::Beat }));
        assert!(jobs.is_wanted(4, job));
    }

    #[test]
    fn no_more_than_the_most_are_remembered() {
        let mut jobs = Jobs::default();
        for number in 0..=MOST as u64 {
            let id = JobId::unnamed(u128::from(number).to_be_bytes());
            jobs.heard(number, Control { job: id, word: Word::Cancel });
        }
        assert_eq!(jobs.0.len(), MOST);
        assert!(!jobs.0.contains_key(&JobId::unnamed([0; 16])));
    }
}
