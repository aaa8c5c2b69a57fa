//! What the server says of a request that fails, as the machines know it.
//!
//! The numbers are those of JetStream's errors (`err_code`), which are the same in all versions.

use crate::transport::Failure;
use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
use std::error::Error;

/// There is no such stream, or no such consumer.
const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;

/// Another message was stored last, in the stream or of the subject.
const WRONG_LAST_SEQUENCE: u64 = 10071;
const WRONG_LAST_SEQUENCE_UNKNOWN: u64 = 10164;

/// The stream, the account or the disk takes no more.
const STORE_FAILED: u64 = 10077;
const FULL: [u64; 6] = [STORE_FAILED, 10002, 10023, 10028, 10047, 10122];

/// A subject has no message.
pub(super) const NO_MESSAGE: u64 = 10037;

/// The server's own error, if `error` has one among its sources.
pub(super) fn code_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a jetstream::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

pub(super) fn of_server(error: &jetstream::Error) -> Failure {
    match error.error_code().0 {
        STREAM_NOT_FOUND | CONSUMER_NOT_FOUND => Failure::Missing,
        WRONG_LAST_SEQUENCE | WRONG_LAST_SEQUENCE_UNKNOWN => Failure::WrongSequence,
        code if FULL.contains(&code) => Failure::Full,
        code => Failure::Other(format!("{error} (error {code})")),
    }
}

pub(super) fn of_publish(error: &PublishError) -> Failure {
    match error.kind() {
        PublishErrorKind::StreamNotFound => Failure::Missing,
        PublishErrorKind::WrongLastSequence => Failure::WrongSequence,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Failure::NoAnswer,
        _ => code_of(error).map_or_else(|| Failure::Other(chain(error)), of_server),
    }
}

pub(super) fn of_request(error: &RequestError) -> Failure {
    match error.kind() {
        RequestErrorKind::TimedOut => Failure::NoAnswer,
        RequestErrorKind::NoResponders => Failure::Other(
            "nobody answers for JetStream: start the server with -js, or wait until its cluster has a leader".into(),
        ),
        _ => code_of(error).map_or_else(|| Failure::Other(chain(error)), of_server),
    }
}

/// An error with what it comes from, each said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    text
}
