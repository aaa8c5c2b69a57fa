//! What the pieces of a pool did, where its user asked for that: each is timed then, and leaves an event.
//!
//! The worker's reply tells how long a piece ran; when it began stands in a word of *back* until the next piece begins. So that
//! is known of a reply that is read before its worker has begun two more pieces. What was answered before, in the same row, ran
//! just before that.
//!
//! That a worker was started is heard later than it happens, and a worker may have begun a piece by then. So such an event moves to the
//! first piece behind it, lest that piece seem to be older than its worker.
//!
//! Invariant: events of one worker do not overlap, whatever it says, none of its pieces begins before its start, and all lie between the pool's
//! start and now. There are no more than the user allowed: the oldest go.

use super::task_state::TaskState;
use crate::engine::wire::record::Outcome;
use crate::error::{Error, ErrorKind};
use crate::stats::timeline::{Ended, Event, What};
use crate::sys::clock;
use std::collections::VecDeque;

/// Events of one worker that wait for a known time. More pieces than that it does not hold.
const MAX_PENDING: usize = 1024;

/// The most events that are copied in one hold of the lock.
const COPIED: usize = 1024;

#[derive(Debug)]
pub(crate) struct Timeline {
    events: VecDeque<Event>,
    most: usize,
    /// How many ever came.
    count: u64,
    began_ns: u64,
    /// By seat.
    lanes: Vec<Lane>,
}

/// What is known of the worker in a seat.
#[derive(Debug, Default)]
struct Lane {
    /// The end of its last event.
    end_ns: u64,
    /// Events behind that, of which only is known how long they took.
    pending: Vec<Event>,
    /// The number of the event that tells of its worker's start, until a piece of that has a place.
    start: Option<u64>,
    /// When the first piece began of a worker whose start was not heard of yet.
    unheard_ns: Option<u64>,
}

/// A piece whose worker has answered it, or was lost with it.
pub(crate) struct Ran<'a> {
    pub(crate) seat: usize,
    pub(crate) pid: Option<u32>,
    /// `None` if its task has ended before.
    pub(crate) task: Option<&'a TaskState>,
    pub(crate) number: usize,
    /// When it began, if that is known.
    pub(crate) began_ns: Option<u64>,
    /// How long it ran, by its worker's word; `None`: until now.
    pub(crate) took_ns: Option<u64>,
    pub(crate) ended: Ended,
}

/// A part of the events.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    pub(crate) events: Vec<Event>,
    /// The number of the first one.
    pub(crate) first: u64,
    pub(crate) began_ns: u64,
    /// All that ever came.
    pub(crate) count: u64,
    /// The number with which to go on.
    pub(crate) next: Option<u64>,
}

impl Ended {
    pub(super) fn of(outcome: Outcome) -> Ended {
        match outcome {
            Outcome::Result => Ended::Done,
            Outcome::Panicked => Ended::Panicked,
            Outcome::Failed => Ended::Failed,
            _ => Ended::NotCarried,
        }
    }
}

impl Timeline {
    pub(super) fn new(most: usize) -> Result<Timeline, Error> {
        let mut events = VecDeque::new();
        // At once, since to move a hundred megabytes takes too long for the lock. Pages that are not used take no memory.
        events.try_reserve_exact(most).map_err(|_| {
            let message = format!("a timeline of {most} events takes more memory than there is: give a smaller number");
            Error::new(ErrorKind::Config, message)
        })?;
        Ok(Timeline { events, most, count: 0, began_ns: clock::now_ns(), lanes: Vec::new() })
    }

