//! The state machine of a master: it takes the pieces of one job, hands them out in chunks, and gives each exactly one outcome.
//!
//! It reads no clock and touches no system. [`Master::add`], [`Master::handle`] and [`Master::tick`] bring what happens with its time; [`Master::next_output`] gives
//! what is to be done, [`Master::next_at`] when it wants to be called again.
//!
//! # The phases of a master
//!
//! | phase     | what it does                                                             | what ends it                                                |
//! |-----------|--------------------------------------------------------------------------|-------------------------------------------------------------|
//! | offline   | waits for a connection                                                   | connected: preparing. None for `give_up`: the job fails      |
//! | preparing | makes streams and consumer, claims the record of a named job, makes a reader; each step when the one before is answered | the reader is there: running. A step fails: again from the first |
//! | running   | publishes chunks, reads outcomes                                         | all pieces have one, or it is cancelled: ending. Trouble: preparing, or offline |
//! | ending    | purges the job's subjects                                                | answered, or 2 s later: over                                |
//!
//! Preparing compares when the streams were created. Another W: what is open is published again. Another R: it is read from 1. Another J: the record is
//! written anew. So the first start, a lost connection and a lost store are one path.
//!
//! # A chunk, from the master's side
//!
//! | state   | how it comes there                                                            | what it leads to                                         |
//! |---------|-------------------------------------------------------------------------------|----------------------------------------------------------|
//! | unsent  | pieces wait, and fewer chunks are open than the window                        | sending, when there is a connection                      |
//! | sending | published; its id at the server is the chunk's with the publication's number  | sent by the PubAck; unsent with the same id otherwise    |
//! | sent    | the server has it                                                             | closed by a last frame; unsent with a new id if the server has lost it |
//! | closed  | a last frame was read, or each of its pieces has an outcome                   | -; late outcomes of pieces that have none still count    |
//!
//! A last frame after which pieces of its chunk have no outcome: the host gave them up. Each is published by itself. A chunk of one piece that is given
//! up ends that piece in [`Outcome::Lost`].
//!
//! # Who writes what, and what happens if a side dies
//!
//! | step                              | written by | the master dies after it                            | the server dies after it, without its store           |
//! |-----------------------------------|------------|-----------------------------------------------------|-------------------------------------------------------|
//! | record in J, before any piece that it counts | master | who attaches compares the pieces, and takes the key | it is written anew                               |
//! | chunk in W                        | master     | it is run, and R keeps its outcomes                 | published again, under another id                     |
//! | frame in R                        | agent      | who attaches reads it: the outcomes are found       | outcomes that were read count; open chunks run again  |
//! | outcome given to the caller       | master     | who attaches gives it again                         | it counts                                             |
//! | record in J, each second          | master     | after 3 s without one another master may take the job | written anew; another master's is refused by its sequence |
//! | word on `c`, each 5 s             | master     | agents drop an unnamed job after 60 s, a named one after 7 days | -                                         |
//! | purge at the end                  | master     | what is left is gone after 7 days; a named job whose record is left is found done | -                       |
//!
//! # Attaching
//!
//! A master that finds the record of another one waits until that is 3 s old by the server's clock; if it changes meanwhile, the other one lives, and this one fails. It
//! then writes its own over it, which only one of several can do, because the sequence of the last one is expected. It reads R from 1; and before it publishes anything,
//! W has to be empty: what the former master published still runs, and would run twice.
//!
//! Invariants: a piece has one outcome, the first in the order of R. Outcomes count only for pieces of the chunk that they are sent for, and only if that
//! chunk's id was made by this job's key. No piece is published that the record of a named job does not count.

mod asked;
mod attach;
pub mod canceller;
mod chunks;
mod connect;
mod ending;
mod found;
pub mod hosts;
mod pieces;
mod reading;
mod reconcile;
mod steps;
#[cfg(test)]
mod tests;

pub use self::pieces::{MAX_ARGUMENT_BYTES, Refused};

use self::asked::{Asked, Purpose};
use self::attach::Claim;
use self::chunks::Chunks;
use self::connect::Step;
use self::ending::Ending;
use self::found::Found;
use self::hosts::Hosts;
use self::pieces::Pieces;
use self::reading::{Fetch, Reader};
use self::reconcile::Quiet;
use crate::chunk::Pace;
use crate::frame::{Beat, Control, Limits, Word};
use crate::identity::{Build, ChunkKey, JobId, JobKey, Namespace};
use crate::transport::{Created, Event, Request, Token};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const SECOND_NS: u64 = 1_000_000_000;

