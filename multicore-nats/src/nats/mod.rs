//! The server as NATS: carries out what the machines ask, and tells them what comes.

mod carrier;
mod failure;
mod link;
mod requests;

pub(crate) use self::carrier::{Carrier, Places};
pub(crate) use self::link::Link;