    fn push(&mut self, event: Event) {
        if self.events.len() == self.most {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.count += 1;
    }

    fn lane(&mut self, seat: usize) -> &mut Lane {
        if self.lanes.len() <= seat {
            let began_ns = self.began_ns;
            self.lanes.resize_with(seat + 1, || Lane { end_ns: began_ns, ..Lane::default() });
        }
        &mut self.lanes[seat]
    }

    /// A piece has run.
    pub(crate) fn ran(&mut self, ran: Ran<'_>) {
        let Ran { seat, pid, task, number, began_ns, took_ns, ended } = ran;
        let now_ns = clock::now_ns();
        let label = task.map(|task| task.label(number));
        let took_ns = took_ns.unwrap_or_else(|| now_ns.saturating_sub(began_ns.unwrap_or(now_ns)));
        let what = What::Piece {
            took_ns,
            number,
            attempts: task.map_or(1, |task| task.attempts(number)),
            function: label.as_ref().map_or(0, |label| label.address),
            name: label.and_then(|label| label.name),
            ended,
        };
        let event = Event { at_ns: 0, worker: seat as u32, pid: pid.unwrap_or(0), what };
        let lane = self.lane(seat);
        lane.pending.push(event);
        if began_ns.is_some() || lane.pending.len() == MAX_PENDING {
            self.place(seat, began_ns, now_ns);
        }
    }

    /// A worker has started, or was lost.
    pub(crate) fn happened(&mut self, seat: usize, pid: Option<u32>, what: What) {
        let (now_ns, number) = (clock::now_ns(), self.count);
        let lane = self.lane(seat);
        let unheard_ns = lane.unheard_ns.take();
        lane.start = matches!(what, What::Started).then_some(number);
        let at_ns = unheard_ns.filter(|_| lane.start.is_some()).map_or(now_ns, |began_ns| began_ns.min(now_ns));
        self.push(Event { at_ns, worker: seat as u32, pid: pid.unwrap_or(0), what });
    }

    /// The first piece of a row began then.
    fn begins_after_start(&mut self, seat: usize, pid: u32, at_ns: u64) {
        let oldest = self.count - self.events.len() as u64;
        let lane = self.lane(seat);
        if pid == 0 {
            lane.unheard_ns.get_or_insert(at_ns);
        }
        let index = lane.start.take().and_then(|number| number.checked_sub(oldest));
        if let Some(start) = index.and_then(|index| self.events.get_mut(index as usize)) {
            start.at_ns = start.at_ns.min(at_ns);
        }
    }

    /// The events of a worker that have no time get one: the last of them began then, or ends now.
    fn place(&mut self, seat: usize, began_ns: Option<u64>, now_ns: u64) {
        let lane = self.lane(seat);
        let (first_ns, mut pending) = (lane.end_ns.min(now_ns), std::mem::take(&mut lane.pending));
        let mut until_ns = now_ns;
        for (index, event) in pending.iter_mut().rev().enumerate() {
            let What::Piece { took_ns, .. } = &mut event.what else { continue };
            event.at_ns = match began_ns.filter(|_| index == 0) {
                Some(began_ns) => began_ns.clamp(first_ns, until_ns),
                None => until_ns.saturating_sub(*took_ns).max(first_ns),
            };
            *took_ns = (*took_ns).min(until_ns - event.at_ns);
            if index == 0 {
                lane.end_ns = event.at_ns + *took_ns;
            }
            until_ns = event.at_ns;
        }
        if let Some(first) = pending.first() {
            self.begins_after_start(seat, first.pid, first.at_ns);
        }
        for event in pending.drain(..) {
            self.push(event);
        }
        // Its memory.
        self.lane(seat).pending = pending;
    }

    /// Some events from this number on.
    pub(super) fn copy(&mut self, from: u64) -> Copied {
        if from == 0 {
            let now_ns = clock::now_ns();
            (0..self.lanes.len()).for_each(|seat| self.place(seat, None, now_ns));
        }
        let first = from.max(self.count - self.events.len() as u64);
        let skipped = (first - (self.count - self.events.len() as u64)) as usize;
        let events: Vec<Event> = self.events.iter().skip(skipped).take(COPIED).cloned().collect();
        let next = first + events.len() as u64;
        Copied { events, first, began_ns: self.began_ns, count: self.count, next: (next < self.count).then_some(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    fn ran(began_ns: Option<u64>, took_ns: u64) -> Ran<'static> {
        Ran { seat: 1, pid: None, task: None, number: 0, began_ns, took_ns: Some(took_ns), ended: Ended::Done }
    }

    fn spans(timeline: &Timeline) -> Vec<(u64, u64)> {
        let span = |event: &Event| match event.what {
            What::Piece { took_ns, .. } => (event.at_ns - timeline.began_ns, took_ns),
            _ => panic!("it is a piece"),
        };
        timeline.events.iter().map(span).collect()
    }

    /// Began and took, as the worker says, and where the events lie.
    #[test]
    fn pieces_lie_where_they_ran_and_never_overlap() {
        for (told, expected) in [
            (&[(Some(10), 5), (Some(20), 5)][..], &[(10, 5), (20, 5)][..]),
            // Those in a row lie before the one that is known.
            (&[(None, 5), (None, 3), (Some(20), 5)], &[(12, 5), (17, 3), (20, 5)]),
            // As far as there is room.
            (&[(Some(2), 4), (None, 50), (None, 3), (Some(20), 5)], &[(2, 4), (6, 11), (17, 3), (20, 5)]),
            // A worker that lies.
            (&[(Some(10), 5), (Some(3), 5)], &[(10, 5), (15, 5)]),
        ] {
            let mut timeline = Timeline::new(9).unwrap();
            // All of it lies in the past.
            timeline.began_ns -= 1000;
            let began_ns = timeline.began_ns;
            for &(began, took) in told {
                timeline.ran(ran(began.map(|began: u64| began_ns + began), took));
            }
            assert_eq!(spans(&timeline), expected, "{told:?}");
        }
    }

    /// In a picture the start of a worker lay within its first piece: the parent had heard of it later than the piece began.
    #[test]
    fn no_piece_begins_before_its_worker_has_started() {
        #[derive(Clone, Copy)]
        enum Told {
            Start,
            Loss,
            /// Began, if that is known, and took.
            Piece(Option<u64>, u64),
        }
        use Told::{Loss, Piece, Start};
        for (told, expected) in [
            (&[Start, Piece(Some(10), 5), Piece(Some(20), 5)][..], &[Some(10)][..]),
            // Known of the second in a row only.
            (&[Start, Piece(None, 5), Piece(Some(20), 5)], &[Some(15)]),
            // Its first answers are read before its start is heard of.
            (&[Piece(Some(10), 5), Piece(Some(20), 5), Start, Piece(Some(30), 5)], &[Some(10)]),
            (&[Piece(None, 5), Start, Piece(Some(20), 5)], &[Some(15)]),
            // Each worker in the seat for itself.
            (&[Start, Piece(Some(10), 5), Loss, Start, Piece(Some(20), 5)], &[Some(10), Some(20)]),
            // A worker without a piece: when that was heard.
            (&[Piece(Some(10), 5), Loss, Start, Loss, Start], &[None, None]),
        ] {
            let mut timeline = Timeline::new(9).unwrap();
            // All of it lies in the past.
            timeline.began_ns -= 1000;
            let (began_ns, mut pid) = (timeline.began_ns, None);
            for &told in told {
                match told {
                    Start => {
                        pid = Some(7);
                        timeline.happened(1, pid, What::Started);
                    }
                    Loss => timeline.happened(1, pid.take(), What::Lost(Cause::Unknown)),
                    Piece(began, took) => timeline.ran(Ran { pid, ..ran(began.map(|began| began_ns + began), took) }),
                }
            }
            let started = timeline.events.iter().filter(|event| matches!(event.what, What::Started));
            let at = |event: &Event| Some(event.at_ns - began_ns).filter(|&at_ns| at_ns < 1000);
            assert_eq!(started.map(at).collect::<Vec<_>>(), expected);
        }
    }

    /// The event of the start is overwritten before a piece has a place.
    #[test]
    fn a_start_that_was_overwritten_moves_nothing() {
        let mut timeline = Timeline::new(2).unwrap();
        timeline.began_ns -= 1000;
        let began_ns = timeline.began_ns;
        timeline.happened(1, Some(7), What::Started);
        (2..5).for_each(|seat| timeline.happened(seat, Some(8), What::Started));
        timeline.ran(ran(Some(began_ns + 10), 5));
        let at_ns: Vec<u64> = timeline.events.iter().map(|event| event.at_ns - began_ns).collect();
        assert!(at_ns[0] >= 1000 && at_ns[1] == 10, "{at_ns:?}");
    }

    #[test]
    fn no_piece_lies_in_the_future_and_none_is_forgotten() {
        let mut timeline = Timeline::new(9).unwrap();
        timeline.ran(ran(Some(u64::MAX), u64::MAX));
        timeline.ran(ran(Some(0), u64::MAX));
        timeline.ran(ran(None, 7));
        let copied = timeline.copy(0);
        let now_ns = clock::now_ns();
        assert_eq!((copied.events.len(), copied.next), (3, None));
        for event in copied.events {
            let What::Piece { took_ns, .. } = event.what else { panic!("it is a piece") };
            assert!(event.at_ns >= copied.began_ns && event.at_ns + took_ns <= now_ns);
        }
    }

    #[test]
    fn the_oldest_events_go_and_parts_join() {
        let mut timeline = Timeline::new(3000).unwrap();
        for number in 0..5000 {
            timeline.ran(Ran { number, ..ran(Some(timeline.began_ns + number as u64), 1) });
        }
        let (mut numbers, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let copied = timeline.copy(from);
            if numbers.is_empty() {
                assert_eq!(copied.first, 2000);
            }
            numbers.extend(copied.events.iter().map(|event| match event.what {
                What::Piece { number, .. } => number,
                _ => 0,
            }));
            next = copied.next;
        }
        assert_eq!(numbers, (2000..5000).collect::<Vec<_>>());
        assert_eq!(timeline.events.capacity(), 3000);
    }
}
