//! What runs in the other processes: the fork server and the workers.

pub(crate) mod entry;
pub(crate) mod worker;
