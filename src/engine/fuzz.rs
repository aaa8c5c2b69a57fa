//! Bodies for the fuzzer: random bytes for all code that reads what another process wrote.
//!
//! The fuzzer in `fuzz/` and the tests below call the same bodies; a body panics if an invariant does not hold.

use crate::Failure;
use crate::backend::TaskKey;
use crate::codec::bytes::Arguments;
use crate::codec::value::Value;
use crate::codec::{self, Format};
use crate::engine::link::{Arrival, Buffers, Left, Link};
#[cfg(feature = "log")]
use crate::engine::outbox::Lane;
use crate::engine::piece::{Function, Given, Terms};
use crate::engine::policy::sampling::Experience;
use crate::engine::wire::marker::Marker;
use crate::engine::wire::message::{FromServer, ToServer};
use crate::engine::wire::pair::{CHUNK_BYTES, Pair, READY};
use crate::engine::wire::record::{self, Outcome};
use crate::error::Cause;
use crate::protocol::claim;
use crate::protocol::ring::{Consumer, Header, Producer, Violation};
use crate::protocol::sleep::{Interest, Listening};
use crate::protocol::sync::{Acquire, AtomicU64, Relaxed, Release};
use crate::sys::process::Ending;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

/// The bytes, read from the front; zeros after their end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The parent's side of a worker that writes anything into its memory at any time. Each piece is answered,
/// returned or lost, and only one of these.
pub fn worker(data: &[u8]) {
    let mut input = Input(data);
    let made = Pair::create().expect("shared memory can be made");
    let (own, out, back) = made;
    let mut worker = Link::new(own).expect("events can be made");
    if input.byte() % 4 != 0 {
        worker.sample_pieces(7, Experience::default());
    }
    let pair = Pair::open(&out, &back).expect("it can be mapped");
    // The ring of *back*, and the place in it where an honest worker would continue.
    let words = pair.back_ring();
    let mut replies = Producer::new();
    let keys = [0, 1].map(|index| TaskKey { index, generation: 1 });
    let mut held: BTreeSet<usize> = BTreeSet::new();
    #[cfg(feature = "log")]
    let mut logs = PlayedLog::new(&mut worker);
    let (mut spare, mut next, mut trusted) = (Buffers::default(), 0, true);
    while !input.is_empty() {
        match input.byte() % 16 {
            0..3 => {
                let short = input.byte();
                let length = if short < 250 { usize::from(short) } else { CHUNK_BYTES + input.number(2) as usize };
                let terms = Terms {
                    cost_ns: 1 + input.number(2) as u32,
                    function: Function { number: input.byte() % 33, cost_ns: 1 + input.number(3) as u32 },
                    limit_ns: NonZeroU64::new(input.number(1)),
                    may_run_again: input.byte() % 2 == 0,
                    is_timed: input.byte() % 4 == 0,
                };
                let arguments = Arguments::Heap(vec![next as u8; length]);
                let task = keys[next % 2];
                let piece = Given { task, number: next, call: 7, format: Format::Raw, terms, arguments };
                if worker.give(piece, input.byte() % 2 == 0).is_ok() {
                    held.insert(next);
                    next += 1;
                }
                worker.publish();
            }
            3 | 4 => words[input.number(2) as usize % 64].store(input.number(8), Relaxed),
            5 => words[input.number(3) as usize % words.len()].store(input.number(8), Relaxed),
            #[cfg(feature = "log")]
            6 if input.byte() % 2 == 0 => logs.step(&mut input, &mut worker, &pair, next),
            6 => match input.byte() % 10 {
                8 => pair.noted().store(input.number(8), Relaxed),
                9 => pair.noted_in().store(input.number(8), Relaxed),
                6 => pair.back_tail().store(input.number(8), Relaxed),
                7 => pair.ended().store(input.number(4) as u32, Relaxed),
                0 => pair.out_head().store(input.number(8), Release),
                1 => pair.note().store(input.number(4) as u32, Relaxed),
                2 => pair.stage().store(if input.byte() % 2 == 0 { READY } else { input.byte().into() }, Release),
                3 => pair.started_ns().store(input.number(8), Relaxed),
                4 => pair.started().store(input.number(4) as u32, Release),
                _ => pair.worker_sleep().store(input.number(4) as u32, Relaxed),
            },
            7 => pair.states()[input.number(2) as usize % claim::SLOTS].store(input.number(4) as u32, Relaxed),
            8 | 9 => drop(claim::claim(pair.states(), input.number(1) as u32)),
            10..13 => {
                // A valid header; its payload may be anything.
                let header =
                    Header { kind: 1 + input.byte() % 11, flags: input.byte() % 16, sequence: input.byte().into() };
                let lead = if header.kind == 2 { vec![input.number(3)] } else { Vec::new() };
                // Samples have one length.
                let is_sample = header.kind == record::SAMPLE && input.byte() % 4 != 0;
                let bytes = vec![1; if is_sample { record::Sample::BYTES } else { input.number(2) as usize }];
                replies.consumed_to(pair.back_head().load(Acquire).min(replies.tail()));
                let _ = replies.push(words, header, &lead, &bytes);
                replies.publish(words);
            }
            13 | 14 if trusted => {
                let mut note = |arrival| {
                    if let Arrival::Reply { piece, outcome, again, .. } = arrival {
                        assert_ne!(outcome, Outcome::StartFailed, "a piece has no such outcome");
                        assert!(again.is_none() || outcome == Outcome::Panicked, "only a panic runs again");
                        assert!(held.remove(&piece.number), "piece {} was answered twice", piece.number);
                    }
                };
                let mut collected = worker.collect(&mut spare, &mut note);
                if collected == Ok(Left::Open) {
                    let _ =
                        (worker.note_ended(), worker.told_bytes(), worker.is_blocked(), worker.begun_pieces().count());
                    if input.byte() % 4 == 0 {
                        worker.hold()
                    } else {
                        _ = worker.resume()
                    }
                    let within = (input.number(2) as usize, u64::MAX, input.byte() % 4 != 0);
                    collected = worker.collect_open(within, &mut spare, &mut note).map(|_| Left::Nothing);
                }
                trusted = collected != Err(Violation);
            }
            15 => {
                let returned = match input.byte() % 4 {
                    0 => worker.revoke_newest(),
                    1 => {
                        let task = keys[usize::from(input.byte() % 2)];
                        worker.revoke_task(task);
                        // The worker's memory decides which of them are revoked.
                        return end(worker, held, trusted, true);
                    }
                    2 => {
                        let _ = worker.progress(input.number(8));
                        let _ = (worker.has_read_all(), worker.has_news(), worker.explain(Cause::Unknown));
                        None
                    }
                    _ => {
                        let interest = [
                            Interest::Nothing,
                            Interest::LowWater(Listening::Caller),
                            Interest::NextReply(Listening::Supervisor),
                        ];
                        let _ = worker.announce(interest[usize::from(input.byte() % 3)], input.byte() % 2 == 0);
                        worker.pump();
                        worker.signalled().expect("it has not signalled often");
                        None
                    }
                };
                if let Some(returned) = returned {
                    assert!(held.remove(&returned.number), "piece {} was returned twice", returned.number);
                    assert!(returned.arguments.as_slice().iter().all(|&byte| byte == returned.number as u8));
                }
            }
            _ => {}
        }
    }
    end(worker, held, trusted, false);
}

