//! What carries out the requests of one machine, by the table of [`crate::transport`].
//!
//! Each request that is answered is a task of its own; its answer goes through one channel, from which the machine's loop takes events one by one.
//! A connection that is lost ends the tasks: all that is open is answered then, so that no answer of an earlier connection comes later.
//!
//! Invariant: each token is answered once.

use super::link::{Link, Status};
use super::requests::{Server, reader};
use crate::identity::{Build, Namespace};
use crate::transport::{Delivery, Event, Failure, Mark, Reply, Request, Token};
use async_nats::Subject;
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

/// The names by which a machine finds what it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) namespace: Namespace,
    pub(crate) build: Build,
    /// How many servers of a cluster keep each stream.
    pub(crate) replicas: usize,
}

/// What is removed at the end has this time.
const LAST: Duration = Duration::from_secs(2);

/// Where the marks of deliveries go.
#[derive(Debug, Clone, Default)]
pub(super) struct Deliveries(Arc<DeliveriesInner>);

#[derive(Debug, Default)]
struct DeliveriesInner {
    next: AtomicU64,
    open: Mutex<HashMap<Delivery, Subject>>,
}

impl Deliveries {
    pub(super) fn add(&self, reply: Subject) -> Delivery {
        let delivery = Delivery(self.0.next.fetch_add(1, Ordering::Relaxed));
        self.0.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(delivery, reply);
        delivery
    }

    /// Where this mark goes. No mark but progress is followed by another.
    fn place(&self, delivery: Delivery, mark: Mark) -> Option<Subject> {
        let mut open = self.0.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match mark {
            Mark::Progress => open.get(&delivery).cloned(),
            _ => open.remove(&delivery),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Carrier {
    link: Link,
    server: Server,
    status: watch::Receiver<Status>,
    /// The number of the connection that the machine knows of, if it knows of one.
    known: Option<u64>,
    has_refused: bool,
    deliveries: Deliveries,
    open: HashMap<Token, AbortHandle>,
    reader: Option<(Token, AbortHandle)>,
    listeners: Vec<AbortHandle>,
    /// Of objects.
    removals: Vec<JoinHandle<()>>,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    due: VecDeque<Event>,
}

impl Carrier {
    pub(crate) fn new(link: Link, places: Places) -> Carrier {
        let (sender, events) = mpsc::unbounded_channel();
        let status = link.status();
        Carrier {
            server: Server::new(link.client.clone(), places),
            link,
            status,
            known: None,
            has_refused: false,
            deliveries: Deliveries::default(),
            open: HashMap::new(),
            reader: None,
            listeners: Vec::new(),
            removals: Vec::new(),
            sender,
            events,
            due: VecDeque::new(),
        }
    }

    /// What comes next. May be dropped at any time: nothing is lost.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            self.look_at_status();
            if let Some(event) = self.due.pop_front() {
                return event;
            }
            tokio::select! {
                biased;
                // The client that would tell of changes is held by the link: this never ends.
                changed = self.status.changed() => if changed.is_err() { std::future::pending::<()>().await },
                Some(event) = self.events.recv() => if let Some(event) = self.admit(event) { return event },
            }
        }
    }

    fn look_at_status(&mut self) {
        let Status { number, is_up, refused } = self.status.borrow_and_update().clone();
        if self.known.is_some_and(|known| !is_up || known != number) {
            self.known = None;
            self.disconnected();
        }
        if let Some(text) = refused.filter(|_| !self.has_refused) {
            self.has_refused = true;
            self.due.push_back(Event::Refused(Failure::Unauthorized(text)));
        }
        if is_up && self.known.is_none() {
            (self.known, self.has_refused) = (Some(number), false);
            self.due.push_back(Event::Connected);
        }
    }

    fn disconnected(&mut self) {
        self.due.push_back(Event::Disconnected);
        if let Some((_, reader)) = self.reader.take() {
            reader.abort();
        }
        for (token, task) in self.open.drain() {
            task.abort();
            self.due.push_back(Event::Answered { token, result: Err(Failure::Disconnected) });
        }
        // What earlier tasks have left is of a connection that is no more; only what was heard counts.
        while let Ok(event) = self.events.try_recv() {
            if matches!(event, Event::Heard { .. }) {
                self.due.push_back(event);
            }
        }
    }

    /// An event of a task, unless the task was ended before.
    fn admit(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Answered { token, result } => {
                self.open.remove(&token)?;
                // A permission that is missing is told apart from the request: no answer comes.
                let reason = || self.link.reason().map_or(Failure::NoAnswer, Failure::Unauthorized);
                let result = result.map_err(|failure| if failure == Failure::NoAnswer { reason() } else { failure });
                Some(Event::Answered { token, result })
            }
            Event::Work { pull, .. } => self.open.remove(&pull).map(|_| event),
            Event::Stored { reader, .. } => self.is_reader(reader).then_some(event),
            Event::ReaderLost { reader } => {
                let is_current = self.is_reader(reader);
                if is_current {
                    self.reader = None;
                }
                is_current.then_some(event)
            }
            other => Some(other),
        }
    }

    fn is_reader(&self, token: Token) -> bool {
        self.reader.as_ref().is_some_and(|(reader, _)| *reader == token)
    }

