//! What a worker says: records in *back*'s ring, and the signals that follow them. Of a result that is written while its
//! piece runs, it is the [`Outlet`].
//!
//! | an open result          | the worker writes                                   | and tells                                    |
//! |-------------------------|-----------------------------------------------------|----------------------------------------------|
//! | its first window is full | `OPEN`, published                                  | nothing; see below                           |
//! | a later one is full     | `CHUNK`, published                                  | nothing                                      |
//! | … [`TELL_BYTES`] are unread | the same                                        | `back_tail`, a signal                        |
//! | there is no room        | nothing: it sleeps                                  | `back_tail`, a signal, once each time        |
//! | it is flushed           | `OPEN` or `CHUNK` with what there is                | `back_tail`, a signal                        |
//! | its piece ends          | `END`; without an `OPEN` before it a `REPLY`, as of any other piece | `ended`, `back_tail` (once there was an `OPEN`), a signal as for a reply |
//!
//! The worker may die between any two of these: the parent then has an `OPEN` without an `END`, and drops the parts. A window
//! that was not committed is seen by nobody.
//!
//! Invariant: between two records the ring's words are those of `ring.rs`; `is_open` is true from the `OPEN` of the piece that
//! runs to its `END`.

use super::notes;
use crate::codec::sink::{Outlet, Window};
use crate::engine::wire::pair::{BACK_RING_BYTES, CHUNK_BYTES, Pair};
use crate::engine::wire::record::{self, Outcome};
use crate::engine::wire::result_limit::ResultLimit;
use crate::failpoint::failpoint;
use crate::protocol::ring::{Header, Producer, Room};
use crate::protocol::sleep::{self, Listener, Listening};
use crate::protocol::sync::Relaxed;
use crate::protocol::told;
use crate::sys::event::Event;
use crate::sys::spin::{self, Spin};
use crate::sys::{futex, process};
use std::cell::RefCell;
use std::sync::Arc;

/// The parent is told of an open result when this much of it is unread. With a tenth each wake-up would be for a few
/// windows, and cost as much as they do: 1 GB of JSON then took 1.5 s of processor time in place of 0.9. With twice as much the worker would stand
/// still before its parent is awake.
const TELL_BYTES: u64 = BACK_RING_BYTES as u64 / 2;

/// A window has room for at least a quarter of the longest record. Shorter ones would cost the parent as much and carry less;
/// a worker that waited for more would stand still although there is room.
const LEAST_WINDOW_BYTES: usize = CHUNK_BYTES / 4;

/// The flag of a record behind which the parent is to look for what was logged.
#[inline]
fn logged() -> u8 {
    #[cfg(feature = "log")]
    return super::logger::take_logged();
    #[cfg(not(feature = "log"))]
    0
}

/// A worker's side of *back*.
pub(super) struct Replies {
    pair: &'static Pair,
    ring: Producer,
    listener: Listener,
    caller: Event,
    supervisor: Arc<Event>,
    result_limit: ResultLimit,
    /// This process: a piece may fork, and its child must not write here.
    process: process::Number,
    /// The piece that runs is timed.
    is_timed: bool,
    /// Where its window lies.
    room: Option<Room>,
    is_open: bool,
    /// A result was open once: from then on the parent is told of each piece that has ended.
    has_opened: bool,
    /// The piece that runs has written more than it may.
    is_too_long: bool,
}

impl Replies {
    pub(super) fn new(
        pair: &'static Pair,
        (caller, supervisor): (Event, Arc<Event>),
        result_limit: ResultLimit,
    ) -> Self {
        let (ring, listener, process) = (Producer::new(), Listener::new(), process::number());
        let (is_timed, room, is_open, has_opened, is_too_long) = (false, None, false, false, false);
        Replies {
            pair,
            ring,
            listener,
            caller,
            supervisor,
            result_limit,
            process,
            is_timed,
            room,
            is_open,
            has_opened,
            is_too_long,
        }
    }

    /// A piece begins.
    #[inline]
    pub(super) fn begin(&mut self, sequence: u32, is_timed: bool) {
        notes::piece_begins(sequence);
        self.is_timed = is_timed;
    }

