//! Who looks at the rings, and what each worker is asked to signal to the thread that sleeps.
//!
//! The caller that leads looks for all callers that wait. It may get no core for seconds: its thread has a low priority, or
//! a debugger holds it. So while others wait beside it, the supervisor is its guard:
//!
//! | [`Guard`] | workers signal                       | the supervisor                          | next                             |
//! |-----------|--------------------------------------|-----------------------------------------|----------------------------------|
//! | off       | a leader that sleeps, and the supervisor; of a leader that is awake the supervisor alone | sleeps | a signal: on |
//! | on        | a leader that sleeps; else nobody    | looks each 5 ms, or each 0.5 ms while the leader does not | no piece is done in that time: off |
//!
//! So a follower waits at most 5 ms longer than the supervisor needs to get a core; a worker makes at most one signal more
//! for 5 ms of pieces; and without work there is no timer. When the guard goes off, all workers are asked anew and looked at once more.
//!
//! Invariant: a thread that sleeps has announced it to every worker that holds a piece, and has looked
//! once more after that (`protocol/sleep.rs`).

use super::collect::Found;
use super::roster::Set;
use super::seats::Seats;
use super::task_state::{Urgency, Want};
use super::{Core, Phase, dispatch};
use crate::engine::policy::pace;
use crate::engine::unpark::Polled;
use crate::protocol::sleep::{Interest, Listening};
use crate::sys::clock;

/// The most looks between an announcement and the return of the lock. The first finds what came before the announcement,
/// the second what came meanwhile; who finds still more does better to let others in. With one, a caller whose worker
/// answers at that moment would go round once more for each piece.
pub(crate) const MAX_LOOKS: usize = 4;

/// Who notices what workers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observer {
    /// A caller looks.
    CallerAwake,
    /// A caller is about to sleep.
    CallerParks,
    /// No caller waits; the supervisor sleeps.
    SupervisorParks,
    /// No caller waits; the supervisor looks again in a moment, whatever happens.
    SupervisorPolls,
}

/// What is known of a worker that decides what it is asked to signal.
#[derive(Debug, Clone, Copy)]
struct View {
    is_idle: bool,
    is_quick: bool,
    /// It holds a piece that carries `LOW_WATER`.
    has_flagged: bool,
    is_streaming_out: bool,
}

/// What is known of the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The one caller that waits need not be woken for each piece.
    pub(crate) is_patient: bool,
    /// Something could be done about a worker that runs low while nobody waits.
    pub(crate) is_worth_telling: bool,
    /// Callers rely on the one that leads, and the supervisor does not look.
    pub(crate) wants_guard: bool,
    /// Callers have left wakers: while nobody waits they rely on the supervisor.
    pub(crate) polled: Polled,
}

/// What a worker is asked to signal.
fn interest(observer: Observer, worker: View, need: Need) -> Interest {
    match observer {
        _ if worker.is_idle => Interest::Nothing,
        Observer::CallerAwake if need.wants_guard => Interest::NextReply(Listening::Supervisor),
        Observer::CallerParks if need.wants_guard => Interest::NextReply(Listening::Both),
        Observer::CallerAwake | Observer::SupervisorPolls => Interest::Nothing,
        Observer::CallerParks if need.is_patient && worker.is_quick && worker.has_flagged => {
            Interest::LowWater(Listening::Caller)
        }
        Observer::CallerParks => Interest::NextReply(Listening::Caller),
        Observer::SupervisorParks if worker.is_streaming_out => Interest::NextReply(Listening::Supervisor),
        Observer::SupervisorParks if need.polled == Polled::Patiently && worker.is_quick && worker.has_flagged => {
            Interest::LowWater(Listening::Supervisor)
        }
        Observer::SupervisorParks if need.polled != Polled::No => Interest::NextReply(Listening::Supervisor),
        Observer::SupervisorParks if !need.is_worth_telling => Interest::Nothing,
        Observer::SupervisorParks if worker.has_flagged => Interest::LowWater(Listening::Supervisor),
        Observer::SupervisorParks => Interest::NextReply(Listening::Supervisor),
    }
}

/// Whether the supervisor looks beside the caller that leads.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    is_on: bool,
    /// The leader did not look for a whole turn of the guard, in which replies came, and has not looked since.
    is_alone: bool,
    /// The pieces that were done, and the looks that leaders had taken, when it was asked last.
    before: (u64, u64),
}

/// What the guard knows at a turn of the supervisor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Callers rely on the one that leads.
    pub(crate) has_followers: bool,
    /// A worker woke the supervisor.
    pub(crate) signalled: bool,
    /// The supervisor found replies.
    pub(crate) found: bool,
    /// The pieces that are done.
    pub(crate) done: u64,
    /// The looks that leaders have taken.
    pub(crate) looks: u64,
}

