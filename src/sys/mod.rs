//! Everything that talks to the kernel or to the loader. The rest of the crate makes no system
//! call but through here.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod event;
pub(crate) mod fault;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod spin;
pub(crate) mod symbol;