    /// Replies to a piece. `notable` replies wake the parent if it asked for such ones.
    /// `took_ns` is how long the piece ran, if it is timed.
    #[inline]
    pub(super) fn reply(&mut self, (sequence, outcome): (u32, Outcome), took_ns: &[u64], bytes: &[u8], notable: bool) {
        if self.has_opened {
            if self.is_open {
                return self.end_in_error(outcome, took_ns, bytes, notable);
            }
            // An open result that nobody has read yet may lie before this reply, and hide it. A hint: it may come first.
            told::tell_ended(self.pair.ended(), sequence);
        }
        let flags = outcome as u8 | logged();
        let header = |kind| Header { kind, flags, sequence };
        if bytes.len() <= CHUNK_BYTES {
            self.push(header(record::REPLY), took_ns, bytes);
            failpoint!("worker-reply-published");
            self.signal(notable);
            failpoint!("worker-replied");
            return;
        }
        let (first, rest) = bytes.split_at(CHUNK_BYTES);
        let lead = [bytes.len() as u64, took_ns.first().copied().unwrap_or_default()];
        self.push(header(record::BEGIN), &lead[..1 + took_ns.len()], first);
        failpoint!("worker-reply-begun");
        self.signal(true);
        for chunk in rest.chunks(CHUNK_BYTES) {
            self.push(header(record::CHUNK), &[], chunk);
            failpoint!("worker-chunk-published");
            self.signal(true);
        }
    }

    /// Replies to a piece that has written its result: this is the rest of it.
    pub(super) fn reply_written(&mut self, last: Window, took_ns: &[u64], notable: bool) {
        let kind = if self.is_open { record::END } else { record::REPLY };
        let header = Header { kind, flags: Outcome::Result as u8 | logged(), sequence: notes::piece() };
        match self.room.take() {
            Some(room) => {
                self.write_lead(room, took_ns.first().copied());
                self.commit(room, header, last.used());
            }
            None => self.push(header, took_ns, &[]),
        }
        self.end(notable);
    }

    /// The open result of a piece that failed counts no more.
    #[cold]
    fn end_in_error(&mut self, outcome: Outcome, took_ns: &[u64], text: &[u8], notable: bool) {
        // Nobody reads more of a message than a record holds.
        let text = &text[..text.len().min(CHUNK_BYTES)];
        self.push(
            Header { kind: record::END, flags: outcome as u8 | logged(), sequence: notes::piece() },
            took_ns,
            text,
        );
        self.end(notable);
    }

    fn end(&mut self, notable: bool) {
        failpoint!("worker-end-published");
        if self.has_opened {
            told::tell_ended(self.pair.ended(), notes::piece());
            told::tell_tail(self.pair.back_tail(), self.ring.tail());
        }
        self.is_open = false;
        self.signal(notable);
    }

    /// The piece has ended without the use of its window. True if it had written more than it may: whatever it did then.
    #[must_use]
    pub(super) fn forget_window(&mut self) -> bool {
        self.room = None;
        std::mem::take(&mut self.is_too_long)
    }

    /// Says why the worker could not be made ready. No signal, which only one that is ready sends: its end wakes the parent.
    pub(super) fn start_failed(&mut self, reason: &str) {
        let header = Header { kind: record::REPLY, flags: Outcome::StartFailed as u8, sequence: 0 };
        self.push(header, &[], &reason.as_bytes()[..reason.len().min(CHUNK_BYTES)]);
    }

    /// Writes a record and publishes it; if there is no room for it, waits for room.
    #[inline]
    pub(super) fn push(&mut self, header: Header, lead: &[u64], bytes: &[u8]) {
        while self.ring.push(self.pair.back_ring(), header, lead, bytes).is_err() {
            self.wait_for_room();
        }
        failpoint!("worker-reply-written");
        self.ring.publish(self.pair.back_ring());
    }

    /// Makes a record of what was written in place, and publishes it.
    fn commit(&mut self, room: Room, header: Header, bytes: usize) {
        let lead = if self.is_timed { 8 } else { 0 };
        self.ring.commit(self.pair.back_ring(), room, header, lead + bytes);
        failpoint!("worker-part-written");
        self.ring.publish(self.pair.back_ring());
    }

    /// Of a piece that is timed, each record in place has a word before its bytes.
    fn write_lead(&mut self, room: Room, took_ns: Option<u64>) {
        if self.is_timed {
            self.pair.back_ring()[room.first].store(took_ns.unwrap_or_default(), Relaxed);
        }
    }

