//! What happened to a piece, as bytes that go to another process of the same build.
//!
//! | offset | bytes | all numbers are little endian                                   |
//! |--------|-------|-----------------------------------------------------------------|
//! | 0      | 1     | the [kind](KINDS)                                               |
//! | 1      | 1     | the [cause](CAUSES); 0 for none                                 |
//! | 2      | 4     | the cause's number, where it has one; else 0                    |
//! | 6      | 4     | how many times the piece was started                            |
//! | 10     | 1     | which of what follows counts: 1 worker, 2 process id, 4 note    |
//! | 11     | 4     | the worker, or 0                                                |
//! | 15     | 4     | its process id, or 0                                            |
//! | 19     | 8     | what the piece noted, or 0                                      |
//! | 27     | 4     | the length `n` of the message                                   |
//! | 31     | `n`   | the message, UTF-8                                              |
//! | 31 + n | rest  | the backtrace, UTF-8; empty for none                            |
//!
//! The piece's number, function and place stay with the process that handed it out.
//!
//! Invariant: whatever the bytes are, decoding gives an error that was encoded or refuses them, and allocates no more than they have.

use super::{Cause, Error, ErrorKind};
use std::sync::Arc;

const HEAD_BYTES: usize = 31;

const KINDS: [ErrorKind; 16] = [
    ErrorKind::Panicked,
    ErrorKind::Failed,
    ErrorKind::WorkerLost,
    ErrorKind::TimedOut,
    ErrorKind::MemoryLimit,
    ErrorKind::Cancelled,
    ErrorKind::Encode,
    ErrorKind::Decode,
    ErrorKind::Busy,
    ErrorKind::Unsupported,
    ErrorKind::InWorker,
    ErrorKind::Config,
    ErrorKind::System,
    ErrorKind::Journal,
    ErrorKind::AlreadyDone,
    ErrorKind::Host,
];

/// Each with its code; the numbers of the first two are others.
const CAUSES: [(u8, Cause); 8] = [
    (1, Cause::Signal(0)),
    (2, Cause::Exit(0)),
    (3, Cause::StackOverflow),
    (4, Cause::AllocationFailed),
    (5, Cause::OomKilled),
    (6, Cause::Protocol),
    (7, Cause::ForkServerLost),
    (8, Cause::Unknown),
];

const WORKER: u8 = 1;
const PID: u8 = 2;
const NOTE: u8 = 4;

fn cause_code(cause: Option<Cause>) -> (u8, i32) {
    let (plain, number) = match cause {
        None => return (0, 0),
        Some(Cause::Signal(number)) => (Cause::Signal(0), number),
        Some(Cause::Exit(number)) => (Cause::Exit(0), number),
        Some(other) => (other, 0),
    };
    let code = CAUSES.iter().find(|(_, cause)| *cause == plain).expect("all are there").0;
    (code, number)
}

fn cause_of(code: u8, number: i32) -> Result<Option<Cause>, String> {
    let known = CAUSES.iter().find(|(other, _)| *other == code).map(|(_, cause)| *cause);
    match (code, known) {
        (0, _) if number == 0 => Ok(None),
        (_, Some(Cause::Signal(_))) => Ok(Some(Cause::Signal(number))),
        (_, Some(Cause::Exit(_))) => Ok(Some(Cause::Exit(number))),
        (_, Some(other)) if number == 0 => Ok(Some(other)),
        _ => Err(format!("an error has the cause {code} with the number {number}, which this build does not know")),
    }
}

