//! What the parent, the fork server and the workers share: memory layout, records, messages and limits.

#[cfg(feature = "log")]
pub(crate) mod log;
pub(crate) mod marker;
pub(crate) mod message;
pub(crate) mod pair;
pub(crate) mod record;
pub(crate) mod result_limit;
pub(crate) mod status;
