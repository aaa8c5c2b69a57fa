//! The server: streams, consumers, objects and core messages. It has a time and no network.

use super::client::ClientId;
use super::queue::{Queue, Waiting};
use super::stream::{StreamState, matches};
use crate::identity::Build;
use crate::transport::{Created, Delivery, Event, Failure, Last, Mark, Reply, Request, Stream, Token};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What the server sends.
pub(super) type Sent = Vec<(ClientId, Event)>;

#[derive(Debug)]
struct Reader {
    token: Token,
    subject: String,
    next: u64,
    number: u64,
}

/// The state of a server.
#[derive(Debug, Default)]
pub(super) struct Server {
    streams: BTreeMap<Stream, StreamState>,
    queues: BTreeMap<Build, Queue>,
    readers: BTreeMap<ClientId, Reader>,
    objects: BTreeMap<String, Bytes>,
    listeners: BTreeMap<ClientId, BTreeSet<String>>,
    delivered: BTreeMap<Delivery, (Build, u64)>,
    deliveries: u64,
    /// The most messages of W and R.
    pub(super) most: Option<usize>,
}

impl Server {
    /// The server dies and starts again. What clients have asked for is gone with them; streams and durable consumers are on the disk.
    pub(super) fn restart(&mut self, keep_store: bool) {
        if !keep_store {
            *self = Server { deliveries: self.deliveries, most: self.most, ..Server::default() };
        }
        self.readers.clear();
        self.listeners.clear();
        self.queues.values_mut().for_each(|queue| queue.waiting.clear());
        self.streams.values_mut().for_each(StreamState::restart);
    }

