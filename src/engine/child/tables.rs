//! The tables that this worker was sent, as its pieces ask for them.
//!
//! Invariant: what lies in the socket is read only when a piece asks for a table that is not here, or the parent says that one is to be
//! forgotten. A table is kept until then: a piece may keep a handle for longer, which keeps the memory.

use crate::codec::tables::scope;
use crate::codec::tables::table::{Table, TableHead, TableId};
use crate::engine::wire::message;
use crate::failpoint::failpoint;
use crate::sys::descriptors::Descriptor;
use crate::sys::process;
use crate::sys::sealed::Sealed;
use crate::sys::socket::{self, Received};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A table, or why it has not come.
type Come = Result<Arc<Table>, String>;

#[derive(Debug)]
struct Cache {
    socket: Descriptor,
    /// This process: a child that a piece forks reads nothing from the socket.
    process: process::Number,
    come: HashMap<TableId, Come>,
}

/// What this worker has been sent.
#[derive(Debug, Clone)]
pub(crate) struct WorkerTables(Rc<RefCell<Cache>>);

impl WorkerTables {
    /// The pieces of this thread find their tables here from now on.
    pub(super) fn begin(socket: Descriptor) -> WorkerTables {
        let cache = Cache { socket, process: process::number(), come: HashMap::new() };
        let tables = WorkerTables(Rc::new(RefCell::new(cache)));
        let found_here = tables.clone();
        scope::receive_by(Box::new(move |id| found_here.0.borrow_mut().find(id)));
        tables
    }

    /// The parent has no handle of this table any more.
    pub(super) fn forget(&self, id: TableId) {
        let table = {
            let mut cache = self.0.borrow_mut();
            if !cache.come.contains_key(&id) {
                // No piece has asked for it.
                cache.receive();
            }
            cache.come.remove(&id)
        };
        // A value's own code runs.
        drop(table);
        failpoint!("worker-table-forgotten");
    }

    /// The socket is full.
    pub(super) fn receive(&self) {
        self.0.borrow_mut().receive();
    }
}

impl Cache {
    fn find(&mut self, id: TableId) -> Come {
        if !matches!(self.come.get(&id), Some(Ok(_))) {
            self.receive();
        }
        match self.come.get(&id) {
            Some(come) => come.clone(),
            None => Err("needs something shared that its worker was not sent".to_string()),
        }
    }

    /// Takes in all that lies in the socket.
    fn receive(&mut self) {
        if !process::is_current(self.process) {
            return;
        }
        while let Ok(Some(received)) = socket::receive(&self.socket, false) {
            failpoint!("worker-table-received");
            let Ok(head) = message::decode::<TableHead>(&received) else { continue };
            // What was sent again because another table of the piece had not come is here.
            if !matches!(self.come.get(&head.id), Some(Ok(_))) {
                self.come.insert(head.id, open(head, &received));
            }
        }
    }
}

/// Maps what was received. Its descriptor is closed after.
fn open(head: TableHead, received: &Received) -> Come {
    let bytes = usize::try_from(head.bytes).map_err(|_| "needs something shared that is too large".to_string())?;
    let memory = match received.fds.first() {
        _ if bytes == 0 => Ok(Sealed::EMPTY),
        Some(file) => Sealed::open(file, bytes),
        None => {
            return Err(
                "needs something shared whose descriptor its worker could not receive: the worker has as many open \
                 files as it may have (RLIMIT_NOFILE)"
                    .to_string(),
            );
        }
    };
    match memory {
        Ok(memory) => Ok(Table::received(head, memory)),
        Err(error) => Err(format!("needs something shared that its worker could not map: {error}")),
    }
}
