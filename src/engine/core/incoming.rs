//! Pieces come in: straight into the ring of the lane's worker, or to wait for their turn.
//!
//! Invariant: a piece that is added fails at once, or some worker holds it, or its task is in `ready`.

use super::direct_lane::Added;
use super::dispatch::{self, Choice};
use super::seat::Measured;
use super::{Core, Phase, ending};
use crate::backend::{Site, TaskKey};
use crate::codec::bytes::Handed;
use crate::codec::tables::table::{Holder, TableId, Tables};
use crate::engine::policy::pace::LOOK_AHEAD_NS;
use crate::engine::travel;
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::clock;
use std::sync::Arc;

impl Core {
    pub(crate) fn open_task(&mut self) -> Result<TaskKey, Error> {
        if let Some(error) = self.phase.error() {
            return Err(error);
        }
        self.work.queue.admit()?;
        let key = self.work.tasks.open();
        if self.work.timeline.is_some() {
            self.trace(key);
        }
        Ok(key)
    }

    /// Adds a piece, and gives out what can be given.
    #[inline]
    pub(crate) fn add_piece(&mut self, key: TaskKey, site: Site, arguments: Handed<'_>) {
        self.end_if_late(key);
        #[cfg(feature = "log")]
        self.follow_log_level();
        let bytes = arguments.as_slice();
        if self.fill_lane(key, &site, bytes, 0, &[bytes.len()], self.lane.is_last_of_batch()) == 1 {
            if self.lane.tiny_added(1) != Added::Nothing {
                self.look_for_lane();
            }
            return;
        }
        if self.add_waiting(key, site, arguments) {
            self.pieces_added(key, 1);
        }
    }

    /// Adds a piece that shares these tables. It never takes the short way: its worker may have to be sent them first. `holder` is told when a
    /// table is gone.
    pub(crate) fn add_sharing_piece(
        &mut self,
        key: TaskKey,
        site: Site,
        (arguments, tables): (Vec<u8>, Tables),
        holder: &Arc<dyn Holder>,
    ) {
        self.end_if_late(key);
        #[cfg(feature = "log")]
        self.follow_log_level();
        let Some(task) = self.work.tasks.get_mut(key) else { return self.work.trash.add_rest(tables) };
        let number = task.len();
        if !task.shares_already(&tables) {
            for table in tables.iter() {
                table.add_holder(holder);
                self.tables.insert(table.id(), table.head().bytes);
            }
        }
        task.share_with_next(tables);
        if self.add_waiting(key, site, Handed::Own(arguments)) {
            return self.pieces_added(key, 1);
        }
        if let Some(task) = self.work.tasks.get_mut(key) {
            task.release(number);
            task.drop_released(&mut self.work.trash);
        }
    }

    /// Nobody in this process has these tables any more: workers let go of them.
    #[cold]
    pub(crate) fn forget_tables(&mut self, gone: &[TableId]) {
        for table in gone {
            self.tables.remove(table);
            self.seats.workers_mut().for_each(|worker| worker.link.forget_table(*table));
        }
        self.seats.workers_mut().for_each(|worker| worker.link.forget_on());
    }

    /// The host has closed what these pieces share.
    #[cold]
    pub(super) fn fail_unsendable(&mut self) {
        for (key, piece) in std::mem::take(&mut self.work.unsendable) {
            self.work.trash.add_arguments(piece.arguments);
            let Some(task) = self.work.tasks.get_mut(key) else { continue };
            let message = "never began: this program has closed the descriptor of something that it shares";
            let error = Error::new(ErrorKind::System, message).with_piece(task.label(piece.number), 0);
            let failures = task.failures();
            self.wakes.add(task.settle_failed(piece.number, error));
            self.counts.pieces_failed += (task.failures() - failures) as u64;
            task.drop_released(&mut self.work.trash);
        }
    }

    /// Adds pieces of one site whose arguments lie one behind the other, from `start` on, and end at `ends`.
    pub(crate) fn add_pieces(&mut self, key: TaskKey, site: Site, arguments: &[u8], mut start: usize, ends: &[usize]) {
        self.end_if_late(key);
        #[cfg(feature = "log")]
        self.follow_log_level();
        let direct = self.fill_lane(key, &site, arguments, start, ends, true);
        if direct > 0 {
            start = ends[direct - 1];
        }
        let mut waiting = 0;
        for &end in &ends[direct..] {
            waiting += usize::from(self.add_waiting(key, site, Handed::Lent(&arguments[start..end])));
            start = end;
        }
        if waiting > 0 {
            self.pieces_added(key, direct + waiting);
        } else if direct > 0 && self.lane.tiny_added(direct) != Added::Nothing {
            self.look_for_lane();
        }
    }

    /// Adds a piece that has failed already.
    pub(crate) fn add_failed(&mut self, key: TaskKey, site: Site, kind: ErrorKind, message: String) {
        if let Some(task) = self.work.tasks.get_mut(key) {
            let wake = task.add_failed(site, |label| Error::new(kind, message).with_piece(label, 0));
            self.wakes.add(wake);
        }
    }

