//! Everything that talks to the kernel or to the loader. The rest of the crate makes no system
//! call but through here.

pub(crate) mod clock;
#[cfg(target_arch = "x86_64")]
pub(crate) mod copy;
pub(crate) mod event;
pub(crate) mod fault;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod memory;
pub(crate) mod oom;
pub(crate) mod process;
pub(crate) mod socket;
