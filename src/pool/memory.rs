//! Amounts of memory, and what a pool's limits of it are in bytes.

use crate::backend::{MemoryLimit, MemoryLimits};
use crate::error::{Error, ErrorKind};
use crate::stats::memory::mebibytes;
use crate::sys::machine;

/// An amount of memory, for the limits of a [`Pool`](crate::Pool).
///
/// ```
/// use multicore::{Memory, Pool};
///
/// # fn main() -> Result<(), multicore::Error> {
/// # #[cfg(target_os = "linux")] {
/// let pool = Pool::builder()
///     .memory_max(Memory::percent(85.0))
///     .worker_memory_high(Memory::growth(200 << 20))
///     .worker_memory_max(Memory::bytes(1 << 30))
///     .build()?;
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory(Amount);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    Bytes(u64),
    Percent(f64),
    Growth(u64),
}

impl Memory {
    /// This number of bytes.
    #[must_use]
    pub fn bytes(bytes: u64) -> Self {
        Memory(Amount::Bytes(bytes))
    }

    /// Percent of the machine's memory, or of the least limit of the control group of this process and of those above it, if
    /// that is less. It is read when the pool is made. More than 0 and at most 100.
    #[must_use]
    pub fn percent(percent: f64) -> Self {
        Memory(Amount::Percent(percent))
    }

    /// This number of bytes above what the worker had when it was ready for its first piece. Only for the limits of each
    /// worker.
    #[must_use]
    pub fn growth(bytes: u64) -> Self {
        Memory(Amount::Growth(bytes))
    }

    /// As the limit of a worker. `name` is the setting's.
    fn limit(self, name: &str) -> Result<MemoryLimit, Error> {
        let limit = match self.0 {
            Amount::Bytes(bytes) => MemoryLimit::Bytes(bytes),
            Amount::Growth(bytes) => MemoryLimit::Growth(bytes),
            Amount::Percent(percent) if percent > 0.0 && percent <= 100.0 => {
                let machine = machine::memory_bytes().ok_or_else(|| {
                    config(format!(
                        "{name} of {percent} % cannot be kept: the memory of this machine is not known: give bytes"
                    ))
                })?;
                MemoryLimit::Bytes((machine as f64 * (percent / 100.0)) as u64)
            }
            Amount::Percent(percent) => {
                return Err(config(format!("{name} of {percent} % makes no sense: give more than 0 and at most 100")));
            }
        };
        match limit {
            MemoryLimit::Bytes(0) | MemoryLimit::Growth(0) => {
                Err(config(format!("{name} of 0 bytes makes no sense: leave it out, or give more")))
            }
            limit => Ok(limit),
        }
    }

    /// As a limit that is not one worker's.
    fn limit_of_all(self, name: &str) -> Result<u64, Error> {
        match self.limit(name)? {
            MemoryLimit::Bytes(bytes) => Ok(bytes),
            MemoryLimit::Growth(bytes) => Err(config(format!(
                "{name} cannot be a growth ({}): that is for the limits of each worker; give bytes or percent",
                mebibytes(bytes)
            ))),
        }
    }
}

/// The settings, as they were given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) high: Option<Memory>,
    pub(super) max: Option<Memory>,
    pub(super) worker_high: Option<Memory>,
    pub(super) worker_max: Option<Memory>,
    pub(super) worker_data: Option<u64>,
    pub(super) min_available: Option<Memory>,
    pub(super) checks: Option<u32>,
    pub(super) only_reports: bool,
}

/// Two checks in a row: one reading can be that of a moment.
const CHECKS: u32 = 2;

/// Without a `high`, it lies this far below a `max`: 70 percent of the memory for 85.
const HIGH_OF_MAX: (u64, u64) = (70, 85);

