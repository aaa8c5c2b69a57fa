//! An agent's process: carries chunks from the server to a pool, and outcomes back.
//!
//! | from                     | to the machine                                  |
//! |--------------------------|-------------------------------------------------|
//! | the server ([`Carrier`]) | events                                          |
//! | the pool                 | how pieces ended, from an [`EncodedTask`] for each chunk |
//! | the clock                | ticks                                           |
//! | the system               | SIGTERM and SIGINT: it drains                    |
//!
//! Invariant: this process decodes no argument; a worker does. A function that the table does not have ends its piece, and nothing else.

use crate::agent::{self, Holding, Outcome, Output};
use crate::build;
use crate::driver::{Clock, random, tell};
use crate::frame::Limits;
use crate::nats::{Carrier, Link, Places};
use crate::settings::{ServerSettings, server_settings};
use bytes::Bytes;
use multicore::remote::{self, EncodedTask, Functions};
use multicore::{Error, ErrorKind, Format, Pool};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// An agent that cannot connect tries again after this time: the server may start later than its hosts.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Settings of an agent.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `serve`"]
pub struct Agent {
    server: ServerSettings,
    name: Option<String>,
    drain: Duration,
}

impl Agent {
    /// Settings with their defaults: no server is named.
    pub fn builder() -> Agent {
        Agent { server: ServerSettings::default(), name: None, drain: Duration::from_secs(30) }
    }

    /// The settings of the environment, as [`Hosts::from_env`](crate::Hosts::from_env) reads them.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if `MULTICORE_HOSTS` is not set, or another of the variables is invalid.
    pub fn from_env() -> Result<Agent, Error> {
        let config = |why: String| remote::error(ErrorKind::Config, why);
        let server = ServerSettings::from_env().map_err(config)?;
        let server = server.ok_or_else(|| {
            config("MULTICORE_HOSTS is not set: give it the address of a server, such as tls://host:4222".to_string())
        })?;
        Ok(Agent { server, ..Agent::builder() })
    }

    server_settings!();

    /// What masters call this host. Default: the machine's name and the number of the process.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long what runs may go on after SIGTERM. What has not ended by then goes to other hosts. Default: 30 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }
}

/// Serves as an agent: the workers of `pool` run pieces of masters that are the same program. Returns after SIGTERM or SIGINT, once what runs has
/// come to its end or was given back. These two signals are the agent's from the call on.
///
/// A `pool` with [`max_pieces_waiting`](multicore::PoolBuilder::max_pieces_waiting) or
/// [`max_queued_bytes`](multicore::PoolBuilder::max_queued_bytes) would hold up the agent itself: set neither. Limits of the machine's load do not refuse its
/// work.
///
/// A server that is away is waited for, at the start as well as later. The pieces of a chunk run at least once: functions must bear being run
/// twice.
///
/// # Errors
/// [`Config`](ErrorKind::Config) for a setting that is invalid or a file that cannot be read, [`Host`](ErrorKind::Host) if the server refuses this
/// user, [`System`](ErrorKind::System) if the program's own file cannot be read, or the system refuses something; and the error of the pool that takes no
/// task any more.
pub fn serve(pool: &Pool, agent: Agent) -> Result<(), Error> {
    let config = |why: String| remote::error(ErrorKind::Config, why);
    let system = |why: String| remote::error(ErrorKind::System, why);
    let namespace = agent.server.namespace().map_err(config)?;
    agent.server.addresses().map_err(config)?;
    agent.server.options().map_err(config)?;
    let functions = remote::functions()?;
    let build = build::own().map_err(system)?;
    let name = agent.name.clone().unwrap_or_else(own_name);
    let settings = agent::Settings {
        namespace: namespace.clone(),
        build,
        name,
        workers: u32::try_from(pool.workers()).unwrap_or(u32::MAX),
        drain_ns: u64::try_from(agent.drain.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4),
        incarnation: u64::from_le_bytes(random().map_err(system)?),
    };
    let places = Places { namespace, build, replicas: 1 };
    // A thread of its own: the caller's may be one of another runtime.
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| system(format!("no runtime for an agent: {error}")))?;
        let result = runtime.block_on(run(pool, &agent.server, functions, settings, places));
        runtime.shutdown_background();
        result
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("multicore-agent".to_string()).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| system(format!("no thread for an agent: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(system("the agent's thread has panicked".to_string())))
    })
}

