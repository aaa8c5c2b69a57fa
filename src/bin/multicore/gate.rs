//! Whether the next command may begin: `--delay`, `--load`, `--memfree`.

use crate::tell::tell;
use std::fs;
use std::time::{Duration, Instant};

/// How old a figure of the system may be. `--delay` is kept exactly.
const FRESH: Duration = Duration::from_millis(100);

/// After this time of waiting the reason is told, once.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Gate {
    pub delay: Duration,
    pub max_load: Option<f64>,
    pub min_available: Option<u64>,
    last_start: Option<Instant>,
    /// When the system was last found to allow a start.
    looked: Option<Instant>,
    waits_since: Option<Instant>,
    is_told: bool,
}

impl Gate {
    pub fn new(delay: Duration, max_load: Option<f64>, min_available: Option<u64>) -> Gate {
        Gate { delay, max_load, min_available, ..Gate::default() }
    }

    /// Says that a command has begun.
    pub fn started(&mut self) {
        self.last_start = Some(Instant::now());
        // What has begun counts before the next one begins.
        self.looked = None;
    }

    /// How long to wait before it is asked again; `None` if a command may begin now.
    #[must_use]
    pub fn wait(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let has_limit = self.max_load.is_some() || self.min_available.is_some();
        // The system shows a job only once it has run for a moment.
        let delay = if has_limit { self.delay.max(FRESH) } else { self.delay };
        if let Some(left) =
            self.last_start.and_then(|last| delay.checked_sub(now - last)).filter(|left| !left.is_zero())
        {
            return Some(left);
        }
        if !has_limit || self.looked.is_some_and(|looked| now - looked < FRESH) {
            return None;
        }
        let Some(reason) = self.reason() else {
            (self.looked, self.waits_since, self.is_told) = (Some(now), None, false);
            return None;
        };
        let since = *self.waits_since.get_or_insert(now);
        if now - since >= SILENCE && !self.is_told {
            tell!("multicore run: waiting: {reason}");
            self.is_told = true;
        }
        Some(FRESH)
    }

    fn reason(&self) -> Option<String> {
        if let Some(most) = self.max_load
            && let Some(load) = fs::read_to_string("/proc/loadavg").ok().as_deref().and_then(load)
            && load > most
        {
            return Some(format!("the load is {load:.1}, and --load allows {most:.1}"));
        }
        if let Some(least) = self.min_available
            && let Some(available) = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(available)
            && available < least
        {
            return Some(format!(
                "{} MB of memory are available, and --memfree asks for {}",
                available >> 20,
                least >> 20
            ));
        }
        None
    }
}

/// The load of the last minute, or of this moment if that is higher: the average has not seen yet what has just begun.
fn load(text: &str) -> Option<f64> {
    let mut fields = text.split_whitespace();
    let average: f64 = fields.next()?.parse().ok()?;
    let running: f64 = fields.nth(2)?.split_once('/')?.0.parse().ok()?;
    // The thread that reads this runs too.
    Some(average.max(running - 1.0))
}

fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{Gate, available, load};
    use std::time::Duration;

    #[test]
    fn figures_of_the_system_are_read() {
        assert_eq!(load("0.50 1.00 2.00 4/345 1234\n"), Some(3.0));
        assert_eq!(load("7.25 1.00 2.00 1/345 1234\n"), Some(7.25));
        assert_eq!(load("x"), None);
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn a_gate_opens_when_its_reasons_are_gone() {
        assert_eq!(Gate::default().wait(), None);
        assert_eq!(Gate::new(Duration::ZERO, Some(1e9), Some(0)).wait(), None);
        assert!(Gate::new(Duration::ZERO, None, Some(u64::MAX)).wait().is_some());
        let mut gate = Gate::new(Duration::ZERO, Some(1e9), None);
        gate.started();
        assert!(gate.wait().is_some(), "what has begun is not in the load yet");
        let mut gate = Gate::new(Duration::from_secs(3600), None, None);
        assert_eq!(gate.wait(), None, "nothing has begun yet");
        gate.started();
        assert!(gate.wait().is_some_and(|wait| wait > Duration::from_secs(3000)));
    }
}