/// The log of the worker that is played.
#[cfg(feature = "log")]
struct PlayedLog {
    ring: Producer,
    trusted: bool,
}

#[cfg(feature = "log")]
impl PlayedLog {
    fn new(worker: &mut Link) -> Self {
        worker.log_into(Lane::new(0));
        PlayedLog { ring: Producer::new(), trusted: true }
    }

    /// Writes anything into the log's ring, or a record, or has the parent read it.
    fn step(&mut self, input: &mut Input<'_>, worker: &mut Link, pair: &Pair, given: usize) {
        let words = pair.log_ring();
        match input.byte() % 8 {
            0 => words[input.number(2) as usize % 64].store(input.number(8), Relaxed),
            1 => words[input.number(3) as usize % words.len()].store(input.number(8), Relaxed),
            2 => pair.log_lost().store(input.number(8), Relaxed),
            3..6 => {
                let kind = if input.byte().is_multiple_of(8) { input.byte() % 15 } else { record::LOG };
                let header = Header { kind: kind.max(1), flags: input.byte() % 8, sequence: input.byte().into() };
                let (is_wild, is_long) = (input.byte().is_multiple_of(4), input.byte().is_multiple_of(8));
                let lead = [input.number(1), input.number(if is_wild { 8 } else { 1 })];
                self.ring.consumed_to(pair.log_head().load(Acquire).min(self.ring.tail()));
                let length = input.number(if is_long { 2 } else { 1 });
                let _ = self.ring.push(words, header, &lead, &vec![0xff; length as usize]);
                self.ring.publish(words);
            }
            _ if self.trusted => match worker.take_logs() {
                Ok(read) => {
                    for record in read.into_iter().flat_map(|read| read.records) {
                        // Whose it is only the parent says, and a text is any bytes.
                        assert!(record.piece.is_none_or(|piece| piece < given));
                        assert!(record.bytes.len() <= 12 * 1024);
                        let parts = record.lead.split(&record.bytes);
                        let all = [Some(parts.target), parts.module, parts.file, Some(parts.text)];
                        assert_eq!(all.into_iter().flatten().map(<[u8]>::len).sum::<usize>(), record.bytes.len());
                    }
                }
                Err(Violation) => self.trusted = false,
            },
            _ => {}
        }
    }
}