/// When the guard looks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// When a worker signals.
    Off,
    /// Soon, in case that the leader does not.
    Beside,
    /// As soon as a leader would.
    Instead,
}

impl Guard {
    /// The supervisor asks at each of its turns.
    pub(crate) fn goes_on(&mut self, turn: Turn) -> Again {
        let Turn { has_followers, signalled, found, done, looks } = turn;
        let (done_before, looks_before) = std::mem::replace(&mut self.before, (done, looks));
        let has_looked = looks != looks_before;
        self.is_alone = !has_looked && (self.is_alone || self.is_on && found && !signalled);
        self.is_on = has_followers && (signalled || self.is_on && done != done_before);
        match (self.is_on, self.is_alone) {
            (false, _) => Again::Off,
            (true, false) => Again::Beside,
            (true, true) => Again::Instead,
        }
    }

    /// True if callers that rely on another one must have the supervisor signalled.
    pub(crate) fn is_wanted(&self, has_followers: bool) -> bool {
        has_followers && !self.is_on
    }
}

#[derive(Debug)]
pub(crate) struct Attention {
    observer: Observer,
}

impl Attention {
    pub(crate) fn new() -> Self {
        Attention { observer: Observer::SupervisorParks }
    }

    pub(crate) fn observer(&self) -> Observer {
        self.observer
    }

    pub(crate) fn pass_to(&mut self, observer: Observer) {
        self.observer = observer;
    }

    /// Tells every worker that holds pieces what to signal, and one that holds none any more nothing. With `renew`, what was announced before and may have been used up
    /// is announced again. True if the observer relies on a signal, so that it must look once more.
    #[must_use]
    pub(crate) fn announce(&self, seats: &mut Seats, need: Need, renew: bool) -> bool {
        while let Some(seat) = seats.sorted().take_retired() {
            if let Some(worker) = seats.worker_to_ask(seat) {
                let _ = worker.link.announce(Interest::Nothing, renew);
            }
        }
        let (mut must_look, mut from) = (false, 0);
        while let Some(seat) = seats.roster().next(Set::Busy, from) {
            from = seat + 1;
            let Some(worker) = seats.worker_to_ask(seat) else { continue };
            let link = &mut worker.link;
            let view = View {
                is_idle: link.is_idle() && !link.lacks_room(),
                is_quick: pace::is_quick(link.backlog_ns(), link.in_flight()),
                has_flagged: link.has_flagged(),
                is_streaming_out: link.is_streaming_out(),
            };
            must_look |= link.announce(interest(self.observer, view, need), renew);
        }
        must_look
    }
}

impl Core {
    /// Sets the observer, then collects until nothing is found, in at most [`MAX_LOOKS`] looks. With `renew`, what was
    /// announced before and may have been used up is announced again. True if anything was found: then the thread must
    /// not sleep yet.
    ///
    /// Workers that always have something new would hold the lock here for ever. So after the last look all others are let
    /// in, and also when the lock was held for long enough (`Hold`). The caller that leads then looks again; for every
    /// other thread the supervisor takes a turn.
    pub(crate) fn attend(&mut self, observer: Observer, renew: bool) -> bool {
        self.attention.pass_to(observer);
        self.has_slept |= observer == Observer::CallerParks;
        if renew
            && self.is_open()
            && self.all_may_begin()
            && matches!(observer, Observer::CallerParks | Observer::SupervisorParks)
        {
            // The thread that waits is about to sleep: the pieces that were thought to be over by now are not.
            // They are worth giving to another worker.
            let gave = dispatch::rebalance(&mut self.seats, &mut self.work, &mut self.hold, 0);
            self.note_given(gave);
        }
        let mut must_look = self.announce(renew);
        for looks in 0..MAX_LOOKS {
            let found = if must_look { self.look() } else { Found::Nothing };
            if found == Found::Nothing {
                return looks > 0;
            }
            // One that left a part is followed by another, even if nothing new was announced: the worker may have written
            // all of it before the announcement, and signals no more.
            must_look = self.announce(renew) || found == Found::Part;
            if self.hold.is_spent() {
                break;
            }
        }
        if !(renew && observer == Observer::CallerParks) {
            self.alarm.wake_now();
        }
        true
    }

    /// After work was given out by a thread that does not wait for its outcome: the thread that sleeps is
    /// signalled.
    pub(crate) fn keep_attention(&mut self) {
        self.attend(self.attention.observer(), false);
    }