/// The server has shown its streams within this time from the start on, or the job fails.
pub const CONNECT_NS: u64 = 5 * SECOND_NS;

/// What failed is tried again after this time.
const RETRY_NS: u64 = SECOND_NS / 4;

/// A full stream takes a chunk when others have left it.
const FULL_NS: u64 = SECOND_NS;

/// How often a master says on `c` that it is there.
pub const BEAT_NS: u64 = 5 * SECOND_NS;

/// Pieces may be handed in until those that wait have this number of bytes.
pub const QUEUE_BYTES: usize = 64 << 20;

/// Where no host was heard for this time, people are told.
const NO_HOST_NS: u64 = 10 * SECOND_NS;

/// What a master is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose jobs these are.
    pub namespace: Namespace,
    /// What runs the pieces.
    pub build: Build,
    /// The job.
    pub job: JobId,
    /// Random: the job's key, unless the job has a name and a record.
    pub key: JobKey,
    /// Random: this master.
    pub master: [u8; 16],
    /// What holds for each piece.
    pub limits: Limits,
    /// How long a host may be silent before its chunks go to another one, in ns.
    pub lease_ns: u64,
    /// How often a chunk is delivered before it is given up.
    pub deliveries: u32,
    /// What a chunk is to take a host, in ns.
    pub chunk_ns: u64,
    /// How long a master goes on without a server, in ns.
    pub give_up_ns: u64,
    /// The longest value of a piece, in bytes.
    pub max_result: u64,
    /// The time since 1970 at the moment 0, in ns: records tell it to people.
    pub epoch_ns: u64,
}

/// How a piece ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It gave this value.
    Value(Bytes),
    /// It failed: the error, encoded.
    Error(Bytes),
    /// Its value is longer than is allowed.
    TooLong {
        /// The length of the value, in bytes.
        bytes: u64,
    },
    /// It was delivered this number of times, and no host came to its end.
    Lost {
        /// The deliveries.
        deliveries: u32,
        /// The hosts that had begun with it, but the first.
        hosts: Vec<String>,
    },
}

/// Why a job ends without all outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It was cancelled.
    Cancelled,
    /// The server is lost, or refuses this user: the reason.
    Host(String),
    /// Another master is at work on the job of this name.
    Taken,
    /// The job of this name was begun with other pieces, another build or other limits.
    Differs,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The server is asked.
    Ask(Request),
    /// A piece has its outcome.
    Outcome {
        /// Its number.
        piece: u32,
        /// How it ended.
        outcome: Outcome,
        /// The host that said so.
        host: Arc<str>,
    },
    /// A line for people.
    Notice(String),
    /// The job is over. Without trouble, each piece has an outcome.
    Over(Result<(), Trouble>),
}

/// What a master has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Chunks of which a later delivery than the first came back.
    pub redelivered: u64,
    /// Outcomes of pieces that had one.
    pub duplicates: u64,
    /// Outcomes of chunks that another master had published.
    pub found: u64,
    /// Messages that were no frames of results.
    pub garbage: u64,
    /// Frames of another job.
    pub other_job: u64,
    /// Frames of chunks that were not given out.
    pub unknown_chunk: u64,
    /// Outcomes of pieces that their chunk does not have.
    pub foreign_piece: u64,
    /// Values that could not be fetched.
    pub lost_objects: u64,
    /// Chunks that were given up.
    pub given_up: u64,
    /// Chunks that were published.
    pub chunks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    Preparing(Step),
    Running,
    Ending,
    Over,
}

/// The state of a master.
#[derive(Debug)]
pub struct Master {
    settings: Settings,
    key: ChunkKey,
    outputs: VecDeque<Output>,
    counts: Counts,
    phase: Phase,
    next_token: u64,
    asked: Asked,
    pieces: Pieces,
    is_sealed: bool,
    chunks: Chunks,
    pace: Pace,
    hosts: Hosts,
    was_connected: bool,
    created: Option<Created>,
    reader: Reader,
    found: Found,
    fetches: BTreeMap<u32, Fetch>,
    /// The store of objects has values of this job.
    has_objects: bool,
    claim: Option<Claim>,
    quiet: Quiet,
    ending: Ending,
    step_at: u64,
    /// Since when there is no server, and why.
    trouble: Option<(u64, String)>,
    beat_at: u64,
    /// Since when no host was heard; people are told once.
    no_host_since: u64,
    told_no_host: bool,
    told_full: bool,
    /// Refusals of work in a row.
    refusals: u32,
}

