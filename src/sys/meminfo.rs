//! The memory of the machine, as /proc/meminfo tells it. Nothing is allocated.

use super::may_sleep::assert_may_sleep;
use super::proc;
use rustix::fs::{Mode, OFlags};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryInfo {
    pub(crate) total_bytes: u64,
    /// What programs can get without swapping, by the kernel's estimate; kernels before 3.14 have none.
    pub(crate) available_bytes: Option<u64>,
    /// The space for pages that are swapped out, used or free.
    pub(crate) swap_bytes: u64,
}

impl MemoryInfo {
    /// `None` where /proc is missing.
    pub(crate) fn read() -> Option<MemoryInfo> {
        assert_may_sleep();
        let file = rustix::fs::open(c"/proc/meminfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Self::parse(proc::text_of(&file, &mut [0; 4096])?)
    }

    fn parse(text: &str) -> Option<MemoryInfo> {
        let bytes = |name| proc::bytes_in(text, name);
        let total_bytes = bytes("MemTotal:").filter(|total| *total > 0)?;
        let (available_bytes, swap_bytes) = (bytes("MemAvailable:"), bytes("SwapTotal:").unwrap_or(0));
        Some(MemoryInfo { total_bytes, available_bytes, swap_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_found_by_its_name() {
        let info =
            |total_bytes, available_bytes, swap_bytes| Some(MemoryInfo { total_bytes, available_bytes, swap_bytes });
        for (text, expected) in [
            (
                "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable: 70 kB\nSwapTotal: 3 kB\n",
                info(102_400, Some(71_680), 3072),
            ),
            ("MemTotal: 100 kB\nMemFree: 1 kB\nSwapTotal: 0 kB\n", info(102_400, None, 0)),
            ("MemTotal: 0 kB\nMemAvailable: 70 kB\n", None),
            ("MemTotal: much\nMemAvailable: 70 kB\n", None),
            ("MemAvailable: 70 kB\nXMemTotal: 1 kB\n", None),
            ("", None),
        ] {
            assert_eq!(MemoryInfo::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_memory() {
        let own = MemoryInfo::read().unwrap();
        assert!(own.available_bytes.unwrap() < own.total_bytes, "{own:?}");
        assert_eq!(own.total_bytes % 1024, 0, "{own:?}");
    }
}
