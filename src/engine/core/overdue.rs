//! What depends on the time: pieces that may start again, that ran too long, or that were not begun.
//!
//! [`Core::run_timers`] asks `policy::patience` about each worker, and acts. The supervisor calls it at
//! the alarm, a caller before it sleeps. What a worker's process does stands in /proc, which is not read
//! under the lock: then the verdict is a [`Question`], which the supervisor answers.

use super::reason::Reason;
use super::roster::Set;
use super::{Core, Phase, dispatch};
use crate::backend::TaskKey;
use crate::engine::piece::WaitingPiece;
use crate::engine::policy::hold;
use crate::engine::policy::patience::{self, Activity, Duty, LEAVE_NS, NOT_BEGUN_NS, Sight, Verdict, WorkerView};
use crate::failpoint::failpoint;
use crate::sys::clock;
use crate::sys::descriptors::Descriptor;
use std::sync::Arc;

/// What somebody must find out without the lock.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) seat: usize,
    pub(crate) generation: u32,
    /// The worker's process. `None` where this process had no descriptor left for it: then nobody can tell.
    pub(crate) pidfd: Option<Arc<Descriptor>>,
}

impl Question {
    /// True if both are about the same worker.
    pub(crate) fn is_same(&self, other: &Question) -> bool {
        (self.seat, self.generation) == (other.seat, other.generation)
    }
}

/// What a process does, and the processor time that it has used; `None` where the system does not tell.
pub(crate) type Answer = Option<(Activity, u64)>;

/// What the timers found.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Timers {
    /// The next moment at which there is something to see to.
    pub(crate) next_ns: Option<u64>,
    /// The workers whose state decides.
    pub(crate) questions: Vec<Question>,
}

impl Timers {
    fn wait_until(&mut self, moment_ns: u64) {
        self.next_ns = Some(self.next_ns.map_or(moment_ns, |next_ns| next_ns.min(moment_ns)));
    }
}

impl Core {
    /// Sees to what depends on the time. `answers` are what was found out about earlier questions.
    pub(crate) fn run_timers(&mut self, answers: &[(Question, Answer)]) -> Timers {
        let now_ns = clock::now_ns();
        let mut timers = Timers::default();
        let mut came_back = self.start_delayed(now_ns);
        if let Some(due_ns) = self.delayed.next_ns() {
            timers.wait_until(due_ns);
        }
        let is_ready = |worker: &mut super::WorkerHandle| worker.duty() != Duty::Suspect && worker.became_ready();
        let others_are_ready = self.seats.workers_mut().any(is_ready);
        let mut from = 0;
        self.seats.sorted();
        let before = self.hold.spent();
        while let Some(seat) = self.seats.roster().next(Set::Timed, from) {
            if self.hold.spent() - before >= hold::MOST {
                // What came back is a hold's work by itself. The workers before this one have nothing more to lose.
                timers.wait_until(now_ns);
                self.alarm.wake_now();
                break;
            }
            from = seat + 1;
            self.end_leaving(seat, now_ns);
            let Some((view, question)) = self.view(seat, others_are_ready, answers, now_ns) else { continue };
            let question = question.filter(|_| view.sight == Sight::NotTaken);
            came_back |= self.act(seat, patience::judge(&view, now_ns), question, now_ns, &mut timers);
        }
        if came_back && self.dispatch() {
            self.keep_attention();
        }
        timers
    }

    /// The same for a caller, who does not look into /proc: the supervisor does. Gives the next moment at
    /// which there is something to see to.
    pub(crate) fn run_timers_of_caller(&mut self) -> Option<u64> {
        let timers = self.run_timers(&[]);
        let mut is_at_work = |question: &Question| {
            self.seats.worker_mut(question.seat).is_some_and(|worker| worker.duty() == Duty::Works)
        };
        // The supervisor checks suspects and leaving workers itself.
        if timers.questions.iter().any(&mut is_at_work) {
            self.alarm.wake_now();
        }
        timers.next_ns
    }

    /// Pieces that may start again now do. True if any does.
    pub(super) fn start_delayed(&mut self, now_ns: u64) -> bool {
        if self.delayed.is_empty() {
            return false;
        }
        let due = self.delayed.take_due(now_ns, self.hold.pieces_left());
        self.hold.spend_pieces(due.len());
        let any = !due.is_empty();
        for (key, piece) in due {
            self.start_again(key, piece);
        }
        any
    }

    fn start_again(&mut self, key: TaskKey, piece: WaitingPiece) {
        if matches!(self.phase, Phase::Open) {
            return self.work.take_back_waiting(key, piece);
        }
        // Nothing begins any more, and not again either.
        let wake = self.work.fail_one(key, piece, &Reason::shut_down());
        self.wakes.add(wake);
    }

    /// Kills a worker that is to be replaced and does not leave.
    fn end_leaving(&mut self, seat: usize, now_ns: u64) {
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        if let Some(worker) = self.seats.worker_mut(seat)
            && worker.leaves_since_ns().is_some_and(|since_ns| since_ns + LEAVE_NS <= now_ns)
        {
            let kill_by = worker.kill();
            self.see_to_kill(seat, kill_by);
        }
    }