    /// Puts tiny pieces straight into the ring of the lane's worker, as many as it takes; gives how many. Another
    /// site than that of the piece before takes the other way, where its call is looked at. With `ends_batch` the
    /// worker signals after the last one.
    #[inline(always)]
    fn fill_lane(
        &mut self,
        key: TaskKey,
        site: &Site,
        arguments: &[u8],
        start: usize,
        ends: &[usize],
        ends_batch: bool,
    ) -> usize {
        failpoint!("parent-piece-taken");
        let Some(seat) = self.lane.seat() else { return 0 };
        if !self.work.ready.is_empty() || !matches!(self.phase, Phase::Open) {
            return 0;
        }
        let (Some(task), Some(worker)) = (self.work.tasks.get_mut(key), self.seats.worker_mut(seat)) else { return 0 };
        let Some((word, function)) = task.known_word(site).filter(|_| task.goes_directly()) else { return 0 };
        let call = (word, task.settings().format, task.terms(self.work.functions.of_number(function)));
        let first = task.len();
        let (was_idle, first_sequence) = (worker.link.is_idle(), worker.link.next_sequence());
        // Nearly always there is no limit of a worker's pieces.
        let left = worker.pieces_left();
        let ends = if ends.len() as u64 <= left { ends } else { &ends[..left as usize] };
        let pieces = (arguments, start, ends);
        let given = worker.link.give_records(key, first, call, pieces, ends_batch, LOOK_AHEAD_NS);
        task.add_given(given);
        if was_idle && given > 0 {
            worker.measured = Some(Measured::FromIdle(clock::now_ns(), first_sequence));
            worker.link.publish();
        }
        given
    }

    /// Adds a piece that waits. False if it failed at once, or its task has ended.
    fn add_waiting(&mut self, key: TaskKey, site: Site, arguments: Handed<'_>) -> bool {
        let ended = self.phase.error();
        let Some(task) = self.work.tasks.get_mut(key) else { return false };
        if let Some(error) = ended {
            let message = format!("never began: {error}");
            let wake = task.add_failed(site, |label| Error::new(error.kind(), message).with_piece(label, 0));
            self.wakes.add(wake);
            return false;
        }
        if task.is_cancelled() {
            let settings = task.settings().clone();
            let wake = task.add_failed(site, |label| ending::ended(&settings, label));
            task.fail_with_task(1);
            self.wakes.add(wake);
            return false;
        }
        if task.known_word(&site).is_none() {
            match travel::word(&site.call) {
                Some(word) => {
                    let function = self.work.functions.number_of(word, &site, task.settings().name.as_ref());
                    task.add_site(site, word, function);
                }
                None => {
                    let wake = task.add_failed(site, travel::refused);
                    self.wakes.add(wake);
                    return false;
                }
            }
        }
        let before = task.queued();
        task.add_waiting(arguments.into_arguments());
        let priority = task.settings().priority;
        self.work.queue.changed(before, task.queued());
        failpoint!("parent-piece-queued");
        self.work.ready.push_last(key, priority);
        true
    }

    /// After pieces were added: gives them to workers that need some, and sees to it that somebody is
    /// signalled if nobody looks.
    fn pieces_added(&mut self, key: TaskKey, count: usize) {
        let task = self.work.tasks.get(key).map(|task| (task.is_tiny(), task.is_named()));
        let (is_tiny, is_named) = task.unwrap_or_default();
        let mut wake_supervisor = false;
        if is_tiny {
            match self.lane.tiny_added(count) {
                Added::Nothing => return,
                Added::Look => {
                    self.look_for_lane();
                    if is_named {
                        self.note_waiting(key);
                    }
                    return;
                }
                Added::Dispatch { wake_supervisor: wake } => wake_supervisor = wake,
            }
        }
        // Who holds workers back must hear that others wait.
        let gave = self.dispatch() || (self.holds_back || self.lane.is_look_due(count)) && self.collect();
        if gave || self.owes_attention {
            self.keep_attention();
        }
        if is_named {
            self.note_waiting(key);
        }
        if wake_supervisor {
            self.alarm.wake_now();
        }
    }

    /// What no worker has taken of a named task waits from now on.
    #[cold]
    fn note_waiting(&mut self, key: TaskKey) {
        if let Some(task) = self.work.tasks.get_mut(key).filter(|task| task.begins_to_wait()) {
            task.waits_from(clock::now_ns());
        }
    }

    /// A batch of tiny pieces is full: a look at the workers, and the worker that gets the next batch.
    fn look_for_lane(&mut self) {
        if !self.collect() {
            self.dispatch();
        }
        let seat = match dispatch::choose(&mut self.seats, true, &[]) {
            Choice::Seat(seat) => Some(seat).filter(|&seat| self.seats.worker(seat).is_some() && self.all_may_begin()),
            Choice::Stay { .. } | Choice::Nobody => None,
        };
        self.lane.use_seat(seat);
        self.keep_attention();
    }
}
