//! What runs pieces on other hosts, as a crate for one network implements it.
//!
//! | who                   | calls                            | when                                                        |
//! |-----------------------|----------------------------------|-------------------------------------------------------------|
//! | the task              | [`Engine::begin`]                | once, before anything else                                  |
//! | the task              | [`Engine::wake`]                 | there are pieces to [draw](Job::draw), or the job was changed |
//! | the engine            | [`Job::draw`], [`Job::settle`]   | from its own threads, at any time                           |
//! | the task              | [`Engine::stop`]                 | what no host has yet never begins: it is [given back](Job::give_back) |
//! | the task              | [`Engine::end`]                  | nothing that has no outcome is wanted any more; perhaps again |
//!
//! Invariant: none of the calls of an engine is made under a lock of the task, and none waits for a caller.

use crate::codec::Format;
use crate::codec::function::Function;
use crate::error::Error;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What runs the pieces of one task on other hosts.
///
/// All methods but [`end`](Self::end) return at once, and none may panic.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// The task is made. From now on pieces may be there.
    fn begin(&self, job: Job);

    /// There may be pieces to draw that there were not before, or the [settings](Job::settings) are others, or the
    /// [deadline](Job::time_left) is. It may be called within a call of the [`Job`].
    fn wake(&self);

    /// What was drawn and is with no host never begins: the engine [gives it back](Job::give_back). The rest comes to its end.
    fn stop(&self);

    /// All that was drawn and has no outcome is not wanted any more: its owner has left the task, or it was cancelled. With `kill`, what
    /// runs of it is killed. It may take a moment to remove what the job has left elsewhere, since `main` may return next. It may be called again, from
    /// another thread or within a call of the [`Job`], and then perhaps with `kill`.
    fn end(&self, kill: bool);

    /// What it does now.
    fn figures(&self) -> Figures;
}

/// What an engine does now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Pieces that hosts have and of which there is no outcome.
    pub running: usize,
    /// Starts of pieces that were started before.
    pub retried: usize,
    /// How many pieces are worth handing out before the first of them has an outcome.
    pub ahead: usize,
}

/// A piece that an engine draws. It has to keep a copy until the piece has an outcome.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Its number in the task, from 0; they are drawn in this order.
    pub number: usize,
    /// What it calls.
    pub function: &'static Function,
    /// Encoded in the task's format.
    pub arguments: &'a [u8],
}

/// How a piece has ended.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// Its encoded result, or its error, to which the task adds the piece's name.
    pub result: Result<Cow<'a, [u8]>, Error>,
    /// Where it has run; `None` where the engine itself has ended it.
    pub host: Option<Arc<str>>,
    /// How many times it was started.
    pub attempts: u32,
    /// How long it ran the last time; zero if that is not known.
    pub took: Duration,
}

/// How the pieces of a job are run. No piece is there before they are final.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the task is called.
    pub name: Option<Arc<str>>,
    /// Of arguments and results.
    pub format: Format,
    /// How long each piece may run.
    pub timeout: Option<Duration>,
    /// How many times a piece starts again after its worker was lost …
    pub retries: u32,
    /// … or after it panicked …
    pub retry_panics: bool,
    /// … or after its function returned an error.
    pub retry_failures: bool,
}

/// A task as its engine knows it. It keeps nothing alive: once its owner has left, there is nothing to draw, and outcomes are dropped.
#[derive(Clone)]
pub struct Job(pub(super) Weak<dyn OfTask>);

/// The task's end of a job. Each method is the job's.
pub(super) trait OfTask: Send + Sync {
    fn draw(&self, take: &mut dyn FnMut(Piece<'_>) -> bool);
    fn waiting(&self) -> usize;
    fn settings(&self) -> Settings;
    fn time_left(&self) -> Option<Duration>;
    fn expire(&self);
    fn settle(&self, outcomes: &mut dyn Iterator<Item = (usize, Outcome<'_>)>) -> usize;
    fn give_back(&self, pieces: &mut dyn Iterator<Item = usize>);
    fn is_awaited(&self) -> bool;
    fn fail(&self, error: &Error);
    fn is_over(&self) -> bool;
}

impl Job {
    /// Gives pieces to `take`, in their order and without a gap, until it says false of one or there are none to be drawn. The one that it
    /// refused comes first the next time. Must not use the job within `take`.
    ///
    /// While more results than the task's bound are unread, there is none to be drawn.
    pub fn draw(&self, mut take: impl FnMut(Piece<'_>) -> bool) {
        if let Some(task) = self.0.upgrade() {
            task.draw(&mut take);
        }
    }

    /// How many pieces were handed out and not drawn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.upgrade().map_or(0, |task| task.waiting())
    }

    /// How pieces are run.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.0.upgrade().map(|task| task.settings()).unwrap_or_default()
    }

    /// How long it is until the task's deadline; `None` if it has none. Once it is zero, the engine calls [`expire`](Self::expire): the
    /// task has no clock of its own.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.0.upgrade().and_then(|task| task.time_left())
    }

    /// The deadline of the task has passed: all that has no outcome ends in [`TimedOut`](crate::ErrorKind::TimedOut). Does nothing
    /// before that.
    pub fn expire(&self) {
        if let Some(task) = self.0.upgrade() {
            task.expire();
        }
    }

    /// Pieces have ended, each with its number. The first outcome of a piece counts, others are dropped, and so are those of pieces that were not
    /// drawn. Gives how many have counted.
    pub fn settle<'a>(&self, outcomes: impl IntoIterator<Item = (usize, Outcome<'a>)>) -> usize {
        self.0.upgrade().map_or(0, |task| task.settle(&mut outcomes.into_iter()))
    }

    /// Pieces that were drawn never begin, since the task was [stopped](Engine::stop).
    pub fn give_back(&self, pieces: impl IntoIterator<Item = usize>) {
        if let Some(task) = self.0.upgrade() {
            task.give_back(&mut pieces.into_iter());
        }
    }

    /// True while a caller waits for an outcome: until one comes, it hands out nothing more.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.0.upgrade().is_some_and(|task| task.is_awaited())
    }

    /// Nothing runs any more: all pieces that have no outcome, and those that come, end in this error.
    pub fn fail(&self, error: &Error) {
        if let Some(task) = self.0.upgrade() {
            task.fail(error);
        }
    }

    /// True once nothing that was drawn is wanted any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.upgrade().is_none_or(|task| task.is_over())
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}
