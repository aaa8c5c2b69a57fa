//! Whether the machine can take more work.

pub(crate) mod load;