    /// After a look of a thread that goes on whatever it found: the same, if work was given out in it.
    #[inline]
    pub(crate) fn keep_owed_attention(&mut self) {
        if self.owes_attention {
            self.keep_attention();
        }
    }

    /// The supervisor looks. Looks that each take all of one hold would leave nothing of it for lost pieces that start again,
    /// and for ends that are under way. So in two of three turns one of these comes first.
    pub(crate) fn collect_in_turn(&mut self) -> bool {
        self.turns += 1;
        self.has_slept = true;
        match self.turns % 3 {
            0 => self.owes_dispatch |= self.start_delayed(clock::now_ns()),
            // The turn goes on with it, and asks then.
            1 => _ = self.sweep(),
            _ => {}
        }
        self.collect()
    }

    /// Who looks while no caller waits.
    pub(crate) fn unattended(&self) -> Observer {
        let is_alone = self.wakes.polled() == Polled::No;
        if self.lane.is_polled() && is_alone { Observer::SupervisorPolls } else { Observer::SupervisorParks }
    }

    /// True if the observer relies on a signal, so that a look is needed.
    fn announce(&mut self, renew: bool) -> bool {
        self.owes_attention = false;
        let polled = self.wakes.polled();
        let is_patient = self.is_patient();
        let is_worth_telling = self.attention.observer() == Observer::SupervisorParks && self.is_worth_telling();
        let wants_guard = self.guard.is_wanted(self.has_followers());
        self.attention.announce(&mut self.seats, Need { is_patient, is_worth_telling, wants_guard, polled }, renew)
    }

    /// True if the caller that leads would only keep a worker from its core if it looked a little longer before it sleeps.
    pub(crate) fn waits_long(&mut self) -> bool {
        self.is_patient() && !self.guard.is_wanted(self.has_followers()) && self.seats.all_work_long()
    }

    /// The same for one that is yet to wait.
    pub(crate) fn will_wait_long(&mut self, want: Want) -> bool {
        let is_alone = !self.waiters.has_leader() && self.wakes.polled() != Polled::Eagerly;
        is_alone && want.urgency() != Urgency::Each && self.seats.all_work_long()
    }

    /// True if the one caller that waits need not be woken for each piece. With others beside it, one of them may need what comes next.
    fn is_patient(&mut self) -> bool {
        let mut waiters = self.waiters.iter();
        let urgency = match (waiters.next(), waiters.next()) {
            (Some(waiter), None) => waiter.urgency,
            _ => return false,
        };
        let is_not_urgent = match urgency {
            Urgency::Each => false,
            // Where a core is left, the wake-up takes nothing from the workers.
            Urgency::Soon => !self.seats.leaves_core(),
            Urgency::Last => true,
        };
        is_not_urgent && self.wakes.polled() != Polled::Eagerly
    }

    /// True if callers rely on the one that leads.
    pub(super) fn has_followers(&self) -> bool {
        self.waiters.has_followers() || self.waiters.has_leader() && self.wakes.polled() != Polled::No
    }

    /// The supervisor asks whether it should poll: whether tiny pieces come.
    pub(crate) fn should_poll(&mut self) -> bool {
        let seat = self.lane.seat();
        let polls = self.lane.poll_on();
        if !polls {
            self.publish(seat);
        } else if self.watched.must_begin() {
            // What takes the lane is given without a look.
            self.begin_checks();
        }
        polls
    }

    /// The supervisor asks when it must look again beside the caller that leads. `signalled`: a worker woke it; `found`: it
    /// found replies.
    pub(crate) fn guard_again(&mut self, signalled: bool, found: bool) -> Again {
        let (has_followers, looks) = (self.has_followers(), self.leader_looks);
        self.guard.goes_on(Turn { has_followers, signalled, found, done: self.counts.pieces_done, looks })
    }