    /// Carries out a request. Returns at once.
    pub(crate) fn ask(&mut self, request: Request) {
        let server = self.server.clone();
        match request {
            Request::Streams { token } => self.answer(token, async move { server.streams().await }),
            Request::Consumer { token, lease_ns, deliveries } => {
                self.answer(token, async move { server.consumer(lease_ns, deliveries).await });
            }
            Request::Lease { token } => self.answer(token, async move { server.lease().await }),
            Request::Publish { token, subject, payload, id, expected } => {
                self.answer(token, async move { server.publish(subject, payload, &id, expected).await });
            }
            Request::Count { token, stream, subject } => {
                self.answer(token, async move { server.count(stream, subject).await });
            }
            Request::Last { token, stream, subject } => {
                self.answer(token, async move { server.last(stream, subject).await });
            }
            Request::Purge { token, stream, subject } => {
                self.answer(token, async move { server.purge(stream, subject).await });
            }
            Request::Read { token, subject, from } => self.read(token, subject, from),
            Request::Pull { token, expires_ns } => self.pull(token, expires_ns),
            Request::Mark { delivery, mark } => self.mark(delivery, mark),
            Request::PutObject { token, name, bytes } => {
                self.answer(token, async move { server.put(&name, &bytes).await });
            }
            Request::GetObject { token, name, most } => {
                self.answer(token, async move { server.get(&name, most).await });
            }
            Request::DropObjects { prefix } => {
                self.removals.push(tokio::spawn(async move { server.drop_objects(&prefix).await }));
            }
            Request::Say { subject, payload } => {
                drop(tokio::spawn(async move { server.say(subject, payload).await }));
            }
            Request::Listen { subject } => self.listen(subject),
        }
    }

    /// Waits until what was to be removed is, for a moment at most.
    pub(crate) async fn finish(&mut self) {
        let removals = futures_util::future::join_all(self.removals.drain(..));
        let _ = tokio::time::timeout(LAST, removals).await;
    }

    fn answer(&mut self, token: Token, work: impl Future<Output = Result<Reply, Failure>> + Send + 'static) {
        let sender = self.sender.clone();
        let task = tokio::spawn(async move {
            let result = work.await;
            let _ = sender.send(Event::Answered { token, result });
        });
        self.open.insert(token, task.abort_handle());
    }

    fn read(&mut self, token: Token, subject: String, from: u64) {
        if let Some((former, task)) = self.reader.take() {
            task.abort();
            if self.open.remove(&former).is_some() {
                self.due.push_back(Event::Answered { token: former, result: Err(Failure::NoAnswer) });
            }
        }
        let (server, sender) = (self.server.clone(), self.sender.clone());
        let task = tokio::spawn(async move {
            let made = server.make_reader(subject, from).await;
            let name = made.as_ref().ok().cloned();
            let _ = sender.send(Event::Answered { token, result: made.map(|_| Reply::Done) });
            if let Some(name) = name {
                reader(&server, &name, |sequence, number, payload| {
                    sender.send(Event::Stored { reader: token, sequence, number, payload }).is_ok()
                })
                .await;
                let _ = sender.send(Event::ReaderLost { reader: token });
            }
        });
        self.open.insert(token, task.abort_handle());
        self.reader = Some((token, task.abort_handle()));
    }

    fn pull(&mut self, token: Token, expires_ns: u64) {
        let (server, sender, deliveries) = (self.server.clone(), self.sender.clone(), self.deliveries.clone());
        let task = tokio::spawn(async move {
            let event = match server.pull(expires_ns).await {
                Ok(Some((reply, count, payload))) => {
                    Event::Work { pull: token, delivery: deliveries.add(reply), count, payload }
                }
                Ok(None) => Event::Answered { token, result: Ok(Reply::Done) },
                Err(failure) => Event::Answered { token, result: Err(failure) },
            };
            let _ = sender.send(event);
        });
        self.open.insert(token, task.abort_handle());
    }

    fn mark(&self, delivery: Delivery, mark: Mark) {
        let word: &[u8] = match mark {
            Mark::Ack => b"+ACK",
            Mark::Nak => b"-NAK",
            Mark::Term => b"+TERM",
            Mark::Progress => b"+WPI",
        };
        if let Some(subject) = self.deliveries.place(delivery, mark) {
            let server = self.server.clone();
            drop(tokio::spawn(async move { server.say(subject.to_string(), Bytes::from_static(word)).await }));
        }
    }

    fn listen(&mut self, subject: String) {
        let (client, sender) = (self.link.client.clone(), self.sender.clone());
        let task = tokio::spawn(async move {
            let Ok(mut messages) = client.subscribe(subject).await else { return };
            while let Some(message) = messages.next().await {
                let heard = Event::Heard { subject: message.subject.to_string(), payload: message.payload };
                if sender.send(heard).is_err() {
                    return;
                }
            }
        });
        self.listeners.push(task.abort_handle());
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let reader = self.reader.take().map(|(_, reader)| reader);
        let tasks = self.open.drain().map(|(_, task)| task).chain(reader).chain(self.listeners.drain(..));
        tasks.for_each(|task| task.abort());
    }
}
