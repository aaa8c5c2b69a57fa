//! What the workers have of memory, read over and over while a run goes on.

use multicore::{Pool, Stats};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Fifty readings a second show each life of a worker, and take some ten microseconds each.
const INTERVAL: Duration = Duration::from_millis(20);

/// What a worker process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub worker: usize,
    pub pid: u32,
    pub bytes: u64,
}

/// The readings of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Since the run began.
    pub at: Duration,
    pub readings: Vec<Reading>,
    /// All workers together.
    pub sum: u64,
}

impl Sample {
    fn of(stats: &Stats, at: Duration) -> Sample {
        let reading = |worker: &multicore::WorkerStats| {
            Some(Reading { worker: worker.worker, pid: worker.pid?, bytes: worker.memory? })
        };
        Sample { at, readings: stats.workers.iter().filter_map(reading).collect(), sum: stats.memory.unwrap_or(0) }
    }
}

/// Reads until the other end of the channel is dropped, and once more then.
pub fn watch(pool: &Pool, begin: Instant, stopped: &Receiver<()>) -> Vec<Sample> {
    let read = || Sample::of(&pool.stats(), begin.elapsed());
    let mut samples = vec![read()];
    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        samples.push(read());
    }
    samples.push(read());
    samples
}

/// A worker process over time.
#[derive(Debug, PartialEq, Eq)]
pub struct Life {
    pub worker: usize,
    pub pid: u32,
    /// When it had how many bytes.
    pub points: Vec<(Duration, u64)>,
}

/// The processes that were seen, in the order in which they were seen first.
///
/// A successor counts as its worker's first process until it takes the place of another, so the generation does not tell
/// processes apart. The process id does: none is used again within seconds.
pub fn lives(samples: &[Sample]) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for Sample { at, readings, .. } in samples {
        for &Reading { worker, pid, bytes } in readings {
            match lives.iter_mut().find(|life| (life.worker, life.pid) == (worker, pid)) {
                Some(life) => life.points.push((*at, bytes)),
                None => lives.push(Life { worker, pid, points: vec![(*at, bytes)] }),
            }
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, readings: &[(usize, u32, u64)]) -> Sample {
        let reading = |&(worker, pid, bytes)| Reading { worker, pid, bytes };
        Sample { at: Duration::from_millis(at_ms), readings: readings.iter().map(reading).collect(), sum: 0 }
    }

    /// A worker's number and process id, and when, in milliseconds, it had how many bytes.
    type Expected<'points> = (usize, u32, &'points [(u64, u64)]);

    #[track_caller]
    fn check(samples: &[Sample], expected: &[Expected]) {
        let life = |&(worker, pid, points): &Expected| {
            let points = points.iter().map(|&(at_ms, bytes)| (Duration::from_millis(at_ms), bytes)).collect();
            Life { worker, pid, points }
        };
        assert_eq!(lives(samples), expected.iter().map(life).collect::<Vec<_>>());
    }

    #[test]
    fn each_process_is_a_line_of_its_own() {
        check(&[], &[]);
        check(&[sample(0, &[])], &[]);
        // Worker 1 is not ready at first. Worker 0 is replaced by worker 2, then its place is filled again.
        let samples = [
            sample(0, &[(0, 100, 5)]),
            sample(20, &[(0, 100, 7), (1, 101, 4)]),
            sample(40, &[(1, 101, 6), (2, 102, 3)]),
            sample(60, &[(0, 103, 1), (1, 101, 8), (2, 102, 4)]),
        ];
        check(
            &samples,
            &[
                (0, 100, &[(0, 5), (20, 7)]),
                (1, 101, &[(20, 4), (40, 6), (60, 8)]),
                (2, 102, &[(40, 3), (60, 4)]),
                (0, 103, &[(60, 1)]),
            ],
        );
    }

    #[test]
    fn a_process_that_was_not_seen_once_goes_on_as_the_same_line() {
        let samples = [sample(0, &[(0, 100, 5)]), sample(20, &[]), sample(40, &[(0, 100, 6)])];
        check(&samples, &[(0, 100, &[(0, 5), (40, 6)])]);
    }
}
