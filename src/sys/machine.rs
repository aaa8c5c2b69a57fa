//! What the machine as a whole reports.

/// The load average over one minute.
pub(crate) fn load_average() -> f64 {
    sysinfo::System::load_average().one
}