/// The worker dies: each piece left is lost or returned complete. With `some_are_revoked`, others may have been dropped.
fn end(mut worker: Link, mut held: BTreeSet<usize>, trusted: bool, some_are_revoked: bool) {
    let (lost, rest) = worker.leftovers(!trusted);
    for number in rest.iter().map(|piece| piece.number).chain(lost.as_ref().map(|piece| piece.number)) {
        assert!(held.remove(&number), "piece {number} is left twice");
    }
    for piece in &rest {
        assert!(
            piece.arguments.as_slice().iter().all(|&byte| byte == piece.number as u8),
            "piece {} has other arguments",
            piece.number
        );
    }
    assert!(some_are_revoked || held.is_empty(), "pieces {held:?} are neither answered, returned nor lost");
}

/// A ring with any words: no record reaches beyond it, and the reader terminates.
pub fn ring(data: &[u8]) {
    let size = 64;
    let words: Vec<AtomicU64> = (0..size)
        .map(|index| {
            let bytes = data.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
            AtomicU64::new(bytes.map_or(0, u64::from_le_bytes))
        })
        .collect();
    let mut consumer = Consumer::new();
    for _ in 0..4 * size {
        let Ok(Some(record)) = consumer.peek(&words) else { return };
        let lead = record.header.flags as usize % 4;
        let mut bytes = Vec::new();
        record.append_to(&words, lead, &mut bytes);
        assert!(bytes.len() <= size * 8);
        assert_eq!(bytes.len(), record.payload_bytes.saturating_sub(lead * 8));
        let mut inline = [0; 16];
        let length = record.copy_to(&words, lead, &mut inline);
        assert_eq!(length, (bytes.len() <= 16).then_some(bytes.len()));
        let _ = record.word(&words, lead);
        consumer.pass(&record);
    }
}

/// A type with every kind of value.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Everything {
    Nothing,
    Numbers(i8, u16, i32, u64, i128, f32, f64),
    Text { text: String, letter: char, bytes: Vec<u8> },
    Many(Vec<Everything>),
    Map(BTreeMap<String, Option<Box<Everything>>>),
    Sizeless(Vec<()>),
    Outcome(Result<bool, String>),
}

/// Results are decoded or refused with an error: no panic, and no memory for values that are not there.
pub fn value(data: &[u8]) {
    fn read<R: Value>(format: Format, bytes: &[u8]) {
        let Ok(value) = codec::decode_result::<R>(format, bytes) else { return };
        let Ok(again) = codec::encode_message(&value) else { return };
        // The number of elements without a size is limited by the number of bytes: a shorter encoding may hold fewer.
        if again.len() >= bytes.len() {
            codec::decode_message::<R>(&again).expect("what was written can be read");
            codec::encode_argument(Format::Bincode, value, &mut Vec::new()).expect("its halves mirror each other");
        }
    }
    let Some((&first, bytes)) = data.split_first() else { return };
    let format = [Format::Bincode, Format::Json, Format::Raw][usize::from(first % 3)];
    match first / 3 % 6 {
        0 => read::<Everything>(format, bytes),
        1 => read::<Vec<Vec<String>>>(format, bytes),
        2 => read::<String>(format, bytes),
        3 => read::<BTreeMap<u64, (Option<i64>, [u8; 3])>>(format, bytes),
        4 => read::<Result<Vec<f64>, Failure>>(format, bytes),
        _ => read::<Vec<()>>(format, bytes),
    }
}

/// Messages from the socket, and the marker from the environment.
pub fn message(data: &[u8]) {
    if let Ok(FromServer::Died { ending, .. }) = codec::decode_message(data) {
        let _ = matches!(ending, Ending::Exit(_));
    }
    let _ = codec::decode_message::<ToServer>(data);
    if let Some((marker, true)) = Marker::parse(data) {
        let variable = marker.to_variable();
        let value = variable.as_bytes().split(|&byte| byte == b'=').nth(1).expect("it has a value");
        assert_eq!(Marker::parse(value).map(|(again, _)| again), Some(marker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls a body with random inputs; the last number printed is the input that failed.
    fn drive(body: fn(&[u8]), inputs: u64, most_bytes: u64) {
        let mut state = 0_u64;
        let mut random = || {
            // splitmix64
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        for input in 0..inputs {
            let length = random() % most_bytes;
            // Small numbers reach more branches than large ones where lengths are read.
            let is_small = random() % 2 == 0;
            let bytes: Vec<u8> = (0..length)
                .map(|_| if is_small && random() % 4 != 0 { random() % 8 } else { random() } as u8)
                .collect();
            println!("input {input}");
            body(&bytes);
        }
    }

    #[test]
    fn a_worker_may_write_what_it_likes() {
        drive(worker, 1500, 1500);
    }

    #[test]
    fn a_ring_may_hold_anything() {
        drive(ring, 20_000, 520);
    }

    #[test]
    fn a_value_may_be_any_bytes() {
        drive(value, 20_000, 300);
    }

    #[test]
    fn a_message_may_be_any_bytes() {
        drive(message, 20_000, 60);
    }
}
