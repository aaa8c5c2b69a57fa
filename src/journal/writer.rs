//! The thread that writes a journal: it takes outcomes, records them, and settles them once they are as durable as the task asked for.
//!
//! For each outcome, in this order: it comes; its record is written; the record is synced, with its group; its caller may have it. If the
//! program dies
//!
//! - before the record is written, the piece is run again,
//! - after that, the piece is done; it was given to nobody yet, or was.
//!
//! Where the caller confirms, the result is given first, and the record is written when it was confirmed.
//!
//! Invariant: the first error of the file is the last that is tried: nothing is written or synced after it.

use super::file::unusable;
use super::format::{Ended, How, Kind, OUTCOME_BYTES};
use super::log::{Fault, Log};
use super::recorder::{Order, Recorder, Unsynced};
use super::settings::Durability;
use super::storage::Storage;
use crate::backend::waking::Until;
use crate::backend::{Finished, Reader, Settled, Wanted};
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::signals::BlockedSignals;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// This many bytes of records are written at once.
const WRITTEN_BYTES: usize = 256 * 1024;

/// How often it is looked whether the path still leads to the file, where no group ends.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    log: Log<Box<dyn Storage + Send>>,
    recorder: Arc<Recorder>,
    /// What is recorded and not synced.
    group: Vec<(usize, Settled)>,
    unsynced: Unsynced,
    looked: Instant,
    has_failed: bool,
}

/// Starts the thread.
pub(super) fn start(log: Log<Box<dyn Storage + Send>>, recorder: &Arc<Recorder>) -> io::Result<()> {
    let recorder = Arc::clone(recorder);
    let writer = Writer {
        log,
        recorder,
        group: Vec::new(),
        unsynced: Unsynced::default(),
        looked: Instant::now(),
        has_failed: false,
    };
    // The program's signals are for its own threads.
    let signals = BlockedSignals::new();
    let thread = std::thread::Builder::new().name("multicore-journal".to_string()).spawn(move || writer.run());
    drop(signals);
    thread.map(drop)
}

/// If the writer ends in whatever way, nobody waits for it for ever.
struct Ending(Arc<Recorder>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Error::new(ErrorKind::Journal, "the thread that writes the journal has panicked"));
        }
        self.0.is_over();
    }
}

impl Writer {
    fn run(mut self) {
        let ending = Ending(Arc::clone(&self.recorder));
        loop {
            match self.recorder.await_order(self.unsynced) {
                Order::Confirm(ended) => self.attempt(|writer| writer.confirm(&ended)),
                Order::Record(finished) => self.record(finished),
                Order::Flush(flush) => {
                    self.record_all();
                    self.attempt(Writer::sync);
                    self.recorder.has_flushed(flush);
                }
                Order::Sync => self.attempt(Writer::sync),
                Order::Take(reader, deadline) => self.take(reader, deadline),
                Order::End => break,
                Order::Wait(_) => {}
            }
        }
        failpoint!("journal-ending");
        if !self.has_failed && self.recorder.durability != Durability::None {
            // All is synced. That this is said is of use only where the file is damaged later.
            let _ = self.log.close();
        }
        self.recorder.let_files_go();
        let Writer { log, .. } = self;
        drop(log);
        failpoint!("journal-unlocked");
        drop(ending);
    }

