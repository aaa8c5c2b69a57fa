//! What a master and an agent ask of a server, and what they hear from it: the interface to whatever carries it out.
//!
//! Two carry it out: the connection to a NATS server, and [`loopback`], a server in memory with faults.
//!
//! Rules for whatever carries this out:
//! - A request with a [`Token`] is answered by exactly one [`Event::Answered`] (a pull: or by [`Event::Work`]), at latest after [`ANSWER_NS`] (a pull: as much later
//!   as it expires); if nothing is known by then, by [`Failure::NoAnswer`]. It may have been carried out then. When the connection is lost, [`Event::Disconnected`] comes first,
//!   and then all open requests are answered by [`Failure::Disconnected`].
//! - Requests without a token may be lost.
//! - [`Event::Connected`] comes first, and again after each [`Event::Disconnected`]. Subscriptions hold over both. A pull and a reader end with
//!   the connection, and are asked for anew.
//! - Nothing is promised of order: a NATS connection keeps it, and the machines do not rely on it.
//!
//! | request                     | in NATS                                                                                           |
//! |-----------------------------|---------------------------------------------------------------------------------------------------|
//! | [`Request::Streams`]        | creates W, R, J and the object store, each unless it is there; their times of creation            |
//! | [`Request::Consumer`]       | creates or updates `w-<build>`: explicit ack, ack_wait the lease, max_deliver -1, max_ack_pending 65536; its description has the deliveries |
//! | [`Request::Lease`]          | reads that consumer                                                                               |
//! | [`Request::Publish`]        | publishes with `Nats-Msg-Id`, and with `Nats-Expected-Last-Subject-Sequence`, and waits for the PubAck |
//! | [`Request::Count`]          | STREAM.INFO with `subjects_filter`: the messages that a stream has for a subject, waiting or handed out |
//! | [`Request::Last`]           | the last message of a subject, and its age by the server's own clock                              |
//! | [`Request::Purge`]          | purges a stream by a subject                                                                      |
//! | [`Request::Read`]           | makes an ephemeral consumer of R for a subject from a sequence on: AckNone, inactive 60 s; then [`Event::Stored`] for each message. It ends an earlier reader |
//! | [`Request::Pull`]           | `batch().max_messages(1).expires(..)`; then [`Event::Work`], or an answer when it has expired     |
//! | [`Request::Mark`]           | +ACK, -NAK, +TERM, +WPI                                                                           |
//! | [`Request::PutObject`], [`Request::GetObject`], [`Request::DropObjects`] | the object store, in parts of 128 KiB                       |
//! | [`Request::Say`], [`Request::Listen`] | core NATS                                                                               |

pub mod loopback;

use bytes::Bytes;
use std::fmt;

/// A request that no answer has come to is answered by [`Failure::NoAnswer`] after this time, in ns.
pub const ANSWER_NS: u64 = 2_000_000_000;

/// One request, so that its answer is known. Each machine counts its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One delivery of a chunk, as its carrier counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery(pub u64);

/// The streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Chunks: a work queue, discard new.
    Work,
    /// Results: limits.
    Results,
    /// Records of named jobs: the last message of each subject.
    Records,
}

/// When each stream was created, by the server's clock. Another time is another stream: what the former one had is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Created {
    /// W.
    pub work: u64,
    /// R.
    pub results: u64,
    /// J.
    pub records: u64,
}

/// What a delivery is marked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Done: it leaves the stream.
    Ack,
    /// Not done: it is delivered again at once.
    Nak,
    /// It is never delivered again, and leaves the stream.
    Term,
    /// It is being worked on: its lease begins anew.
    Progress,
}

