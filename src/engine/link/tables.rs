//! What a worker has been sent of the tables that pieces share.
//!
//! A table travels once to each worker, over that worker's own socket, before the first record of a piece that has it. The worker
//! looks into the socket when a piece asks for a table that it does not have, and when it reads a [`FORGET`](record::FORGET).
//!
//! | from   | over       | what                                                                  |
//! |--------|------------|-----------------------------------------------------------------------|
//! | parent | the socket | a table's head, and the descriptor of its memory if it has bytes      |
//! | parent | *out*      | `FORGET` with a table's number: nobody in the parent has it any more   |
//! | parent | *out*      | `FORGET` without a number: the socket is full, and is to be emptied     |
//!
//! The worker says nothing by the socket, and the parent never reads it. If the worker dies, the socket ends with it, and the next worker
//! has its own. Neither side waits: what cannot be sent now is tried again when the worker has read on.
//!
//! Invariant: a piece is given to a worker only after its tables were sent, and `FORGET` follows the last piece that has the table.

use super::Link;
use crate::codec::tables::table::{TableId, Tables};
use crate::engine::wire::message;
use crate::engine::wire::record;
use crate::failpoint::failpoint;
use crate::protocol::ring::Header;
use crate::sys::descriptors::Descriptor;
use crate::sys::socket;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

#[derive(Debug)]
pub(super) struct SentTables {
    socket: Descriptor,
    /// The worker's end, until it is ordered.
    theirs: Option<Descriptor>,
    sent: BTreeSet<TableId>,
    /// What the worker is yet to be told to forget.
    to_forget: Vec<TableId>,
}

impl SentTables {
    pub(super) fn new() -> io::Result<SentTables> {
        let (socket, theirs) = socket::pair()?;
        Ok(SentTables { socket, theirs: Some(theirs), sent: BTreeSet::new(), to_forget: Vec::new() })
    }
}

/// Whether a worker has what a piece shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Provided {
    All,
    /// Its socket is full: it was asked to empty it.
    NoRoom,
    /// It has closed its socket, which no worker does.
    Refused,
}

impl Link {
    /// The worker's end of its socket, for its order.
    pub(crate) fn socket_of_worker(&self) -> Option<&Descriptor> {
        self.tables.theirs.as_ref()
    }

    /// The worker was ordered: it has its end.
    pub(crate) fn ordered(&mut self) {
        self.tables.theirs = None;
    }

    /// Sends the worker what a piece shares, as far as it does not have it.
    #[inline]
    pub(crate) fn provide(&mut self, tables: &Tables) -> Provided {
        if tables.iter().all(|table| self.tables.sent.contains(&table.id())) {
            return Provided::All;
        }
        self.send_tables(tables)
    }

    #[cold]
    fn send_tables(&mut self, tables: &Tables) -> Provided {
        for table in tables.iter() {
            if self.tables.sent.contains(&table.id()) {
                continue;
            }
            let fds: Vec<_> = table.memory().file().map(AsFd::as_fd).into_iter().collect();
            match message::send(&self.tables.socket, table.head(), &fds) {
                Ok(()) => {
                    failpoint!("parent-table-sent");
                    self.tables.sent.insert(table.id());
                }
                // Also where too many descriptors of this user are on their way: they get fewer as workers receive theirs.
                Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    self.forget_record(None);
                    return Provided::NoRoom;
                }
                Err(_) => return Provided::Refused,
            }
        }
        Provided::All
    }

    /// Nobody in this process has this table any more. False if the worker was not sent it.
    pub(crate) fn forget_table(&mut self, table: TableId) {
        if self.tables.sent.remove(&table) {
            self.tables.to_forget.push(table);
            self.forget_on();
        }
    }

    /// Tells the worker of the tables that it is yet to forget, as far as there is room.
    #[inline]
    pub(crate) fn forget_on(&mut self) {
        if !self.tables.to_forget.is_empty() {
            self.forget_more();
        }
    }

    #[cold]
    fn forget_more(&mut self) {
        while let Some(&table) = self.tables.to_forget.last()
            && self.forget_record(Some(table))
        {
            self.tables.to_forget.pop();
        }
    }

    /// Tells the worker to forget a table, or only to empty its socket. False if there is no room.
    fn forget_record(&mut self, table: Option<TableId>) -> bool {
        // The chunks of a value that streams follow one another.
        if self.is_streaming_out() {
            return false;
        }
        let header = Header { kind: record::FORGET, flags: 0, sequence: 0 };
        let is_written = match table {
            Some(table) => self.push(header, &table.to_words(), &[]).is_some(),
            None => self.push(header, &[], &[]).is_some(),
        };
        self.publish();
        is_written
    }

    /// The worker could not receive what a piece shares: it is sent once more.
    pub(crate) fn lost_tables(&mut self, tables: &Tables) {
        for table in tables.iter() {
            self.tables.sent.remove(&table.id());
        }
    }
}