impl Master {
    /// A master that waits for its connection.
    #[must_use]
    pub fn new(settings: Settings, now: u64) -> Master {
        let is_named = settings.job.is_named();
        let mut master = Master {
            key: ChunkKey::new(settings.key),
            outputs: VecDeque::new(),
            counts: Counts::default(),
            phase: Phase::Offline,
            next_token: 0,
            asked: Asked::default(),
            pieces: Pieces::new(settings.build, settings.limits, is_named),
            is_sealed: false,
            chunks: Chunks::default(),
            pace: Pace::default(),
            hosts: Hosts::default(),
            was_connected: false,
            created: None,
            reader: Reader::default(),
            found: Found::default(),
            fetches: BTreeMap::new(),
            has_objects: false,
            claim: is_named.then(|| Claim::new(settings.key)),
            quiet: Quiet::default(),
            ending: Ending::default(),
            step_at: now,
            trouble: Some((now, "no server has answered".into())),
            beat_at: now,
            no_host_since: now,
            told_no_host: false,
            told_full: false,
            refusals: 0,
            settings,
        };
        for subject in [master.settings.namespace.all_beats(), master.settings.namespace.control(master.settings.job)] {
            master.ask(Request::Listen { subject });
        }
        master
    }

    /// A piece is handed in. Gives its number. [`tick`](Self::tick) publishes it.
    ///
    /// # Errors
    /// If its arguments are longer than [`MAX_ARGUMENT_BYTES`], or the job takes no further piece.
    pub fn add(&mut self, function: u64, bytes: Bytes) -> Result<u32, Refused> {
        match self.is_sealed || self.is_over() {
            true => Err(Refused::Closed),
            false => self.pieces.add(function, bytes),
        }
    }

    /// True if pieces are handed in faster than they are published: the caller waits until this is false.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pieces.queued().1 >= QUEUE_BYTES
    }

    /// What was not published never begins: gives the numbers of these pieces, which have no outcome here.
    pub fn stop(&mut self) -> Vec<u32> {
        self.pieces.give_back()
    }

    /// True while a job that was begun before has a record of more pieces than were handed in: it goes on when they have come, or with
    /// [`seal`](Self::seal) ends.
    #[must_use]
    pub fn awaits_pieces(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.awaits_pieces)
    }

    /// No further piece comes. The job is over when each has an outcome.
    pub fn seal(&mut self, now: u64) {
        self.is_sealed = true;
        self.tick(now);
    }

    /// What has not begun never begins, and what runs is killed. No further outcome is given.
    pub fn cancel(&mut self, now: u64) {
        self.end(now, Err(Trouble::Cancelled));
        self.tick(now);
    }

    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The hosts that were heard of.
    #[must_use]
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// True if the job is over: nothing is asked or given any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Something was heard from the server.
    pub fn handle(&mut self, now: u64, event: Event) {
        if self.is_over() {
            return;
        }
        match event {
            Event::Connected => self.connected(now),
            Event::Disconnected => self.disconnected(now),
            Event::Refused(failure) => self.refused(now, failure),
            Event::Answered { token, result } => {
                if let Some(purpose) = self.asked.answered(token) {
                    self.answered(now, token, purpose, result);
                }
            }
            Event::Stored { reader, sequence, number, payload } => {
                self.stored(now, reader, (sequence, number), &payload)
            }
            Event::ReaderLost { reader } if self.reader.is_current(reader) => self.read_anew(),
            Event::Heard { payload, .. } => self.heard(now, &payload),
            Event::ReaderLost { .. } | Event::Work { .. } => {}
        }
        self.tick(now);
    }

    fn heard(&mut self, now: u64, payload: &[u8]) {
        if let Ok(beat) = Beat::read(payload) {
            self.hosts.heard(now, &beat);
            if beat.build == self.settings.build {
                (self.no_host_since, self.told_no_host) = (now, false);
            }
        } else if Control::read(payload) == Ok(Control { job: self.settings.job, word: Word::Cancel }) {
            self.end(now, Err(Trouble::Cancelled));
        }
    }

    fn ask(&mut self, request: Request) {
        self.outputs.push_back(Output::Ask(request));
    }

    /// Asks for something that is answered.
    fn ask_for(&mut self, purpose: Purpose, request: impl FnOnce(Token) -> Request) {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.asked.add(token, purpose);
        self.ask(request(token));
    }

    fn say(&mut self, word: Word) {
        let job = self.settings.job;
        let subject = self.settings.namespace.control(job);
        self.ask(Request::Say { subject, payload: Control { job, word }.write() });
    }
}