/// What is asked of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Creates the streams unless they are there. Gives [`Reply::Created`].
    Streams {
        /// To be answered.
        token: Token,
    },
    /// Creates or updates the agents' consumer. Gives [`Reply::Done`].
    Consumer {
        /// To be answered.
        token: Token,
        /// How long a delivery may go without a mark.
        lease_ns: u64,
        /// How often a chunk is delivered before it is given up.
        deliveries: u32,
    },
    /// Asks for what a master has set at the consumer. Gives [`Reply::Lease`].
    Lease {
        /// To be answered.
        token: Token,
    },
    /// Publishes to a stream. Gives [`Reply::Stored`].
    Publish {
        /// To be answered.
        token: Token,
        /// Where.
        subject: String,
        /// What.
        payload: Bytes,
        /// A message with an id that was seen in the last two minutes is not stored again; empty for none.
        id: String,
        /// The sequence that the subject's last message must have, 0 for none.
        expected: Option<u64>,
    },
    /// Asks how many messages a stream has. Gives [`Reply::Count`].
    Count {
        /// To be answered.
        token: Token,
        /// The stream.
        stream: Stream,
        /// Those of this subject count.
        subject: String,
    },
    /// Asks for a subject's last message. Gives [`Reply::Last`].
    Last {
        /// To be answered.
        token: Token,
        /// The stream.
        stream: Stream,
        /// The subject.
        subject: String,
    },
    /// Removes all messages of a subject, of which a part may be `*`. Gives [`Reply::Done`].
    Purge {
        /// To be answered.
        token: Token,
        /// The stream.
        stream: Stream,
        /// The subject.
        subject: String,
    },
    /// Reads R from a sequence on. Gives [`Reply::Done`] once the reader is made.
    Read {
        /// To be answered; [`Event::Stored`] has it, too.
        token: Token,
        /// The subject.
        subject: String,
        /// The first sequence that is wanted.
        from: u64,
    },
    /// Asks for one chunk. It is answered by [`Event::Work`], or by [`Reply::Done`] when it has expired.
    Pull {
        /// To be answered.
        token: Token,
        /// How long the server keeps the request.
        expires_ns: u64,
    },
    /// Marks a delivery. It may be lost.
    Mark {
        /// Which one.
        delivery: Delivery,
        /// As what.
        mark: Mark,
    },
    /// Stores an object, over one of the same name. Gives [`Reply::Done`].
    PutObject {
        /// To be answered.
        token: Token,
        /// Its name.
        name: String,
        /// What it has.
        bytes: Bytes,
    },
    /// Fetches an object. Gives [`Reply::Object`].
    GetObject {
        /// To be answered.
        token: Token,
        /// Its name.
        name: String,
        /// It is refused if it is longer.
        most: u64,
    },
    /// Removes all objects whose names begin so. It may be lost.
    DropObjects {
        /// The beginning.
        prefix: String,
    },
    /// Publishes by core NATS. It may be lost.
    Say {
        /// Where.
        subject: String,
        /// What.
        payload: Bytes,
    },
    /// Subscribes, for the life of the connection and of those that follow it. Gives [`Event::Heard`].
    Listen {
        /// To what.
        subject: String,
    },
}

/// What an answer brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The streams are there.
    Created(Created),
    /// The message stands in its stream at this sequence, perhaps from an earlier try.
    Stored(u64),
    /// The number of messages that are there.
    Count(u64),
    /// What masters have set at the consumer.
    Lease {
        /// How long a delivery may go without a mark.
        lease_ns: u64,
        /// How often a chunk is delivered before it is given up.
        deliveries: u32,
    },
    /// The last message of a subject.
    Last(Option<Last>),
    /// An object.
    Object(Bytes),
}

/// The last message of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// Its sequence.
    pub sequence: u64,
    /// How long ago the server stored it, by the server's clock.
    pub age_ns: u64,
    /// What it has.
    pub payload: Bytes,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Nothing came. It may have been carried out.
    NoAnswer,
    /// The connection was lost. It may have been carried out.
    Disconnected,
    /// The server refuses this user or this request; its own words.
    Unauthorized(String),
    /// No stream takes this subject, or there is no such stream or consumer.
    Missing,
    /// The stream is full.
    Full,
    /// Another message was stored last: error 10071.
    WrongSequence,
    /// There is no such object, it is damaged, or it is too long.
    NoObject,
    /// Anything else; the server's own words.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoAnswer => write!(f, "the server did not answer within {} s", ANSWER_NS / 1_000_000_000),
            Failure::Disconnected => f.write_str("the connection was lost"),
            Failure::Unauthorized(text) => write!(f, "the server refuses it: {text}"),
            Failure::Missing => f.write_str("the server has no such stream or consumer"),
            Failure::Full => f.write_str("the stream is full"),
            Failure::WrongSequence => f.write_str("another message was stored last"),
            Failure::NoObject => f.write_str("there is no such object"),
            Failure::Other(text) => f.write_str(text),
        }
    }
}

/// What is heard from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a connection.
    Connected,
    /// The connection was lost; the carrier makes another one.
    Disconnected,
    /// No connection can be made, or none of use; with the server's own words.
    Refused(Failure),
    /// The answer to a request.
    Answered {
        /// Which request.
        token: Token,
        /// What came.
        result: Result<Reply, Failure>,
    },
    /// A message that a reader has read.
    Stored {
        /// The request that made the reader.
        reader: Token,
        /// The message's place in the stream.
        sequence: u64,
        /// Its number among those that this reader was sent, from 1 on, without a gap.
        number: u64,
        /// What it has.
        payload: Bytes,
    },
    /// The reader is gone.
    ReaderLost {
        /// The request that made it.
        reader: Token,
    },
    /// A chunk. It is also the answer to its pull.
    Work {
        /// The request that it answers.
        pull: Token,
        /// To be marked.
        delivery: Delivery,
        /// How often the chunk was delivered, this time included.
        count: u32,
        /// What it has.
        payload: Bytes,
    },
    /// A message of core NATS.
    Heard {
        /// Where it was said.
        subject: String,
        /// What.
        payload: Bytes,
    },
}