    /// Publishes what was written into the window, if that is anything.
    fn publish_window(&mut self, filled: &Window) {
        if !process::is_current(self.process) {
            // The piece forked, and this is the child.
            process::exit_now(0);
        }
        let Some(room) = self.room.take() else { return };
        if filled.used() == 0 {
            return;
        }
        let kind = if self.is_open { record::CHUNK } else { record::OPEN };
        self.write_lead(room, None);
        self.commit(room, Header { kind, flags: logged(), sequence: notes::piece() }, filled.used());
        (self.is_open, self.has_opened) = (true, true);
        failpoint!("worker-part-published");
    }

    /// Tells that all so far is worth a look. Who waits for low water only is not woken for it, unless it is `notable`: the worker
    /// signals again when it has no room.
    fn tell(&mut self, notable: bool) {
        told::tell_tail(self.pair.back_tail(), self.ring.tail());
        self.signal(notable);
    }

    fn next_window(&mut self) -> Window {
        let (pair, is_timed) = (self.pair, self.is_timed);
        let lead = if is_timed { 8 } else { 0 };
        let room = loop {
            match self.ring.reserve(pair.back_ring(), lead + LEAST_WINDOW_BYTES, lead + CHUNK_BYTES) {
                Ok(room) => break room,
                Err(_) => self.wait_for_room(),
            }
        };
        self.room = Some(room);
        let most = room.bytes - lead;
        let first = room.first + usize::from(is_timed);
        Window::new(&pair.back_ring()[first..first + most.div_ceil(8)], most)
    }

    /// Wakes the parent's thread that listens, if there is one and it asked for this kind of reply.
    #[inline]
    pub(super) fn signal(&mut self, notable: bool) {
        if let Some(listening) = self.listener.after_reply(self.pair.interest(), notable) {
            self.wake(listening);
            spin::after_wake_up();
        }
    }

    pub(super) fn wake(&self, listening: Listening) {
        let wake = |event: &Event| event.try_signal();
        let are_woken = match listening {
            Listening::Caller => wake(&self.caller),
            Listening::Supervisor => wake(&self.supervisor),
            Listening::Both => wake(&self.caller) && wake(&self.supervisor),
        };
        if !are_woken {
            // A piece has closed the eventfd. The end of this process wakes the parent, which then reads
            // the replies so far.
            process::exit_now(1);
        }
    }

    /// Sleeps until the parent has read some replies.
    fn wait_for_room(&mut self) {
        if self.has_opened {
            // What fills the ring may be left there on purpose.
            told::tell_tail(self.pair.back_tail(), self.ring.tail());
        }
        let mut spin = Spin::new();
        let head = loop {
            if let Some(head) = self.told_room() {
                break head;
            }
            if !spin.turn() {
                let word = self.pair.worker_sleep();
                let wait = || {
                    let listening = self.listener.when_blocked(self.pair.interest());
                    failpoint!("worker-without-room");
                    self.wake(listening);
                    futex::wait(word, sleep::SLEEPING, None);
                };
                sleep::sleep_unless(word, || self.told_room().is_some(), wait);
                spin = Spin::new();
            }
        };
        self.ring.consumed_to(head);
    }

    /// How far the parent has read, if that makes room.
    fn told_room(&self) -> Option<u64> {
        let head = told::told_head(self.pair.back_head());
        (head > self.ring.consumed()).then_some(head)
    }
}

impl Outlet for RefCell<Replies> {
    fn allows_more(&self, written: u64) -> u64 {
        let mut replies = self.borrow_mut();
        let more = replies.result_limit.allows_more(written);
        replies.is_too_long |= more == 0;
        more
    }

    fn exchange(&self, filled: Window) -> Window {
        let mut replies = self.borrow_mut();
        replies.publish_window(&filled);
        let unread = replies.ring.tail() - told::told_head(replies.pair.back_head());
        if replies.is_open && unread * 8 >= TELL_BYTES {
            replies.tell(false);
        }
        replies.next_window()
    }

    fn flush(&self, filled: Window) {
        let mut replies = self.borrow_mut();
        replies.publish_window(&filled);
        if replies.is_open {
            replies.tell(true);
        }
    }
}
