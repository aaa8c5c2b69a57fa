//! A server in memory, and the network between it and its clients, in virtual time. The same seed and the same calls give the same events.
//!
//! | file     | what it is                                                                       |
//! |----------|----------------------------------------------------------------------------------|
//! | `mod`    | connections, and messages that are late, lost, doubled and out of order          |
//! | `server` | streams, consumers, objects, core messages                                       |
//! | `stream` | one stream: sequences, ids of two minutes, the last sequence of a subject, limits |
//! | `queue`  | the durable pull consumer of W                                                   |
//!
//! Faithful to JetStream where the machines rely on it: a work queue keeps a message until it is acknowledged or terminated; a lease that passes makes it wait again,
//! before new ones; an ack counts whichever delivery it belongs to; an id is known for two minutes, also after a purge, and after a restart only with its message; a
//! reader that acknowledges nothing is never sent a message twice, so what is lost on the way to it is lost; a store that is gone begins at sequence 1 with
//! another time of creation. Unlike TCP, this network also loses and reorders messages of a connection that holds.

mod client;
mod queue;
mod random;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use self::client::ClientId;
pub use self::random::Random;

use self::server::{Sent, Server};
use super::{ANSWER_NS, Event, Failure, Request, Stream, Token};
use crate::identity::Build;
use std::collections::BTreeMap;

const MS: u64 = 1_000_000;

/// What the network does to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The number of messages that are lost, of a million.
    pub lost: u32,
    /// The number of messages that come twice, of a million.
    pub doubled: u32,
    /// How long a message takes, at least.
    pub least_ns: u64,
    /// How long it takes, at most.
    pub most_ns: u64,
}

impl Faults {
    /// A quiet network: 0.1 ms, nothing lost.
    pub const NONE: Faults = Faults { lost: 0, doubled: 0, least_ns: MS / 10, most_ns: MS / 10 };
}

/// How long it takes until a cut link is noticed, at most: one missed heartbeat.
const NOTICE_NS: u64 = 2_000 * MS;

/// How long a client waits before it connects again, at most.
const CONNECT_NS: u64 = 500 * MS;

#[derive(Debug)]
struct Client {
    build: Build,
    /// The number of its connection. What belongs to another one is dropped.
    connection: u64,
    is_connected: bool,
    is_gone: bool,
    /// Until when its link is cut.
    cut_until: u64,
    listens: Vec<String>,
    open: BTreeMap<Token, u64>,
}

#[derive(Debug)]
enum Flight {
    ToServer(Request),
    ToClient(Event),
    /// Nothing has come.
    Deadline(Token),
    /// The client notices a cut link.
    Notice,
    Connect,
    Restart {
        keep_store: bool,
    },
}

/// The server and its network.
#[derive(Debug)]
pub struct Loopback {
    now: u64,
    random: Random,
    /// What the network does. It may be changed at any time.
    pub faults: Faults,
    server: Server,
    is_alive: bool,
    /// Words of the server with which it refuses every client.
    pub refuses: Option<String>,
    clients: Vec<Client>,
    flights: BTreeMap<(u64, u64), (ClientId, u64, Flight)>,
    order: u64,
}

/// The client of flights that have none.
const NOBODY: ClientId = ClientId(usize::MAX);

impl Loopback {
    /// A server without streams, by a seed.
    #[must_use]
    pub fn new(seed: u64) -> Loopback {
        Loopback {
            now: 0,
            random: Random::new(seed),
            faults: Faults::NONE,
            server: Server::default(),
            is_alive: true,
            refuses: None,
            clients: Vec::new(),
            flights: BTreeMap::new(),
            order: 0,
        }
    }

    /// A client that serves or sends work of this build, and connects.
    pub fn connect(&mut self, build: Build) -> ClientId {
        let client = ClientId(self.clients.len());
        self.clients.push(Client {
            build,
            connection: 0,
            is_connected: false,
            is_gone: false,
            cut_until: 0,
            listens: Vec::new(),
            open: BTreeMap::new(),
        });
        self.fly(self.now, client, Flight::Connect);
        client
    }

