//! What pieces share: the tables, and where a handle of one may be encoded and decoded.

pub(crate) mod scope;
pub(crate) mod table;
