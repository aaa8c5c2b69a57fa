//! What a subscriber of `tracing` is told: a span for each task, events of its pieces and of a pool's workers.
//!
//! | what             | level | fields                                                  | told by                                  |
//! |------------------|-------|---------------------------------------------------------|------------------------------------------|
//! | `multicore::task`| INFO  | `name`, `pieces`                                        | the thread that has the task             |
//! | `piece.done`     | TRACE | `piece`, `worker`, `pid`, `attempts`, `busy_us`, `outcome` | the thread `multicore-log`; without a pool the one that runs the piece |
//! | `piece.lost`     | WARN  | `piece`, `worker`, `pid`, `attempts`, `again`, `cause`  | the thread `multicore-log`               |
//! | `worker.started` | DEBUG | `worker`, `pid`                                         | the same                                 |
//! | `worker.lost`    | WARN  | `worker`, `pid`, `cause`                                | the same                                 |
//! | `events.left_out`| WARN  | `count`                                                 | the same                                 |
//!
//! A subscriber is user code, and so is the end of a span. A backend that works under a lock thus holds a task's span by a [`Weak`] alone, and
//! what it hands to the thread is freed there.
//!
//! Invariant: no panic of a subscriber leaves this file, and what a subscriber does with tasks while it is called is not told it again.

use crate::codec::call::drop_payload;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use tracing::dispatcher::{self, Dispatch, WeakDispatch};
use tracing::subscriber::NoSubscriber;
use tracing::{Id, Level, Span, event, field, info_span, level_enabled};

/// The target of spans and events.
const TARGET: &str = "multicore";

thread_local! {
    /// This thread calls the subscriber.
    static TELLS: Cell<bool> = const { Cell::new(false) };
}

/// Calls the subscriber. A panic of its own ends here.
fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    let before = TELLS.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    TELLS.set(before);
    result.map_err(drop_payload).ok()
}

/// True if somebody hears of workers that have started. One load.
pub(crate) fn hears_of_workers() -> bool {
    level_enabled!(Level::DEBUG)
}

/// True if somebody hears of what was lost. One load.
pub(crate) fn hears_of_losses() -> bool {
    level_enabled!(Level::WARN)
}

/// The span of a task, and the subscriber that had it when it was made. Its owner holds it until it lets go of the task.
#[derive(Debug)]
pub(crate) struct TaskSpan {
    span: Option<Span>,
    /// `None` at its end alone.
    subscriber: Option<Dispatch>,
    hears_of_pieces: bool,
}

impl TaskSpan {
    /// The span of a task that is made now, inside of the one in which its thread is. `None` if nobody would hear of it.
    #[inline]
    pub(crate) fn begin() -> Option<Arc<TaskSpan>> {
        if hears_of_losses() { Self::begin_heard() } else { None }
    }

    #[cold]
    fn begin_heard() -> Option<Arc<TaskSpan>> {
        if TELLS.get() {
            return None;
        }
        // Others may listen on other threads.
        if dispatcher::get_default(|current| current.is::<NoSubscriber>()) {
            return None;
        }
        contained(|| {
            let span = info_span!(target: TARGET, "multicore::task", name = field::Empty, pieces = field::Empty);
            // By the level alone: a question to the subscriber without an event that follows has layers with filters of their own lose the
            // program's next event (tracing issue 2519).
            let hears_of_pieces = level_enabled!(Level::TRACE);
            let subscriber = Some(dispatcher::get_default(Dispatch::clone));
            Arc::new(TaskSpan { span: Some(span), subscriber, hears_of_pieces })
        })
    }

    /// What a backend knows of it.
    pub(crate) fn traced(self: &Arc<Self>) -> Traced {
        Traced { span: Arc::downgrade(self), hears_of_losses: true, hears_of_pieces: self.hears_of_pieces }
    }

    fn record(&self, record: impl FnOnce(&Span)) {
        contained(|| self.span.as_ref().map(record));
    }

    /// The task was named.
    pub(crate) fn name(&self, name: &str) {
        self.record(|span| _ = span.record("name", name));
    }

    /// Its owner lets go of the task.
    pub(crate) fn end(&self, pieces: usize) {
        self.record(|span| _ = span.record("pieces", pieces as u64));
    }
}

impl Drop for TaskSpan {
    fn drop(&mut self) {
        let last = (self.span.take(), self.subscriber.take());
        contained(|| drop(last));
    }
}

/// What a backend knows of a task's span.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traced {
    /// Gone once its owner has let go of the task.
    span: Weak<TaskSpan>,
    /// Somebody heard at this level when it was made, and it is none that a subscriber made.
    pub(crate) hears_of_losses: bool,
    pub(crate) hears_of_pieces: bool,
}

impl Traced {
    /// What was told of it is told inside of the span, as long as the owner has the task. Where a lock is held, what this gives must be freed
    /// elsewhere.
    pub(crate) fn span(&self) -> Option<Arc<TaskSpan>> {
        self.span.upgrade()
    }
}