    /// The client's process is gone, with its connection.
    pub fn disconnect(&mut self, client: ClientId) {
        let gone = &mut self.clients[client.0];
        (gone.is_gone, gone.is_connected) = (true, false);
        gone.connection += 1;
        self.server.forget(client);
    }

    /// The client's link is cut for this time.
    pub fn cut(&mut self, client: ClientId, for_ns: u64) {
        self.clients[client.0].cut_until = self.now + for_ns;
        let notice = self.random.between(NOTICE_NS / 2, NOTICE_NS);
        self.fly(self.now + notice, client, Flight::Notice);
    }

    /// The server dies, and is back after this time, with its store or without; never with `None`.
    pub fn kill_server(&mut self, back_after_ns: Option<u64>, keep_store: bool) {
        self.is_alive = false;
        for client in (0..self.clients.len()).map(ClientId) {
            self.fly(self.now + MS, client, Flight::Notice);
        }
        if let Some(after) = back_after_ns {
            self.fly(self.now + after, NOBODY, Flight::Restart { keep_store });
        }
    }

    /// The most messages that W and R take.
    pub fn set_most(&mut self, most: Option<usize>) {
        self.server.set_most(most);
    }

    /// The number of messages of a stream.
    #[must_use]
    pub fn messages(&self, stream: Stream) -> usize {
        self.server.messages(stream)
    }

    /// A client sends a request.
    pub fn send(&mut self, client: ClientId, request: Request) {
        let (now, state) = (self.now, &mut self.clients[client.0]);
        if let Request::Listen { subject } = &request {
            state.listens.push(subject.clone());
        }
        if let Some(token) = token_of(&request) {
            let patience = match &request {
                Request::Pull { expires_ns, .. } => expires_ns + ANSWER_NS,
                _ => ANSWER_NS,
            };
            state.open.insert(token, now + patience);
            let failed = Event::Answered { token, result: Err(Failure::Disconnected) };
            match state.is_connected {
                true => self.fly(now + patience, client, Flight::Deadline(token)),
                false => return self.fly(now, client, Flight::ToClient(failed)),
            }
        }
        if !self.clients[client.0].is_connected {
            return;
        }
        // A client that never hears anything is none that a network makes.
        if let Request::Listen { .. } = request {
            self.fly(now, client, Flight::ToServer(request));
        } else {
            self.travel(client, Flight::ToServer, request);
        }
    }

