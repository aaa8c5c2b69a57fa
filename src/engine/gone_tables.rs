//! The tables that nobody in this process has any more, until the supervisor tells the workers.
//!
//! Invariant: a table ends on any thread, also on one that holds the scheduler's lock. So this takes no lock but its own, for a moment,
//! and wakes the supervisor, which takes the scheduler's.

use crate::codec::tables::table::{Holder, TableId};
use crate::sys::event::Kick;
use crate::sys::process;
use parking_lot::Mutex;
use std::sync::Arc;

/// Of one pool.
#[derive(Debug)]
pub(super) struct GoneTables {
    tables: Mutex<Vec<TableId>>,
    kick_supervisor: Arc<Kick>,
    /// A child that was forked from it has handles too: it tells nobody.
    owner: process::Number,
}

impl GoneTables {
    pub(super) fn new(kick_supervisor: Arc<Kick>) -> GoneTables {
        GoneTables { tables: Mutex::default(), kick_supervisor, owner: process::number() }
    }

    pub(super) fn take(&self) -> Vec<TableId> {
        std::mem::take(&mut *self.tables.lock())
    }
}

impl Holder for GoneTables {
    fn forget(&self, table: TableId) {
        if process::is_current(self.owner) {
            self.tables.lock().push(table);
            // False where the host has closed our descriptors: then the pool ends.
            let _ = self.kick_supervisor.signal();
        }
    }
}
