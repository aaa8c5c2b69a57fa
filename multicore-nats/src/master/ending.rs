//! How a job ends: its subjects are purged, and agents are told of a cancel.

use super::{Master, Output, Phase, Purpose, SECOND_NS, Trouble};
use crate::frame::Word;
use crate::transport::{Request, Stream};

/// What is not purged after this time stays until its stream drops it.
const PATIENCE_NS: u64 = 2 * SECOND_NS;

/// A cancel is said this number of times, each after [`SAY_NS`]: core messages may be lost.
const SAYS: u32 = 3;
const SAY_NS: u64 = SECOND_NS / 5;

#[derive(Debug, Default)]
pub(super) struct Ending {
    result: Option<Result<(), Trouble>>,
    until: u64,
    says_left: u32,
    say_at: u64,
}

impl Master {
    /// The job ends. With trouble other than a cancel, what is on the server belongs to another master, or cannot be reached.
    pub(super) fn end(&mut self, now: u64, result: Result<(), Trouble>) {
        if matches!(self.phase, Phase::Ending | Phase::Over) {
            return;
        }
        let was_connected = self.phase != Phase::Offline;
        let is_cancelled = result == Err(Trouble::Cancelled);
        self.phase = Phase::Ending;
        self.ending = Ending { result: Some(result.clone()), until: now, says_left: 0, say_at: now };
        let is_lost = matches!(result, Err(Trouble::Host(_) | Trouble::Taken | Trouble::Differs));
        let is_claimed = self.claim.as_ref().is_none_or(|claim| claim.is_mine);
        if is_lost || !was_connected || !is_claimed {
            return;
        }
        self.ending.until = now + PATIENCE_NS;
        if is_cancelled {
            self.ending.says_left = SAYS;
        }
        let (build, job) = (self.settings.build, self.settings.job);
        let names = &self.settings.namespace;
        let mut purges = vec![(Stream::Work, names.work(build, job)), (Stream::Results, names.results(job))];
        if self.claim.is_some() {
            purges.push((Stream::Records, names.record(job)));
        }
        for (stream, subject) in purges {
            self.ask_for(Purpose::End, |token| Request::Purge { token, stream, subject });
        }
        if self.has_objects {
            self.ask(Request::DropObjects { prefix: format!("{job}/") });
        }
    }

    pub(super) fn finish(&mut self, now: u64) {
        // Without a connection, too: nothing is missing, and what is left on the server goes with its time.
        if self.is_sealed && self.pieces.all_taken() && self.fetches.is_empty() {
            self.end(now, Ok(()));
        }
        if self.phase != Phase::Ending {
            return;
        }
        if self.ending.says_left > 0 && self.ending.say_at <= now {
            self.ending.says_left -= 1;
            self.ending.say_at = now + SAY_NS;
            self.say(Word::End);
        }
        if self.ending.until <= now || !self.asked.awaits(Purpose::End) && self.ending.says_left == 0 {
            self.phase = Phase::Over;
            let result = self.ending.result.take().expect("it is ending");
            self.outputs.push_back(Output::Over(result));
        }
    }

    pub(super) fn ending_at(&self) -> u64 {
        match self.ending.says_left {
            0 => self.ending.until,
            _ => self.ending.until.min(self.ending.say_at),
        }
    }
}
