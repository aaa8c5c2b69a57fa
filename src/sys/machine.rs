//! What the machine as a whole reports.
//!
//! Platforms without pools use this file too (`unsupported.rs`).

use super::cgroup;
use super::may_sleep::assert_may_sleep;
use super::meminfo::MemoryInfo;
use super::process;

/// The load average over one minute.
pub(crate) fn load_average() -> f64 {
    assert_may_sleep();
    sysinfo::System::load_average().one
}

/// The memory that this process can have at most: the machine's, or the least limit of its control group and those above
/// if that is less. `None` where the system does not tell (without /proc). It reads some files.
pub(crate) fn memory_bytes() -> Option<u64> {
    assert_may_sleep();
    Some(least(MemoryInfo::read()?.total_bytes, cgroup::limit_bytes()))
}

/// The memory that this process can still get: the least of what the machine has left and what each of those limits leaves.
/// `None` where the system does not tell. It reads some files.
pub(crate) fn available_bytes() -> Option<u64> {
    assert_may_sleep();
    let machine = MemoryInfo::read()?;
    Some(least(machine.available_bytes?, cgroup::available_bytes(machine.total_bytes)))
}

/// What the machine tells, or its control groups if that is less.
fn least(machine: u64, groups: Option<u64>) -> u64 {
    groups.map_or(machine, |groups| groups.min(machine))
}

/// The CPUs that this process may use, by its affinity and its control group's quota.
pub(crate) fn cpus() -> usize {
    assert_may_sleep();
    // num_cpus reads the control group once, under a lock: in a child that was forked meanwhile it would wait for ever.
    if process::may_be_forked() {
        return std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    }
    num_cpus::get()
}

#[cfg(all(test, target_os = "linux", not(any(miri, loom))))]
mod tests {
    use super::*;

    #[test]
    fn less_is_available_than_there_is() {
        let (memory, available) = (memory_bytes().unwrap(), available_bytes().unwrap());
        assert!(0 < available && available < memory, "{available} of {memory}");
        let machine = MemoryInfo::read().unwrap();
        assert!(memory <= machine.total_bytes, "{memory} of {machine:?}");
    }
}