/// An agent from its connection to its end.
async fn run(
    pool: &Pool,
    server: &ServerSettings,
    functions: &'static Functions,
    settings: agent::Settings,
    places: Places,
) -> Result<(), Error> {
    let ends = |kind: SignalKind| {
        signal(kind).map_err(|error| remote::error(ErrorKind::System, format!("no handler for signals: {error}")))
    };
    // An agent may have no `main` that has Rust ignore it.
    let _broken_pipes = ends(SignalKind::pipe())?;
    let mut ends = [ends(SignalKind::terminate())?, ends(SignalKind::interrupt())?];
    let Some(link) = connect(server, &mut ends).await? else { return Ok(()) };
    let mut served = Served {
        pool,
        functions,
        machine: agent::Agent::new(settings),
        carrier: Carrier::new(link.clone(), places),
        chunks: HashMap::new(),
        batch: Batch::default(),
        failed: None,
        clock: Clock::new(),
    };
    let result = served.run(&mut ends).await;
    link.flush().await;
    result
}

/// `host-4127`.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("{}-{}", if host.is_empty() { "host" } else { host }, std::process::id())
}

async fn ended(ends: &mut [Signal; 2]) {
    let [one, other] = ends;
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Connects, however long it takes until there is a server. `None` if the agent was ended meanwhile.
async fn connect(server: &ServerSettings, ends: &mut [Signal; 2]) -> Result<Option<Link>, Error> {
    let mut has_told = false;
    loop {
        let why = tokio::select! {
            () = ended(ends) => return Ok(None),
            connected = Link::connect(server, "agent") => match connected {
                Ok(link) => return Ok(Some(link)),
                Err(none) if none.is_for_good => return Err(remote::error(ErrorKind::Host, none.why)),
                Err(none) => none.why,
            },
        };
        if !std::mem::replace(&mut has_told, true) {
            tell(&format!("{why}; it tries again"));
        }
        tokio::select! {
            () = ended(ends) => return Ok(None),
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}

/// A chunk that runs in the pool.
struct Chunk {
    task: EncodedTask,
    /// The number in the job of each of its pieces.
    numbers: Vec<u32>,
}

/// Pieces of one function and one chunk that begin together.
#[derive(Default)]
struct Batch {
    chunk: Option<(Holding, u64, Limits)>,
    numbers: Vec<u32>,
    arguments: Vec<u8>,
    ends: Vec<usize>,
}

/// More pieces, or more bytes, do not gain from going together.
const BATCH_PIECES: usize = 256;
const BATCH_BYTES: usize = 64 << 10;

impl Batch {
    /// True if this piece cannot go with those that are there.
    fn excludes(&self, chunk: (Holding, u64, Limits), bytes: &Bytes) -> bool {
        let is_other = self.chunk.is_some_and(|own| own != chunk);
        is_other || self.ends.len() >= BATCH_PIECES || self.arguments.len() + bytes.len() > BATCH_BYTES
    }

    fn add(&mut self, chunk: (Holding, u64, Limits), piece: u32, bytes: &Bytes) {
        self.chunk = Some(chunk);
        self.numbers.push(piece);
        self.arguments.extend_from_slice(bytes);
        self.ends.push(self.arguments.len());
    }

    fn clear(&mut self) {
        self.chunk = None;
        self.numbers.clear();
        self.arguments.clear();
        self.ends.clear();
    }
}

struct Served<'a> {
    pool: &'a Pool,
    functions: &'static Functions,
    machine: agent::Agent,
    carrier: Carrier,
    chunks: HashMap<Holding, Chunk>,
    batch: Batch,
    /// Why the pool takes nothing more.
    failed: Option<Error>,
    clock: Clock,
}

impl Served<'_> {
    async fn run(&mut self, ends: &mut [Signal; 2]) -> Result<(), Error> {
        let mut is_ending = false;
        loop {
            while let Some(output) = self.next_output() {
                if !matches!(output, Output::Run { .. }) {
                    self.begin();
                }
                match output {
                    Output::Ask(request) => self.carrier.ask(request),
                    Output::Run { chunk, piece, function, limits, bytes } => {
                        let chunk = (chunk, function, limits);
                        if self.batch.excludes(chunk, &bytes) {
                            self.begin();
                        }
                        self.batch.add(chunk, piece, &bytes);
                    }
                    Output::Kill { chunk } => {
                        if let Some(chunk) = self.chunks.remove(&chunk) {
                            chunk.task.cancel();
                        }
                    }
                    Output::Notice(text) => tell(&text),
                    Output::Stopped => return self.failed.take().map_or(Ok(()), Err),
                }
            }
            let next_at = self.machine.next_at();
            let chunks = &mut self.chunks;
            tokio::select! {
                biased;
                (chunk, piece, outcome) = poll_fn(|context| next_ended(chunks, context)) => {
                    self.machine.ended(self.clock.now(), chunk, piece, outcome);
                }
                event = self.carrier.next() => self.machine.handle(self.clock.now(), event),
                () = self.clock.wait_until(next_at), if next_at.is_some() => self.machine.tick(self.clock.now()),
                () = ended(ends) => {
                    // A second signal leaves no time: what runs goes to others after its lease.
                    if std::mem::replace(&mut is_ending, true) {
                        return Ok(());
                    }
                    self.machine.stop(self.clock.now());
                }
            }
        }
    }

    /// What is to be done next. Once there is nothing more, the batch begins, which may lead to more.
    fn next_output(&mut self) -> Option<Output> {
        self.machine.next_output().or_else(|| {
            self.begin();
            self.machine.next_output()
        })
    }

    /// Has the pool begin the pieces of the batch.
    fn begin(&mut self) {
        let Some((chunk, function, limits)) = self.batch.chunk else { return };
        let now = self.clock.now();
        let function = self.functions.get(function).ok_or_else(|| {
            let text = format!("names the function {function:016x}, which this build does not have");
            remote::error(ErrorKind::Unsupported, text)
        });
        let (function, settings) = match function.and_then(|function| Ok((function, settings_of(limits)?))) {
            Ok(known) => known,
            Err(error) => {
                let bytes = Bytes::from(remote::encode_error(&error));
                for &piece in &self.batch.numbers {
                    self.machine.ended(now, chunk, piece, Outcome::Error(bytes.clone()));
                }
                return self.batch.clear();
            }
        };
        let held = match self.chunks.entry(chunk) {
            Entry::Occupied(held) => Some(held.into_mut()),
            Entry::Vacant(place) => match self.pool.encoded_task(&settings) {
                Ok(task) => Some(place.insert(Chunk { task, numbers: Vec::new() })),
                Err(error) => {
                    // It is the pool that fails, and not the piece: other hosts may have it.
                    self.failed.get_or_insert(error);
                    self.machine.stop(now);
                    None
                }
            },
        };
        if let Some(held) = held {
            held.numbers.extend_from_slice(&self.batch.numbers);
            held.task.run_all(function, &self.batch.arguments, &self.batch.ends);
        }
        self.batch.clear();
    }
}

/// How the pieces of a chunk are run.
fn settings_of(limits: Limits) -> Result<remote::Settings, Error> {
    let format = match limits.format {
        0 => Format::Bincode,
        1 => Format::Json,
        2 => Format::Raw,
        other => {
            return Err(remote::error(
                ErrorKind::Unsupported,
                format!("has the format {other}, which this build does not know"),
            ));
        }
    };
    Ok(remote::Settings {
        name: None,
        format,
        timeout: (limits.timeout_ns > 0).then(|| Duration::from_nanos(limits.timeout_ns)),
        retries: limits.retries,
        retry_panics: limits.retry_panics,
        retry_failures: limits.retry_failures,
    })
}

/// The next piece that has ended, of any chunk.
fn next_ended(chunks: &mut HashMap<Holding, Chunk>, context: &mut Context<'_>) -> Poll<(Holding, u32, Outcome)> {
    let mut found = None;
    for (holding, chunk) in chunks.iter_mut() {
        if let Poll::Ready(Some((number, ended))) = chunk.task.poll_next(context) {
            let outcome = match ended.result {
                Ok(bytes) => Outcome::Value(bytes.into()),
                Err(error) => Outcome::Error(remote::encode_error(&error).into()),
            };
            found = Some((*holding, chunk.numbers[number], outcome));
            break;
        }
    }
    let Some((holding, piece, outcome)) = found else { return Poll::Pending };
    if chunks.get(&holding).is_some_and(|chunk| chunk.task.left() == 0) {
        chunks.remove(&holding);
    }
    Poll::Ready((holding, piece, outcome))
}