    /// What is known of a worker.
    fn view(
        &mut self,
        seat: usize,
        others_are_ready: bool,
        answers: &[(Question, Answer)],
        now_ns: u64,
    ) -> Option<(WorkerView, Option<Question>)> {
        let generation = self.seats.get_mut(seat)?.generation();
        let worker = self.seats.worker_mut(seat)?;
        if worker.was_killed() || worker.end().is_some() {
            return None;
        }
        let question = worker.has_process().then(|| Question { seat, generation, pidfd: worker.pidfd().cloned() });
        let (Ok(progress), Ok(has_read_all)) = (worker.link.progress(now_ns), worker.link.has_read_all()) else {
            let kill_by = worker.distrust();
            self.see_to_kill(seat, kill_by);
            return None;
        };
        let answer = question.as_ref().and_then(|it| answers.iter().find(|(asked, _)| asked.is_same(it)));
        let sight = match answer {
            None => Sight::NotTaken,
            Some((_, None)) => Sight::Unknown,
            Some((_, Some((activity, cpu_ns)))) => {
                let used_ns = worker.seen(*cpu_ns);
                Sight::Taken { activity: *activity, used_ns }
            }
        };
        if worker.duty() == Duty::Leaves && has_read_all && matches!(sight, Sight::Taken { used_ns: 1.., .. }) {
            worker.watch_anew(now_ns);
        }
        let view = WorkerView {
            duty: worker.duty(),
            is_ready: worker.became_ready(),
            others_are_ready,
            progress,
            has_read_all,
            sight,
            watched_since_ns: worker.watched_since_ns(),
            patience_ns: self.patience.time_ns(self.counts.pieces_done),
            graced: worker.graced(),
        };
        Some((view, question))
    }

    /// Acts on a verdict. True if pieces came back, or a worker takes pieces again.
    fn act(
        &mut self,
        seat: usize,
        verdict: Verdict,
        question: Option<Question>,
        now_ns: u64,
        timers: &mut Timers,
    ) -> bool {
        match verdict {
            Verdict::Wait { until_ns } => {
                if let Some(until_ns) = until_ns {
                    timers.wait_until(until_ns);
                }
                return false;
            }
            Verdict::Look { until_ns } => {
                self.ask(seat, question, until_ns, now_ns, timers);
                return false;
            }
            Verdict::Grace { sequence, until_ns } => {
                if let Some(worker) = self.seats.worker_mut(seat) {
                    worker.grace(sequence);
                }
                timers.wait_until(until_ns);
                return false;
            }
            Verdict::Trust => {
                if let Some(worker) = self.seats.worker_mut(seat) {
                    worker.become_trusted();
                }
                // What runs may have a limit.
                timers.wait_until(now_ns);
            }
            Verdict::Suspect { keeps_oldest } => {
                self.suspect(seat, keeps_oldest, now_ns);
                timers.wait_until(now_ns + NOT_BEGUN_NS);
            }
            Verdict::PassOver => {
                self.revoke_all(seat);
                timers.wait_until(now_ns + NOT_BEGUN_NS);
            }
            Verdict::Kill => {
                self.kill_unbegun(seat);
                if self.seats.worker(seat).is_some_and(|worker| !worker.was_killed()) {
                    // It has begun at the last moment: it is trusted again, and its limit counts.
                    timers.wait_until(now_ns);
                }
                return false;
            }
            Verdict::KillOverrun { sequence } => self.kill_overrun(seat, sequence),
        }
        true
    }

    /// What a worker's process does is asked, and once that is known not again until that moment: each question costs the
    /// supervisor a turn at once. Without a question it was answered in this turn.
    fn ask(&mut self, seat: usize, question: Option<Question>, until_ns: u64, now_ns: u64, timers: &mut Timers) {
        let Some(worker) = self.seats.worker_mut(seat) else { return };
        match question {
            None => worker.see_until(until_ns),
            Some(_) if now_ns < worker.seen_until_ns() => return timers.wait_until(worker.seen_until_ns()),
            Some(question) => timers.questions.push(question),
        }
        timers.wait_until(until_ns);
    }

    /// A worker does not begin what it was given: others get it. With `keeps_oldest` the oldest piece stays: the worker may
    /// have begun it and damaged its word, and then it must not begin a second time elsewhere. What the process does is
    /// found out at once.
    pub(super) fn suspect(&mut self, seat: usize, keeps_oldest: bool, now_ns: u64) {
        let Core { seats, work, lane, alarm, hold, .. } = self;
        let Some(worker) = seats.worker_mut(seat) else { return };
        let kept = usize::from(keeps_oldest);
        hold.spend_pieces(dispatch::revoke_newest(worker, work, worker.link.in_flight().saturating_sub(kept)));
        if worker.link.in_flight() <= kept {
            worker.become_suspect(now_ns);
            lane.leave_seat(seat);
            // The supervisor looks, and the caller that found it may go.
            alarm.wake_now();
        }
    }

    /// Kills a worker that does not do its duty. What it has not begun goes to others once it is dead.
    pub(super) fn kill_unbegun(&mut self, seat: usize) {
        if let Some(worker) = self.seats.worker_mut(seat) {
            let is_suspect = worker.duty() == Duty::Suspect;
            let Some(kill_by) = worker.kill_unbegun() else { return };
            self.see_to_kill(seat, kill_by);
            if is_suspect {
                self.patience.killed(self.counts.pieces_done);
            }
        }
    }

    /// Kills a worker whose piece ran too long, and no other piece with it.
    fn kill_overrun(&mut self, seat: usize, sequence: u32) {
        self.revoke_all(seat);
        self.collect_rest_from(seat);
        // It may have answered in the last moment.
        if let Some(worker) = self.seats.worker_mut(seat).filter(|worker| worker.link.runs(sequence)) {
            let kill_by = worker.kill_overrun(sequence);
            self.see_to_kill(seat, kill_by);
            failpoint!("parent-overrun-killed");
        }
    }
}