    /// When something happens next.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        let flight = self.flights.keys().next().map(|(at, _)| *at);
        let server = self.server.next_at().filter(|_| self.is_alive);
        [flight, server].into_iter().flatten().min()
    }

    /// Lets the time pass; gives what clients hear by then.
    pub fn advance(&mut self, now: u64) -> Vec<(ClientId, Event)> {
        let mut heard = Vec::new();
        while let Some(at) = self.next_at().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            if let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (client, connection, flight) = entry.remove();
                self.land(client, connection, flight, &mut heard);
            }
            self.serve();
        }
        self.now = self.now.max(now);
        heard
    }

    fn serve(&mut self) {
        if self.is_alive {
            let mut sent = Sent::new();
            self.server.tick(self.now, &mut sent);
            self.post(sent);
        }
    }

    fn post(&mut self, sent: Sent) {
        for (client, event) in sent {
            self.travel(client, Flight::ToClient, event);
        }
    }

    /// Puts a message on its way, or loses or doubles it.
    fn travel<T: Clone>(&mut self, client: ClientId, flight: impl Fn(T) -> Flight, message: T) {
        let copies = match () {
            () if self.random.happens(self.faults.lost) => 0,
            () if self.random.happens(self.faults.doubled) => 2,
            () => 1,
        };
        for _ in 0..copies {
            let delay = self.random.between(self.faults.least_ns, self.faults.most_ns + 1);
            self.fly(self.now + delay, client, flight(message.clone()));
        }
    }

    fn fly(&mut self, at: u64, client: ClientId, flight: Flight) {
        self.order += 1;
        let connection = self.clients.get(client.0).map_or(0, |client| client.connection);
        self.flights.insert((at, self.order), (client, connection, flight));
    }

    fn land(&mut self, client: ClientId, connection: u64, flight: Flight, heard: &mut Vec<(ClientId, Event)>) {
        if let Flight::Restart { keep_store } = flight {
            self.server.restart(keep_store);
            self.is_alive = true;
            return;
        }
        let Some(state) = self.clients.get_mut(client.0).filter(|state| !state.is_gone) else { return };
        let (is_cut, is_current) = (state.cut_until > self.now, state.connection == connection);
        match flight {
            Flight::Connect => self.land_connect(client, heard),
            Flight::Notice if is_current && state.is_connected && (is_cut || !self.is_alive) => {
                self.drop_connection(client, heard);
            }
            Flight::Deadline(token) if is_current && state.open.remove(&token).is_some() => {
                heard.push((client, Event::Answered { token, result: Err(Failure::NoAnswer) }));
            }
            Flight::ToServer(request) if is_current && !is_cut && self.is_alive => {
                let (build, mut sent) = (state.build, Sent::new());
                self.server.handle(self.now, client, build, request, &mut sent);
                self.post(sent);
            }
            Flight::ToClient(Event::Answered { token, result: Err(Failure::Disconnected) })
                if state.open.remove(&token).is_some() =>
            {
                heard.push((client, Event::Answered { token, result: Err(Failure::Disconnected) }));
            }
            Flight::ToClient(event) if is_current && !is_cut => {
                let is_wanted = match &event {
                    Event::Answered { token, .. } | Event::Work { pull: token, .. } => {
                        state.open.remove(token).is_some()
                    }
                    _ => true,
                };
                if is_wanted {
                    heard.push((client, event));
                }
            }
            _ => {}
        }
    }

    fn land_connect(&mut self, client: ClientId, heard: &mut Vec<(ClientId, Event)>) {
        let again = self.now + self.random.between(MS, CONNECT_NS);
        let state = &mut self.clients[client.0];
        if state.is_connected {
            return;
        }
        if state.cut_until > self.now || !self.is_alive {
            let at = again.max(state.cut_until);
            return self.fly(at, client, Flight::Connect);
        }
        if let Some(text) = &self.refuses {
            return heard.push((client, Event::Refused(Failure::Unauthorized(text.clone()))));
        }
        state.is_connected = true;
        for subject in state.listens.clone() {
            self.server.handle(self.now, client, state.build, Request::Listen { subject }, &mut Sent::new());
        }
        heard.push((client, Event::Connected));
    }

    fn drop_connection(&mut self, client: ClientId, heard: &mut Vec<(ClientId, Event)>) {
        let state = &mut self.clients[client.0];
        state.is_connected = false;
        state.connection += 1;
        let open = std::mem::take(&mut state.open);
        self.server.forget(client);
        heard.push((client, Event::Disconnected));
        let failed = |token| (client, Event::Answered { token, result: Err(Failure::Disconnected) });
        heard.extend(open.into_keys().map(failed));
        let at = self.now + self.random.between(MS, CONNECT_NS);
        self.fly(at, client, Flight::Connect);
    }
}

/// The token of a request that is answered.
#[must_use]
pub fn token_of(request: &Request) -> Option<Token> {
    match request {
        Request::Streams { token }
        | Request::Consumer { token, .. }
        | Request::Lease { token }
        | Request::Publish { token, .. }
        | Request::Count { token, .. }
        | Request::Last { token, .. }
        | Request::Purge { token, .. }
        | Request::Read { token, .. }
        | Request::Pull { token, .. }
        | Request::PutObject { token, .. }
        | Request::GetObject { token, .. } => Some(*token),
        Request::Mark { .. } | Request::DropObjects { .. } | Request::Say { .. } | Request::Listen { .. } => None,
    }
}