impl Limits {
    /// The limits in bytes, once they were checked.
    pub(super) fn resolve(self) -> Result<MemoryLimits, Error> {
        let checks = self.checks.unwrap_or(CHECKS);
        if checks == 0 {
            return Err(config("memory_checks of 0 makes no sense: give 1 or more, or leave it out for 2".to_string()));
        }
        if self.worker_data == Some(0) {
            return Err(config(
                "worker_data_limit of 0 bytes makes no sense: leave it out, or give what workers may allocate"
                    .to_string(),
            ));
        }
        let of_all = |limit: Option<Memory>, name| limit.map(|limit| limit.limit_of_all(name)).transpose();
        let (high, max) = (of_all(self.high, "memory_high")?, of_all(self.max, "memory_max")?);
        let min_available = of_all(self.min_available, "min_available_memory")?;
        let of_worker = |limit: Option<Memory>, name| limit.map(|limit| limit.limit(name)).transpose();
        let worker_high = of_worker(self.worker_high, "worker_memory_high")?;
        let worker_max = of_worker(self.worker_max, "worker_memory_max")?;
        if let (Some(high), Some(max)) = (high, max) {
            check_order("memory", high, max)?;
        }
        match (worker_high, worker_max) {
            (Some(MemoryLimit::Bytes(high)), Some(MemoryLimit::Bytes(max)))
            | (Some(MemoryLimit::Growth(high)), Some(MemoryLimit::Growth(max))) => {
                check_order("worker_memory", high, max)?;
            }
            // They compare only once a worker is ready.
            _ => {}
        }
        let limits = MemoryLimits {
            high: high.or(max.map(below)),
            max,
            worker_high: worker_high.or(worker_max.map(|max| match max {
                MemoryLimit::Bytes(max) => MemoryLimit::Bytes(below(max)),
                MemoryLimit::Growth(max) => MemoryLimit::Growth(below(max)),
            })),
            worker_max,
            worker_data: self.worker_data,
            min_available,
            checks,
            only_reports: self.only_reports,
        };
        if (limits.any() || limits.worker_data.is_some()) && machine::memory_bytes().is_none() {
            return Err(config(
                "limits of memory cannot be kept: without /proc nobody tells what workers use: leave them out"
                    .to_string(),
            ));
        }
        if min_available.is_some() && machine::available_bytes().is_none() {
            return Err(config(
                "min_available_memory cannot be kept: the system does not tell what is available: leave it out"
                    .to_string(),
            ));
        }
        Ok(limits)
    }
}

fn below(max: u64) -> u64 {
    let (part, whole) = HIGH_OF_MAX;
    (u128::from(max) * u128::from(part) / u128::from(whole)) as u64
}

fn check_order(name: &str, high: u64, max: u64) -> Result<(), Error> {
    if high < max {
        return Ok(());
    }
    Err(config(format!(
        "{name}_high ({high} bytes) must be below {name}_max ({max} bytes): workers are replaced in order before they are killed"
    )))
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(high: Option<Memory>, max: Option<Memory>, of_workers: bool) -> Result<MemoryLimits, Error> {
        match of_workers {
            false => Limits { high, max, ..Limits::default() }.resolve(),
            true => Limits { worker_high: high, worker_max: max, ..Limits::default() }.resolve(),
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri does not tell the machine's memory")]
    fn a_maximum_alone_gives_both_tiers() {
        let limits = resolve(None, Some(Memory::bytes(85 << 20)), false).unwrap();
        assert_eq!((limits.high, limits.max, limits.checks), (Some(70 << 20), Some(85 << 20), 2));
        let limits = resolve(None, Some(Memory::growth(850)), true).unwrap();
        assert_eq!(
            (limits.worker_high, limits.worker_max),
            (Some(MemoryLimit::Growth(700)), Some(MemoryLimit::Growth(850)))
        );
        let machine = machine::memory_bytes().unwrap();
        let limits = resolve(None, Some(Memory::percent(85.0)), false).unwrap();
        let max = (machine as f64 * 0.85) as u64;
        assert_eq!((limits.high, limits.max), (Some(below(max)), Some(max)));
        assert_eq!(below(u64::MAX), (u128::from(u64::MAX) * 70 / 85) as u64);
        let limits = resolve(Some(Memory::growth(1)), Some(Memory::bytes(2)), true).unwrap();
        assert!(limits.need_checks() && limits.any());
        assert!(!resolve(None, None, true).unwrap().any());
    }

    #[test]
    #[cfg_attr(miri, ignore = "miri does not tell the machine's memory")]
    fn limits_that_make_no_sense_are_refused_with_their_numbers() {
        let bytes = |bytes| Some(Memory::bytes(bytes));
        let percent = |percent| Some(Memory::percent(percent));
        for (high, max, of_workers, expected) in [
            (bytes(300), bytes(300), false, "memory_high (300 bytes) must be below memory_max (300 bytes)"),
            (
                bytes(301),
                bytes(300),
                true,
                "worker_memory_high (301 bytes) must be below worker_memory_max (300 bytes)",
            ),
            (Some(Memory::growth(9)), Some(Memory::growth(8)), true, "worker_memory_high (9 bytes) must be below"),
            (bytes(0), None, false, "memory_high of 0 bytes makes no sense"),
            (None, Some(Memory::growth(0)), true, "worker_memory_max of 0 bytes makes no sense"),
            (None, percent(0.0), false, "memory_max of 0 % makes no sense: give more than 0 and at most 100"),
            (None, percent(100.1), true, "worker_memory_max of 100.1 % makes no sense"),
            (percent(f64::NAN), None, true, "worker_memory_high of NaN % makes no sense"),
            (percent(-1.0), None, false, "memory_high of -1 % makes no sense"),
            (Some(Memory::growth(5 << 20)), None, false, "memory_high cannot be a growth (5.0 MiB)"),
        ] {
            let error = resolve(high, max, of_workers).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        let error = Limits { checks: Some(0), ..Limits::default() }.resolve().unwrap_err();
        assert!(error.to_string().starts_with("memory_checks of 0 makes no sense"), "{error}");
    }
}
