//! The part of `sys` that platforms without pools have.

#[path = "machine.rs"]
pub(crate) mod machine;

#[path = "may_sleep.rs"]
pub(crate) mod may_sleep;

pub(crate) mod cgroup {
    /// Control groups are Linux's.
    pub(crate) fn limit_bytes() -> Option<u64> {
        None
    }

    pub(crate) fn available_bytes(_: u64) -> Option<u64> {
        None
    }
}

pub(crate) mod meminfo {
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct MemoryInfo {
        pub(crate) total_bytes: u64,
        pub(crate) available_bytes: Option<u64>,
    }

    impl MemoryInfo {
        /// `None` where the system does not tell.
        pub(crate) fn read() -> Option<Self> {
            let mut system = sysinfo::System::new();
            system.refresh_memory();
            let total_bytes = system.total_memory();
            (total_bytes > 0).then(|| MemoryInfo { total_bytes, available_bytes: Some(system.available_memory()) })
        }
    }
}

pub(crate) mod image {
    /// There is no global pool that would have to end before.
    pub(crate) fn call_before_last_counts(_: extern "C" fn()) {}
}

#[cfg(feature = "remote")]
pub(crate) mod own_file {
    /// Hosts are known by their program's file on Linux only.
    pub(crate) struct Reader;

    impl Reader {
        pub(crate) fn open() -> Option<std::io::Empty> {
            None
        }
    }
}

pub(crate) mod symbol {
    /// The executable's symbol table is read on Linux only.
    pub(crate) fn name_of(_: usize) -> Option<std::sync::Arc<str>> {
        None
    }
}

pub(crate) mod process {
    /// No pool runs here, so no process owns one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Number;

    pub(crate) fn number() -> Number {
        Number
    }

    pub(crate) fn is_current(_: Number) -> bool {
        true
    }

    pub(crate) fn may_be_forked() -> bool {
        false
    }
}

pub(crate) mod clock {
    use std::sync::LazyLock;
    use std::time::Instant;

    /// Nanoseconds since the first call.
    pub(crate) fn now_ns() -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed().as_nanos() as u64
    }
}

pub(crate) mod raw {
    use std::sync::OnceLock;

    /// A value that is made once. (On Linux it may be replaced in a child that was forked.)
    #[derive(Debug)]
    pub(crate) struct Published<T: Send + Sync + 'static>(OnceLock<T>);

    impl<T: Send + Sync + 'static> Published<T> {
        pub(crate) const fn new() -> Self {
            Published(OnceLock::new())
        }

        pub(crate) fn get(&'static self) -> Option<&'static T> {
            self.0.get()
        }

        pub(crate) fn publish(&'static self, _: Option<&'static T>, new: T) -> &'static T {
            self.0.get_or_init(|| new)
        }
    }
}

pub(crate) mod sealed {
    use std::io;
    use std::ptr::NonNull;

    /// No page is larger, and no alignment that is asked for.
    const PAGE_BYTES: usize = 4096;

    /// Memory that nobody changes, for this process alone.
    #[derive(Debug)]
    pub(crate) struct Sealed {
        memory: Vec<u8>,
        start: usize,
        bytes: usize,
    }

    impl Sealed {
        pub(crate) fn of_bytes(bytes: &[u8]) -> io::Result<Sealed> {
            Sealed::built(bytes.len(), |memory| memory.copy_from_slice(bytes))
        }

        pub(crate) fn built(bytes: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Sealed> {
            let mut memory = Vec::new();
            let length = bytes.saturating_add(PAGE_BYTES);
            memory.try_reserve_exact(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            memory.resize(length, 0);
            let start = memory.as_ptr().addr().next_multiple_of(PAGE_BYTES) - memory.as_ptr().addr();
            fill(&mut memory[start..start + bytes]);
            Ok(Sealed { memory, start, bytes })
        }

        pub(crate) fn len(&self) -> usize {
            self.bytes
        }

        pub(crate) fn start(&self) -> Option<NonNull<u8>> {
            (self.bytes > 0).then(|| NonNull::from(self.bytes()).cast())
        }

        pub(crate) fn bytes(&self) -> &[u8] {
            &self.memory[self.start..self.start + self.bytes]
        }
    }
}

#[cfg(feature = "journal")]
pub(crate) mod random {
    use std::io;

    pub(crate) fn number() -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Journals are Linux's: elsewhere none is opened.
#[cfg(feature = "journal")]
pub(crate) mod record_file {
    use std::io;
    use std::path::Path;

    /// None is ever opened.
    #[derive(Debug)]
    pub(crate) struct RecordFile(());

    /// Why a file is not opened.
    #[derive(Debug)]
    pub(crate) enum Refusal {
        Held,
        Replaced,
        Unfit(&'static str),
        System(io::Error),
    }

    pub(crate) fn is_locked_here(_: (u64, u64)) -> bool {
        false
    }

    fn refused<T>() -> Result<T, Refusal> {
        Err(Refusal::System(io::ErrorKind::Unsupported.into()))
    }

    fn unsupported<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn fingerprint(_: &Path) -> io::Result<String> {
        unsupported()
    }

    impl RecordFile {
        pub(crate) fn open(_: &Path) -> Result<RecordFile, Refusal> {
            refused()
        }

        pub(crate) fn open_existing(_: &Path) -> Result<RecordFile, Refusal> {
            refused()
        }

        pub(crate) fn open_to_read(_: &Path) -> Result<RecordFile, Refusal> {
            refused()
        }

        pub(crate) fn identity(&self) -> (u64, u64) {
            (0, 0)
        }

        pub(crate) fn new_beside(&self, _: &str) -> Result<RecordFile, Refusal> {
            refused()
        }

        pub(crate) fn open_beside_to_read(&self, _: &str) -> Result<RecordFile, Refusal> {
            refused()
        }

        pub(crate) fn replace(&mut self, _: &RecordFile) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn remove_beside(&self, _: &str) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn check_place(&self) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn length(&self) -> io::Result<u64> {
            unsupported()
        }

        pub(crate) fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            unsupported()
        }

        pub(crate) fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn truncate(&self, _: u64) -> io::Result<()> {
            unsupported()
        }

        pub(crate) fn sync(&self) -> io::Result<()> {
            unsupported()
        }
    }
}

#[cfg(feature = "journal")]
pub(crate) mod left_over {
    use std::time::Duration;

    pub(crate) fn is_alive(_: u32) -> bool {
        false
    }

    pub(crate) fn holders_of(_: (u64, u64)) -> Vec<u32> {
        Vec::new()
    }

    pub(crate) fn await_ends(_: Duration, _: impl Fn() -> Vec<u32>) -> Vec<u32> {
        Vec::new()
    }

    pub(crate) fn await_end(_: u32, _: Duration) -> Vec<u32> {
        Vec::new()
    }
}

#[cfg(feature = "journal")]
pub(crate) mod signals {
    /// Where no journal is opened, no thread writes one.
    pub(crate) struct BlockedSignals;

    impl BlockedSignals {
        pub(crate) fn new() -> BlockedSignals {
            BlockedSignals
        }
    }
}