    /// True if something could be done about a worker that runs low while nobody waits.
    fn is_worth_telling(&mut self) -> bool {
        // A worker that retires is dismissed by the thread that hears of its last reply.
        if !self.work.ready.is_empty()
            || matches!(self.phase, Phase::Closing)
            || self.following.any_retire()
            || self.recycling.awaits_end()
        {
            return true;
        }
        if !self.seats.sorted().is_empty(Set::Laden) {
            return true;
        }
        let mut busy = self.seats.of(Set::Busy);
        busy.any(|(_, seat)| {
            // One that may be given no more is to be replaced after its last piece.
            if seat.worker().is_some_and(|worker| worker.pieces_left() == 0) {
                return true;
            }
            let task = seat.worker().and_then(|worker| self.work.tasks.get(worker.link.newest_task()?));
            // A task that waits and is not ready has too much unread, unless its next results are short. A piece that
            // panics or returns an error may start again.
            task.is_some_and(|task| task.waits() || task.retries_answers() || task.is_heard_though_detached())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_signals_the_thread_that_sleeps_and_no_more_often_than_needed() {
        let busy = View { is_idle: false, is_quick: true, has_flagged: true, is_streaming_out: false };
        let idle = View { is_idle: true, ..busy };
        let slow = View { is_quick: false, ..busy };
        let unflagged = View { has_flagged: false, ..busy };
        let streams = View { is_streaming_out: true, ..busy };
        let need = |is_patient, is_worth_telling| {
            let (wants_guard, polled) = (false, Polled::No);
            Need { is_patient, is_worth_telling, wants_guard, polled }
        };
        let polled = |polled| Need { polled, ..need(false, false) };
        let guarded = Need { wants_guard: true, ..need(false, true) };
        let both = Listening::Both;
        let (caller, supervisor) = (Listening::Caller, Listening::Supervisor);
        for (observer, worker, need, expected) in [
            (Observer::CallerAwake, busy, need(true, true), Interest::Nothing),
            (Observer::SupervisorPolls, streams, need(true, true), Interest::Nothing),
            (Observer::CallerParks, idle, need(true, true), Interest::Nothing),
            (Observer::CallerParks, idle, guarded, Interest::Nothing),
            (Observer::CallerParks, busy, guarded, Interest::NextReply(both)),
            (Observer::CallerAwake, busy, guarded, Interest::NextReply(supervisor)),
            (Observer::CallerAwake, idle, guarded, Interest::Nothing),
            (Observer::CallerParks, busy, need(true, false), Interest::LowWater(caller)),
            (Observer::CallerParks, busy, need(false, false), Interest::NextReply(caller)),
            (Observer::CallerParks, slow, need(true, false), Interest::NextReply(caller)),
            (Observer::CallerParks, unflagged, need(true, false), Interest::NextReply(caller)),
            (Observer::SupervisorParks, idle, need(false, true), Interest::Nothing),
            (Observer::SupervisorParks, busy, need(false, false), Interest::Nothing),
            (Observer::SupervisorParks, streams, need(false, false), Interest::NextReply(supervisor)),
            (Observer::SupervisorParks, busy, need(false, true), Interest::LowWater(supervisor)),
            (Observer::SupervisorParks, unflagged, need(false, true), Interest::NextReply(supervisor)),
            (Observer::SupervisorParks, busy, polled(Polled::Eagerly), Interest::NextReply(supervisor)),
            (Observer::SupervisorParks, busy, polled(Polled::Patiently), Interest::LowWater(supervisor)),
            (Observer::SupervisorParks, slow, polled(Polled::Patiently), Interest::NextReply(supervisor)),
            (Observer::SupervisorParks, unflagged, polled(Polled::Patiently), Interest::NextReply(supervisor)),
            (Observer::SupervisorParks, idle, polled(Polled::Eagerly), Interest::Nothing),
        ] {
            assert_eq!(interest(observer, worker, need), expected, "{observer:?}, {worker:?}, {need:?}");
        }
    }

    #[test]
    fn the_supervisor_guards_a_leader_as_long_as_others_rely_on_it_and_pieces_are_done() {
        use Again::{Beside, Instead, Off};
        let mut guard = Guard::default();
        assert!(guard.is_wanted(true) && !guard.is_wanted(false));
        // Whether there are followers, a worker signalled, replies were found; the pieces done, the looks of leaders; what follows.
        for (number, (has_followers, signalled, found, done, looks, expected)) in [
            (true, false, true, 1, 1, Off),
            (false, true, true, 2, 2, Off),
            (true, true, false, 2, 3, Beside),
            (true, false, false, 3, 4, Beside),
            (true, false, true, 4, 5, Beside),
            (true, false, false, 4, 5, Off),
            (true, false, false, 5, 6, Off),
            // The leader does not look; at a signal it may be about to.
            (true, true, true, 6, 6, Beside),
            (true, false, true, 7, 6, Instead),
            (true, false, true, 8, 6, Instead),
            (true, false, false, 8, 6, Off),
            (true, true, true, 9, 6, Instead),
            // It looks again.
            (true, false, true, 10, 7, Beside),
            (false, true, true, 11, 7, Off),
        ]
        .into_iter()
        .enumerate()
        {
            let again = guard.goes_on(Turn { has_followers, signalled, found, done, looks });
            assert_eq!(again, expected, "turn {number}");
            assert_eq!(guard.is_wanted(has_followers), has_followers && again == Off, "turn {number}");
        }
    }
}
