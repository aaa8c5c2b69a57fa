//! What the machine as a whole reports.
//!
//! Platforms without pools use this file too (`unsupported.rs`).

use super::may_sleep::assert_may_sleep;
use super::process;

/// The load average over one minute.
pub(crate) fn load_average() -> f64 {
    assert_may_sleep();
    sysinfo::System::load_average().one
}

/// The memory that this process can have at most: the machine's, or its control group's if that is less.
/// `None` where the system does not tell (without /proc). It reads some files.
pub(crate) fn memory_bytes() -> Option<u64> {
    assert_may_sleep();
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let machine = system.total_memory();
    if machine == 0 {
        return None;
    }
    Some(system.cgroup_limits().map_or(machine, |group| group.total_memory.min(machine)))
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