impl Error {
    /// What happened, as bytes, without the piece's name.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let inner = &*self.0;
        let kind = KINDS.iter().position(|kind| *kind == inner.kind).expect("all are there");
        let (cause, number) = cause_code(inner.cause);
        let worker = inner.worker.and_then(|worker| u32::try_from(worker).ok());
        let message = &inner.message.as_bytes()[..inner.message.len().min(u32::MAX as usize)];
        let has = |known: bool, flag: u8| if known { flag } else { 0 };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + message.len());
        bytes.extend([kind as u8, cause]);
        bytes.extend(number.to_le_bytes());
        bytes.extend(inner.attempts.to_le_bytes());
        bytes.push(has(worker.is_some(), WORKER) | has(inner.pid.is_some(), PID) | has(inner.note.is_some(), NOTE));
        bytes.extend(worker.unwrap_or(0).to_le_bytes());
        bytes.extend(inner.pid.unwrap_or(0).to_le_bytes());
        bytes.extend(inner.note.unwrap_or(0).to_le_bytes());
        bytes.extend((message.len() as u32).to_le_bytes());
        bytes.extend(message);
        bytes.extend(inner.backtrace.as_deref().unwrap_or_default().as_bytes());
        bytes
    }

    /// The error of these bytes, or what is wrong with them.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Error, String> {
        let Some((head, texts)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(format!("an error has {} bytes, and begins with {HEAD_BYTES}", bytes.len()));
        };
        let word = |offset: usize| u32::from_le_bytes(head[offset..offset + 4].try_into().expect("4 bytes"));
        let kind = *KINDS
            .get(usize::from(head[0]))
            .ok_or_else(|| format!("an error has the kind {}, which this build does not know", head[0]))?;
        if kind == ErrorKind::AlreadyDone {
            return Err(
                "an error says that its piece was done by an earlier run, which only a journal knows".to_string()
            );
        }
        let cause = cause_of(head[1], word(2) as i32)?;
        let (flags, length) = (head[10], word(27) as usize);
        if flags & !(WORKER | PID | NOTE) != 0 {
            return Err(format!("an error has the flags {flags:#x}, which this build does not know"));
        }
        let Some((message, backtrace)) = texts.split_at_checked(length) else {
            return Err(format!("the message of an error has {length} bytes, and {} are left", texts.len()));
        };
        let text = |bytes: &[u8], what: &str| {
            str::from_utf8(bytes)
                .map(str::to_string)
                .map_err(|error| format!("the {what} of an error is no text: {error}"))
        };
        let note = u64::from_le_bytes(head[19..27].try_into().expect("8 bytes"));
        let has = |flag: u8| flags & flag != 0;
        let mut error = Error::new(kind, text(message, "message")?);
        let inner = &mut *error.0;
        inner.cause = cause;
        inner.attempts = word(6);
        inner.worker = has(WORKER).then_some(word(11) as usize);
        inner.pid = has(PID).then_some(word(15));
        inner.note = has(NOTE).then_some(note);
        inner.backtrace = Some(text(backtrace, "backtrace")?).filter(|backtrace| !backtrace.is_empty());
        Ok(error)
    }

    /// The piece has run on this host.
    #[must_use]
    pub(crate) fn with_host(mut self, host: Arc<str>) -> Self {
        self.0.host = Some(host);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(error: &Error) -> impl PartialEq + std::fmt::Debug + use<> {
        let inner = &*error.0;
        let numbers = (inner.kind, inner.cause, inner.worker, inner.pid, inner.attempts, inner.note);
        (numbers, inner.message.clone(), inner.backtrace.clone())
    }

    fn check(error: &Error) {
        let bytes = error.to_bytes();
        assert_eq!(parts(&Error::of_bytes(&bytes).unwrap()), parts(error));
        // Cut anywhere in front of the backtrace, it is refused.
        for end in 0..bytes.len() - error.backtrace().map_or(0, str::len) {
            assert!(Error::of_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn every_kind_and_cause_comes_back() {
        for kind in KINDS.into_iter().filter(|kind| *kind != ErrorKind::AlreadyDone) {
            check(&Error::new(kind, ""));
            check(
                &Error::new(kind, "was lost").with_note(Some(u64::MAX)).with_worker(7, None).with_backtrace("0: main"),
            );
        }
        for (_, cause) in CAUSES {
            check(&Error::new(ErrorKind::WorkerLost, "ä").with_cause(cause).with_worker(0, Some(u32::MAX)));
        }
        check(&Error::new(ErrorKind::WorkerLost, "").with_cause(Cause::Signal(11)));
        check(&Error::new(ErrorKind::WorkerLost, "").with_cause(Cause::Exit(-1)));
    }

    #[test]
    fn what_was_not_encoded_is_refused() {
        let good = Error::new(ErrorKind::Panicked, "no").to_bytes();
        let change = |offset: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[offset] = value;
            Error::of_bytes(&bytes).unwrap_err().to_string()
        };
        assert!(change(0, 16).contains("the kind 16"));
        assert!(change(0, 14).contains("only a journal knows"));
        assert!(change(1, 9).contains("the cause 9"));
        assert!(change(2, 9).contains("with the number 9"));
        assert!(change(10, 8).contains("the flags 0x8"));
        assert!(change(27, 3).contains("has 3 bytes, and 2 are left"));
        assert!(change(30, 255).contains("and 2 are left"));
        assert!(change(31, 0xff).contains("is no text"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Error::of_bytes(&bytes);
        }
    }
}
