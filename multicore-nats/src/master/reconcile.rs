//! What a master does when nothing comes back: it makes its reader anew and counts what the server has. If that is less than what is open, the open chunks are
//! published again.
//!
//! Counted are the messages of the job's own subject in W: a work queue keeps what is handed out, so that is what waits and what is with agents. The numbers of
//! the consumer would be those of all jobs of the build.

use super::{Master, Phase, Purpose, SECOND_NS, Trouble};
use crate::transport::{Failure, Reply, Request, Stream};

/// At least this time of quiet comes before a count.
const LEAST_QUIET_NS: u64 = 3 * SECOND_NS;

/// This number of times what is open is published again without any outcome; then the job fails.
const ROUNDS: u32 = 3;

/// Since when nothing has come back.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    since: u64,
    /// What has come back when the count was asked for is told by this.
    asked_since: u64,
    rounds: u32,
}

impl Quiet {
    /// The master begins to wait.
    pub(super) fn begin(&mut self, now: u64) {
        self.since = now;
    }

    /// Something has come back.
    pub(super) fn heard(&mut self, now: u64) {
        (self.since, self.rounds) = (now, 0);
    }
}

impl Master {
    /// When the quiet has lasted long enough.
    pub(super) fn reconcile_at(&self) -> u64 {
        match self.phase == Phase::Running && self.chunks.sent() > 0 {
            true => self.quiet.since.saturating_add(self.settings.lease_ns.max(LEAST_QUIET_NS)),
            false => u64::MAX,
        }
    }

    pub(super) fn reconcile(&mut self, now: u64) {
        if self.reconcile_at() > now || self.asked.awaits(Purpose::Count) {
            return;
        }
        // The next round comes after as much quiet again.
        self.quiet.begin(now);
        self.quiet.asked_since = now;
        self.read_anew();
        let (job, build) = (self.settings.job, self.settings.build);
        let (stream, subject) = (Stream::Work, self.settings.namespace.work(build, job));
        self.ask_for(Purpose::Count, |token| Request::Count { token, stream, subject });
    }

    /// The server has this number of chunks.
    pub(super) fn counted(&mut self, now: u64, result: Result<Reply, Failure>) {
        let there = match result {
            Ok(Reply::Count(there)) => there,
            Ok(_) | Err(Failure::NoAnswer | Failure::Disconnected) => return,
            Err(failure) => return self.prepare_later(now, &failure),
        };
        if self.quiet.since != self.quiet.asked_since || there >= self.chunks.sent() as u64 {
            return;
        }
        self.quiet.rounds += 1;
        if self.quiet.rounds > ROUNDS {
            let open = self.chunks.open();
            let text = format!("{open} chunks were published {ROUNDS} times more, and no outcome came back");
            return self.end(now, Err(Trouble::Host(text)));
        }
        self.close_whole();
        self.chunks.publish_again(now);
    }
}
