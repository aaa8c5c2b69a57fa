//! The load gate: whether the machine is too busy for more work.

use crate::error::{Error, ErrorKind};
use crate::sys::{clock, machine};
use std::sync::atomic::{AtomicU64, Ordering};

/// A reading of the load average is used for 1 s: the kernel computes it anew each 5 s only. With a tenth, many
/// small tasks would read it more often without learning more; with ten times, they would miss two new values.
const FRESH_MS: u32 = 1000;

/// A limit for the load average of the last minute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    percent: f64,
    cpus: usize,
}

impl Gate {
    /// `percent` of one core, scaled by the CPUs that this process may use.
    pub(crate) fn new(percent: f64, cpus: usize) -> Result<Self, Error> {
        if !percent.is_finite() || percent < 0.0 {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "a load limit of {percent} percent makes no sense: give 0 or more, such as 85.0 for 85 % of the CPUs"
                ),
            ));
        }
        Ok(Gate { percent, cpus })
    }

    fn limit(&self) -> f64 {
        self.percent / 100.0 * self.cpus as f64
    }

    /// An error that says load and limit, if the machine is busy.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.judge(load_average())
    }

    fn judge(&self, load: f64) -> Result<(), Error> {
        let limit = self.limit();
        if load < limit {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!(
                "the machine is busy: its load average over one minute is {load:.2}, and the limit is {limit:.2} ({}% of {} CPUs); \
                 try again later, or run the work here, as Task::new_or_inline does",
                self.percent, self.cpus
            ),
        ))
    }
}

/// The load average over one minute, at most a second old.
fn load_average() -> f64 {
    /// The milliseconds of the clock, cut to 32 bits, and behind them the load as an `f32`; 0: there is no reading. In
    /// one word, so that no lock is needed: a process can be forked while another thread reads.
    static READING: AtomicU64 = AtomicU64::new(0);
    let now_ms = (clock::now_ns() / 1_000_000) as u32;
    // Relaxed: the word is all that there is to see.
    let reading = READING.load(Ordering::Relaxed);
    if reading != 0 && now_ms.wrapping_sub((reading >> 32) as u32) < FRESH_MS {
        return f64::from(f32::from_bits(reading as u32));
    }
    let load = machine::load_average();
    READING.store(u64::from(now_ms) << 32 | u64::from((load as f32).to_bits()), Ordering::Relaxed);
    load
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_scales_with_the_cpus() {
        for (percent, cpus, load, busy) in [
            (85.0, 4, 3.39, false),
            (85.0, 4, 3.4, true),
            (85.0, 1, 0.84, false),
            (85.0, 1, 0.86, true),
            (100.0, 64, 63.9, false),
            (0.0, 4, 0.0, true),
            (250.0, 2, 4.99, false),
        ] {
            let verdict = Gate::new(percent, cpus).unwrap().judge(load);
            assert_eq!(verdict.is_err(), busy, "{percent} % of {cpus} at {load}");
            if let Err(error) = verdict {
                assert_eq!(error.kind(), ErrorKind::Busy);
                let text = error.to_string();
                assert!(text.contains(&format!("{load:.2}")), "{text}");
                assert!(text.contains(&format!("{:.2}", percent / 100.0 * cpus as f64)), "{text}");
            }
        }
    }

    #[test]
    fn a_senseless_limit_is_refused() {
        for percent in [-1.0, -0.001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Gate::new(percent, 2).unwrap_err().kind(), ErrorKind::Config, "{percent}");
        }
    }
}