    /// Does something with the file. The first error is the last: all that is not recorded fails.
    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Fault>) {
        if self.has_failed {
            return;
        }
        if let Err(fault) = act(self) {
            self.has_failed = true;
            self.unsynced = Unsynced::default();
            self.group.clear();
            self.recorder.fail(&unusable(&self.recorder.path, fault));
        }
    }

    /// Waits for an outcome, until the deadline, and records it with all that are there.
    fn take(&mut self, reader: Option<Reader>, deadline: Option<Instant>) {
        let Recorder { inner, key, .. } = &*self.recorder;
        if let Some(reader) = reader {
            inner.tell_reader(*key, reader);
        }
        let finished = inner.take_finished(*key, Wanted::First { lowest: 0 }, Until::at(deadline));
        self.recorder.has_taken();
        if let Some(finished) = finished {
            let mut all = vec![finished];
            all.append(&mut inner.take_all_finished(*key).0);
            self.record(all);
        }
    }

    /// Records all that has finished.
    fn record_all(&mut self) {
        // What has ended is to be in the file, whether or not its caller may have it.
        #[cfg(feature = "log")]
        self.recorder.inner.hold_no_piece(self.recorder.key);
        let mut has_more = true;
        while has_more {
            let finished;
            (finished, has_more) = self.recorder.inner.take_all_finished(self.recorder.key);
            self.record(finished);
        }
    }

    fn record(&mut self, finished: Vec<Finished>) {
        let identities = self.recorder.come(&finished);
        failpoint!("journal-outcomes-come");
        self.attempt(|writer| {
            let (mut at_once, mut unconfirmed) = (Vec::new(), Vec::new());
            let now_ns = since_1970_ns();
            for (finished, (number, key)) in finished.into_iter().zip(identities) {
                let Finished { settled, attempts, took_ns, .. } = finished;
                let settled = match settled {
                    Settled::Failed(error) => Settled::Failed(error.with_number(number)),
                    done @ Settled::Done(_) => done,
                };
                let ended = Ended { key, attempts, finished_ns: now_ns, took_ns, how: writer.how(&settled) };
                if writer.recorder.counting.confirmed && matches!(settled, Settled::Done(_)) {
                    unconfirmed.push((number, ended));
                    at_once.push((number, settled));
                } else {
                    match writer.put(number, &ended, settled)? {
                        Put::Recorded(settled) if writer.syncs() => {
                            // What is not in the record waits for the sync all the same.
                            let is_kept = matches!(ended.how, How::Result);
                            writer.unsynced.bytes += if is_kept { 0 } else { settled.bytes() };
                            writer.group.push((number, settled));
                        }
                        Put::Recorded(settled) | Put::NotRecorded(settled) => at_once.push((number, settled)),
                    }
                }
            }
            writer.write()?;
            failpoint!("journal-records-written");
            writer.recorder.settle(at_once, unconfirmed);
            failpoint!("journal-settled-at-once");
            Ok(())
        });
    }

    /// How a piece has ended, as a record tells it.
    fn how(&self, settled: &Settled) -> How {
        match settled {
            Settled::Failed(error) => How::Failed(error.kind()),
            Settled::Done(reply) if reply.len() == 0 => How::Result,
            Settled::Done(_) if self.recorder.counting.results => How::Result,
            Settled::Done(_) => How::NoResult,
        }
    }

    /// Puts the record of an outcome, if such an outcome has one.
    fn put(&mut self, number: usize, ended: &Ended, settled: Settled) -> Result<Put, Fault> {
        // A piece that never began, because there was no worker for it, is to begin in a later run.
        let Some(head) = ended.encode().filter(|_| ended.attempts > 0) else { return Ok(Put::NotRecorded(settled)) };
        let message;
        let rest = match (&settled, ended.how) {
            (Settled::Failed(error), _) => {
                message = error.what_happened();
                message.as_bytes()
            }
            (Settled::Done(reply), How::Result) => reply.as_slice(),
            (Settled::Done(_), _) => &[],
        };
        let put = self.log.put(ended.kind(), &[&head, rest]);
        match put {
            Ok(_) => {}
            // The others of its task may be shorter.
            Err(fault @ Fault::TooLong { .. }) => {
                let message = format!("has a result that has no record: {}", unusable(&self.recorder.path, fault));
                let error = self.recorder.piece_error(number, message, ended.attempts, settled.bytes());
                return Ok(Put::NotRecorded(Settled::Failed(error)));
            }
            Err(fault) => return Err(fault),
        }
        if self.log.put_bytes() >= WRITTEN_BYTES {
            self.write()?;
        }
        Ok(Put::Recorded(settled))
    }

    /// Records what the caller has confirmed.
    fn confirm(&mut self, ended: &[Ended]) -> Result<(), Fault> {
        for ended in ended {
            let body: [u8; OUTCOME_BYTES] = ended.encode().expect("what is done is recorded");
            self.log.put(Kind::Confirmed, &[&body])?;
        }
        self.write()?;
        failpoint!("journal-confirmations-written");
        Ok(())
    }

    /// True if what is written waits for a sync.
    fn syncs(&self) -> bool {
        self.recorder.durability != Durability::None
    }

    /// Writes what was put. From the first record of a group on its time runs.
    fn write(&mut self) -> Result<(), Fault> {
        let bytes = self.log.put_bytes();
        if bytes == 0 {
            return Ok(());
        }
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.log.check_place()?;
        }
        self.log.write()?;
        let wait = match self.recorder.durability {
            Durability::Each => Duration::ZERO,
            Durability::Group(wait) => wait,
            Durability::None => return Ok(()),
        };
        self.unsynced.bytes += bytes;
        // A time beyond what the clock can tell is as good as a day.
        let due = || {
            let now = Instant::now();
            now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400))
        };
        self.unsynced.due.get_or_insert_with(due);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        if self.unsynced.due.is_none() {
            return Ok(());
        }
        self.log.sync()?;
        failpoint!("journal-synced");
        self.unsynced = Unsynced::default();
        self.recorder.settle(std::mem::take(&mut self.group), Vec::new());
        failpoint!("journal-settled");
        Ok(())
    }
}

/// What became of an outcome.
enum Put {
    Recorded(Settled),
    /// Its piece is run again by a later run.
    NotRecorded(Settled),
}

fn since_1970_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
