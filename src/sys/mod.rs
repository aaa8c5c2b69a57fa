//! Everything that talks to the kernel or to the loader. The rest of the crate makes system calls
//! only through here.

pub(crate) mod allocator;
pub(crate) mod available;
pub(crate) mod cgroup;
pub(crate) mod clock;
mod closure;
pub(crate) mod descriptors;
pub(crate) mod early_output;
pub(crate) mod event;
pub(crate) mod executable;
pub(crate) mod fault;
pub(crate) mod futex;
pub(crate) mod heap;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod launch;
#[cfg(feature = "journal")]
pub(crate) mod left_over;
pub(crate) mod machine;
mod maps;
pub(crate) mod may_sleep;
pub(crate) mod meminfo;
pub(crate) mod memory;
#[cfg(feature = "status")]
pub(crate) mod observed;
pub(crate) mod own_file;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod raw;
#[cfg(feature = "journal")]
pub(crate) mod record_file;
pub(crate) mod rights;
pub(crate) mod sealed;
pub(crate) mod shared_object;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod spin;
pub(crate) mod symbol;
pub(crate) mod usage;