    /// The client is gone, and what it waits for.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.readers.remove(&client);
        self.listeners.remove(&client);
        self.queues.values_mut().for_each(|queue| queue.waiting.retain(|pull| pull.client != client));
    }

    /// A full stream refuses messages until this is changed.
    pub(super) fn set_most(&mut self, most: Option<usize>) {
        self.most = most;
        for (stream, state) in &mut self.streams {
            state.most = most.filter(|_| *stream != Stream::Records);
        }
    }

    /// The number of messages of a stream.
    pub(super) fn messages(&self, stream: Stream) -> usize {
        self.streams.get(&stream).map_or(0, |state| state.messages.len())
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.queues.values().filter_map(Queue::next_at).min()
    }

    /// Does what depends on the time, and hands out what is there.
    pub(super) fn tick(&mut self, now: u64, sent: &mut Sent) {
        for (build, queue) in &mut self.queues {
            queue.expire(now);
            let over = |pull: &&Waiting| pull.expires <= now;
            for pull in queue.waiting.iter().filter(over) {
                sent.push((pull.client, Event::Answered { token: pull.token, result: Ok(Reply::Done) }));
            }
            queue.waiting.retain(|pull| pull.expires > now);
            let Some(work) = self.streams.get(&Stream::Work) else { continue };
            let mine = format!(".{build}.");
            while let Some(pull) = queue.waiting.pop_front() {
                let there = |from: u64| {
                    work.messages.range(from..).find(|(_, message)| message.subject.contains(&mine)).map(|(at, _)| *at)
                };
                let Some((sequence, count)) = queue.take(now, there) else {
                    queue.waiting.push_front(pull);
                    break;
                };
                self.deliveries += 1;
                let delivery = Delivery(self.deliveries);
                self.delivered.insert(delivery, (*build, sequence));
                let payload = work.messages[&sequence].payload.clone();
                sent.push((pull.client, Event::Work { pull: pull.token, delivery, count, payload }));
            }
        }
        let Some(results) = self.streams.get(&Stream::Results) else { return };
        for (client, reader) in &mut self.readers {
            while let Some((sequence, message)) = results.next(reader.next, &reader.subject) {
                reader.number += 1;
                reader.next = sequence + 1;
                let payload = message.payload.clone();
                let event = Event::Stored { reader: reader.token, sequence, number: reader.number, payload };
                sent.push((*client, event));
            }
        }
    }

    /// Carries a request out.
    pub(super) fn handle(&mut self, now: u64, client: ClientId, build: Build, request: Request, sent: &mut Sent) {
        let (token, result) = match request {
            Request::Streams { token } => (token, Ok(Reply::Created(self.create(now)))),
            Request::Consumer { token, lease_ns, deliveries } => {
                (token, self.set_consumer(build, lease_ns, deliveries))
            }
            Request::Lease { token } => (token, self.lease(build)),
            Request::Publish { token, subject, payload, id, expected } => {
                (token, self.publish(now, subject, payload, id, expected))
            }
            Request::Count { token, stream, subject } => {
                (token, self.stream(stream).map(|state| Reply::Count(state.count(&subject))))
            }
            Request::Last { token, stream, subject } => (token, self.last(now, stream, &subject)),
            Request::Purge { token, stream, subject } => (token, self.purge(stream, &subject)),
            Request::Read { token, subject, from } => {
                let result = self.stream(Stream::Results).map(|_| Reply::Done);
                if result.is_ok() {
                    self.readers.insert(client, Reader { token, subject, next: from, number: 0 });
                }
                (token, result)
            }
            Request::Pull { token, expires_ns } => match self.queues.get_mut(&build) {
                Some(queue) => {
                    return queue.waiting.push_back(Waiting { client, token, expires: now + expires_ns });
                }
                None => (token, Err(Failure::Missing)),
            },
            Request::PutObject { token, name, bytes } => {
                self.objects.insert(name, bytes);
                (token, Ok(Reply::Done))
            }
            Request::GetObject { token, name, most } => {
                let object = self.objects.get(&name).filter(|object| object.len() as u64 <= most);
                (token, object.cloned().map(Reply::Object).ok_or(Failure::NoObject))
            }
            other => return self.handle_unanswered(now, client, other, sent),
        };
        sent.push((client, Event::Answered { token, result }));
    }

    fn handle_unanswered(&mut self, now: u64, client: ClientId, request: Request, sent: &mut Sent) {
        match request {
            Request::Mark { delivery, mark } => self.mark(now, delivery, mark),
            Request::DropObjects { prefix } => self.objects.retain(|name, _| !name.starts_with(&prefix)),
            Request::Listen { subject } => drop(self.listeners.entry(client).or_default().insert(subject)),
            Request::Say { subject, payload } => {
                let hears = |pattern: &String| matches(pattern, &subject);
                for (client, _) in self.listeners.iter().filter(|(_, patterns)| patterns.iter().any(hears)) {
                    sent.push((*client, Event::Heard { subject: subject.clone(), payload: payload.clone() }));
                }
            }
            _ => unreachable!("it has a token"),
        }
    }

    fn create(&mut self, now: u64) -> Created {
        let most = self.most;
        let mut created = |stream, last_only, most| {
            self.streams.entry(stream).or_insert_with(|| StreamState::new(now, last_only, most)).created
        };
        Created {
            work: created(Stream::Work, false, most),
            results: created(Stream::Results, false, most),
            records: created(Stream::Records, true, None),
        }
    }

    fn stream(&self, stream: Stream) -> Result<&StreamState, Failure> {
        self.streams.get(&stream).ok_or(Failure::Missing)
    }

    fn set_consumer(&mut self, build: Build, lease_ns: u64, deliveries: u32) -> Result<Reply, Failure> {
        self.stream(Stream::Work)?;
        let queue = self.queues.entry(build).or_default();
        (queue.lease_ns, queue.deliveries) = (lease_ns, deliveries);
        Ok(Reply::Done)
    }

    fn lease(&self, build: Build) -> Result<Reply, Failure> {
        let queue = self.queues.get(&build).ok_or(Failure::Missing)?;
        Ok(Reply::Lease { lease_ns: queue.lease_ns, deliveries: queue.deliveries })
    }

    fn publish(
        &mut self,
        now: u64,
        subject: String,
        payload: Bytes,
        id: String,
        expected: Option<u64>,
    ) -> Result<Reply, Failure> {
        let stream = match subject.split('.').nth(1) {
            Some("w") => Stream::Work,
            Some("r") => Stream::Results,
            Some("j") => Stream::Records,
            _ => return Err(Failure::Missing),
        };
        let state = self.streams.get_mut(&stream).ok_or(Failure::Missing)?;
        state.publish(now, subject, payload, id, expected).map(Reply::Stored)
    }

    fn last(&self, now: u64, stream: Stream, subject: &str) -> Result<Reply, Failure> {
        let last = self.stream(stream)?.last_of(subject).map(|(sequence, message)| Last {
            sequence,
            age_ns: now - message.stored_ns,
            payload: message.payload.clone(),
        });
        Ok(Reply::Last(last))
    }

    fn purge(&mut self, stream: Stream, subject: &str) -> Result<Reply, Failure> {
        let state = self.streams.get_mut(&stream).ok_or(Failure::Missing)?;
        state.purge(subject);
        if stream == Stream::Work {
            for queue in self.queues.values_mut() {
                let gone = queue.known().into_iter().filter(|at| !state.messages.contains_key(at));
                gone.for_each(|at| queue.forget(at));
            }
        }
        Ok(Reply::Done)
    }

    fn mark(&mut self, now: u64, delivery: Delivery, mark: Mark) {
        let Some(&(build, sequence)) = self.delivered.get(&delivery) else { return };
        let Some(queue) = self.queues.get_mut(&build) else { return };
        match mark {
            Mark::Progress => queue.progress(now, sequence),
            Mark::Nak => queue.give_back(sequence),
            Mark::Ack | Mark::Term => {
                queue.forget(sequence);
                if let Some(work) = self.streams.get_mut(&Stream::Work) {
                    work.messages.remove(&sequence);
                }
            }
        }
    }
}