/// Something that is to be told.
#[derive(Debug)]
pub(crate) struct Event {
    /// Of a piece whose task has its owner.
    pub(crate) span: Option<Arc<TaskSpan>>,
    pub(crate) worker: Option<usize>,
    pub(crate) pid: Option<u32>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    PieceDone {
        piece: usize,
        attempts: u32,
        busy_ns: u64,
        outcome: &'static str,
    },
    PieceLost {
        piece: usize,
        attempts: u32,
        /// It starts again.
        again: bool,
        cause: String,
    },
    WorkerStarted,
    WorkerLost {
        cause: String,
    },
}

impl Event {
    /// The bytes that it has beside itself.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.what {
            What::PieceLost { cause, .. } | What::WorkerLost { cause } => cause.len(),
            What::PieceDone { .. } | What::WorkerStarted => 0,
        }
    }

    /// Tells it to the subscriber of its task; if it has none, to the one that its pool was made under, or to this thread's. It is called
    /// without a lock.
    pub(crate) fn tell(self, of_pool: &Listener) {
        contained(|| {
            match self.span.as_deref() {
                Some(TaskSpan { subscriber: Some(subscriber), span, .. }) => {
                    dispatcher::with_default(subscriber, || self.emit(span.as_ref().and_then(Span::id)))
                }
                _ => of_pool.with(|| self.emit(None)),
            }
            drop(self);
        });
    }

    fn emit(&self, parent: Option<Id>) {
        let worker = self.worker.map(|worker| worker as u64);
        let pid = self.pid;
        match &self.what {
            &What::PieceDone { piece, attempts, busy_ns, outcome } => {
                let (piece, busy_us) = (piece as u64, busy_ns / 1000);
                event!(name: "piece.done", target: TARGET, parent: parent, Level::TRACE,
                    { piece, worker, pid, attempts, busy_us, outcome }, "piece.done");
            }
            What::PieceLost { piece, attempts, again, cause } => {
                let (piece, attempts, again, cause) = (*piece as u64, *attempts, *again, cause.as_str());
                event!(name: "piece.lost", target: TARGET, parent: parent, Level::WARN,
                    { piece, worker, pid, attempts, again, cause }, "piece.lost");
            }
            What::WorkerStarted => {
                event!(name: "worker.started", target: TARGET, parent: parent, Level::DEBUG, { worker, pid }, "worker.started");
            }
            What::WorkerLost { cause } => {
                let cause = cause.as_str();
                event!(name: "worker.lost", target: TARGET, parent: parent, Level::WARN, { worker, pid, cause }, "worker.lost");
            }
        }
    }
}

/// The subscriber under which a pool was made; it is not kept alive.
#[derive(Debug, Default)]
pub(crate) struct Listener(Option<WeakDispatch>);

impl Listener {
    pub(crate) fn current() -> Listener {
        Listener(dispatcher::get_default(|current| (!current.is::<NoSubscriber>()).then(|| current.downgrade())))
    }

    fn with(&self, call: impl FnOnce()) {
        match self.0.as_ref().and_then(WeakDispatch::upgrade) {
            Some(subscriber) => dispatcher::with_default(&subscriber, call),
            None => call(),
        }
    }

    /// The subscriber was too slow for this number of events.
    pub(crate) fn tell_left_out(&self, count: u64) {
        contained(|| {
            self.with(|| {
                event!(name: "events.left_out", target: TARGET, parent: None::<Id>, Level::WARN, { count }, "events.left_out");
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Metadata;
    use tracing::level_filters::LevelFilter;
    use tracing::span::{Attributes, Record};
    use tracing::subscriber::with_default;

    /// Hears all that is at most of this level.
    struct Hears(LevelFilter);

    impl tracing::Subscriber for Hears {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= self.0
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            Some(self.0)
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &tracing::Event<'_>) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    /// Pieces are timed only for who hears of them.
    #[test]
    fn a_task_has_what_its_subscriber_hears() {
        assert!(TaskSpan::begin().is_none(), "nobody listens");
        for (level, has_any, has_span, hears_of_pieces) in [
            (LevelFilter::OFF, false, false, false),
            (LevelFilter::ERROR, false, false, false),
            (LevelFilter::WARN, true, false, false),
            (LevelFilter::DEBUG, true, true, false),
            (LevelFilter::TRACE, true, true, true),
        ] {
            with_default(Hears(level), || {
                let begun = TaskSpan::begin();
                assert_eq!(begun.is_some(), has_any, "{level}");
                let Some(span) = begun else { return };
                assert_eq!(
                    (span.span.as_ref().is_some_and(|span| !span.is_disabled()), span.traced().hears_of_pieces),
                    (has_span, hears_of_pieces),
                    "{level}"
                );
                assert!(contained(TaskSpan::begin).unwrap().is_none(), "the subscriber itself made this one");
                let traced = span.traced();
                assert!(traced.span().is_some());
                drop(span);
                assert!(traced.span().is_none(), "its owner has let go of it");
            });
        }
    }
}
