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
    /// Those of them that it could not receive, perhaps: they are sent again.
    again: BTreeSet<TableId>,
    /// It was asked to empty its socket by the record that ends here, and nothing was sent since.
    asked_until: Option<u64>,
    /// What the worker is yet to be told to forget.
    to_forget: Vec<TableId>,
}

impl SentTables {
    pub(super) fn new() -> io::Result<SentTables> {
        let (socket, theirs) = socket::pair()?;
        Ok(SentTables {
            socket,
            theirs: Some(theirs),
            sent: BTreeSet::new(),
            again: BTreeSet::new(),
            asked_until: None,
            to_forget: Vec::new(),
        })
    }
}

/// Whether a worker has what a piece shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Provided {
    All,
    /// Its socket is full: it was asked to empty it.
    NoRoom,
    /// It reads nothing from its socket, or has closed it, as no worker does.
    Refused,
    /// The host has closed the descriptor of a table.
    Gone,
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
        if tables.iter().all(|table| self.tables.has(table.id())) { Provided::All } else { self.send_tables(tables) }
    }

    #[cold]
    fn send_tables(&mut self, tables: &Tables) -> Provided {
        for table in tables.iter() {
            if self.tables.has(table.id()) {
                continue;
            }
            let file = table.memory().file();
            if file.is_some_and(|file| !file.is_ours()) {
                return Provided::Gone;
            }
            let fds: Vec<_> = file.map(AsFd::as_fd).into_iter().collect();
            if let Err(error) = message::send(&self.tables.socket, table.head(), &fds) {
                return self.not_sent(&error);
            }
            failpoint!("parent-table-sent");
            self.tables.sent.insert(table.id());
            self.tables.again.remove(&table.id());
            self.tables.asked_until = None;
        }
        Provided::All
    }

    /// Whether the worker is to be asked to empty its socket, or has been without doing so.
    fn not_sent(&mut self, error: &io::Error) -> Provided {
        let is_passing = socket::is_short_of_memory(error);
        if !is_passing && error.kind() != io::ErrorKind::WouldBlock {
            return Provided::Refused;
        }
        self.learn_consumed();
        match self.tables.asked_until {
            Some(until) if until > self.work.consumed() => {}
            // It empties its socket before it passes such a record.
            Some(_) if !is_passing => return Provided::Refused,
            _ => self.ask_to_receive(),
        }
        Provided::NoRoom
    }

    fn ask_to_receive(&mut self) {
        if !self.is_streaming_out() && self.write_forget(None) {
            self.tables.asked_until = Some(self.work.tail());
            self.publish();
        }
    }

    /// Nobody in this process has this table any more. [`forget_on`](Self::forget_on) follows.
    pub(crate) fn forget_table(&mut self, table: TableId) {
        if self.tables.sent.remove(&table) {
            self.tables.again.remove(&table);
            self.tables.to_forget.push(table);
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
        // The chunks of a value that streams follow one another.
        while !self.is_streaming_out()
            && let Some(&table) = self.tables.to_forget.last()
        {
            if !self.write_forget(Some(table)) {
                // It signals when it has read on from here.
                self.note_new_lack();
                break;
            }
            self.tables.to_forget.pop();
        }
        self.publish();
    }

    /// A record that tells the worker to forget a table, or only to receive what was sent. False if there is no room.
    fn write_forget(&mut self, table: Option<TableId>) -> bool {
        let header = Header { kind: record::FORGET, flags: 0, sequence: 0 };
        let words = table.map(TableId::to_words);
        self.push(header, words.as_ref().map_or(&[], |words| &words[..]), &[]).is_some()
    }

    /// The worker could not receive something that a piece shares: all that the piece shares is sent once more.
    pub(crate) fn lost_tables(&mut self, tables: &Tables) {
        let sent = tables.iter().map(|table| table.id()).filter(|id| self.tables.sent.contains(id));
        self.tables.again.extend(sent);
    }
}

impl SentTables {
    fn has(&self, table: TableId) -> bool {
        self.sent.contains(&table) && !self.again.contains(&table)
    }
}
