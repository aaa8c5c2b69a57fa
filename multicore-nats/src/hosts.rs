//! Many hosts as a master's program uses them: one connection, on a thread of its own, for all of its tasks.
//!
//! | thread              | does                                                                          |
//! |---------------------|-------------------------------------------------------------------------------|
//! | of a caller         | makes tasks, hands pieces out, collects                                        |
//! | `multicore-hosts`   | everything that concerns the server, for each job in a task of its runtime     |
//!
//! The thread ends with the last of the handle and its tasks.
//!
//! Invariant: no caller ever touches the connection.

use crate::build;
use crate::driver::{Clock, random, tell};
use crate::frame::{Beat, Limits};
use crate::identity::{JobId, JobKey, Namespace};
use crate::job::{Driver, Order, Remote, Shared};
use crate::master::canceller::Canceller;
use crate::master::{self, Counts, hosts};
use crate::nats::{Carrier, Link, Places};
use crate::settings::{ServerSettings, server_settings};
use crate::transport::{Event, Request};
use multicore::remote;
use multicore::{Error, ErrorKind, Task, Value};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// A cancel is given up after this time.
const CANCEL: Duration = Duration::from_secs(5);

/// The longest value of a piece by default.
const MAX_RESULT: u64 = 1 << 30;

/// A connection that could not be made is not tried again for this time by [`task()`]: each try may take 5 s.
const TRY_AGAIN: Duration = Duration::from_secs(5);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// By this machine's clock, for people.
fn since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Settings of a connection to hosts; made by [`Hosts::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `connect`"]
pub struct HostsBuilder {
    server: ServerSettings,
    lease: Duration,
    deliveries: u32,
    chunk: Duration,
    replicas: usize,
    give_up: Duration,
    max_result: u64,
}

impl HostsBuilder {
    fn of(server: ServerSettings) -> HostsBuilder {
        HostsBuilder {
            server,
            lease: Duration::from_secs(30),
            deliveries: 5,
            chunk: Duration::from_millis(100),
            replicas: 1,
            give_up: Duration::from_secs(60),
            max_result: MAX_RESULT,
        }
    }

    server_settings!();

    /// How long a host may be silent before its pieces go to another one. Hosts that work say so three times in this time, however long a piece
    /// takes. Default: 30 s; at least 1 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many times a piece is given to a host before it is lost, where each time its host is. Default: 5; at least 1.
    pub fn deliveries(mut self, deliveries: u32) -> Self {
        self.deliveries = deliveries;
        self
    }

    /// How much work of one host goes to it at once. Where there are more than 500 hosts, it is 0.2 ms for each instead. Default: 100 ms.
    pub fn chunk(mut self, chunk: Duration) -> Self {
        self.chunk = chunk;
        self
    }

    /// How many servers of a cluster keep what is on its way. Default: 1.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// How long a job waits for a server that is away, before its pieces end in [`Host`](ErrorKind::Host). Default: 60 s.
    pub fn give_up(mut self, give_up: Duration) -> Self {
        self.give_up = give_up;
        self
    }

    /// The longest result of a piece, in bytes. Default: 1 GiB.
    pub fn max_result(mut self, bytes: u64) -> Self {
        self.max_result = bytes;
        self
    }

    /// Connects. Takes at most 5 s, or a little longer.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a setting that is invalid or a file that cannot be read, [`Host`](ErrorKind::Host) if there is no server or
    /// it refuses this user, and [`System`](ErrorKind::System) if the program's own file cannot be read or no thread can be started.
    pub fn connect(self) -> Result<Hosts, Error> {
        let config = |why: String| remote::error(ErrorKind::Config, why);
        let namespace = self.server.namespace().map_err(config)?;
        self.server.addresses().map_err(config)?;
        self.server.options().map_err(config)?;
        if self.deliveries == 0 {
            return Err(config("deliveries is 0: a piece must be given to a host once at least".to_string()));
        }
        if self.lease < Duration::from_secs(1) {
            return Err(config(format!(
                "the lease is {:?}: hosts need 1 s at least to say that they are there",
                self.lease
            )));
        }
        remote::functions()?;
        let build = build::own().map_err(|why| remote::error(ErrorKind::System, why))?;
        let (sender, commands) = mpsc::unbounded_channel();
        let shared = Arc::new(Known { seen: Mutex::default(), clock: Clock::new() });
        let (connected, is_connected) = std::sync::mpsc::channel();
        let (server, known) = (self.server.clone(), Arc::clone(&shared));
        let places = Places { namespace: namespace.clone(), build, replicas: self.replicas };
        let run = {
            let places = places.clone();
            move || serve_commands(&server, places, commands, &known, &connected)
        };
        let started = thread::Builder::new().name("multicore-hosts".to_string()).spawn(run);
        let thread =
            started.map_err(|error| remote::error(ErrorKind::System, format!("no thread for hosts: {error}")))?;
        match is_connected.recv() {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(remote::error(ErrorKind::Host, why)),
            Err(_) => return Err(remote::error(ErrorKind::System, "the thread for hosts has ended at once")),
        }
        let inner = Inner {
            commands: sender,
            thread: Mutex::new(Some(thread)),
            known: shared,
            names: Arc::default(),
            owner: std::process::id(),
            builder: self,
            places,
        };
        Ok(Hosts(Arc::new(inner)))
    }
}

/// A connection to the hosts behind a server.
///
/// A [`Task`] of it is that of a pool, but for where its pieces run: on hosts that have this very program as [agents](crate::serve()).
/// Its functions come from [`remote!`](multicore::remote!).
#[derive(Debug, Clone)]
pub struct Hosts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: mpsc::UnboundedSender<Command>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    known: Arc<Known>,
    /// Of the jobs that this process has.
    names: Arc<Mutex<HashSet<JobId>>>,
    /// A child that was forked from it has no thread.
    owner: u32,
    builder: HostsBuilder,
    places: Places,
}

/// The hosts that were heard of.
struct Known {
    seen: Mutex<hosts::Hosts>,
    clock: Clock,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        locked(&self.seen).fmt(f)
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    Start(Box<Start>),
    Cancel { job: JobId, answer: std::sync::mpsc::Sender<Result<(), String>> },
}

/// A job that is to begin.
#[derive(Debug)]
struct Start {
    settings: master::Settings,
    name: Option<String>,
    orders: mpsc::UnboundedReceiver<Order>,
    shared: Arc<Shared>,
    names: Arc<Mutex<HashSet<JobId>>>,
}

/// A host, as it was heard of last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostInfo {
    /// Its name.
    pub name: String,
    /// How many workers it has.
    pub workers: u32,
    /// How many of them are busy.
    pub busy: u32,
    /// What it serves: the SHA-256 of its program's file, as hexadecimal digits.
    pub build: String,
    /// Whether that is this program.
    pub is_this_build: bool,
    /// How long ago it was heard.
    pub last_beat: Duration,
}

impl Hosts {
    /// Settings of a new connection, with their defaults.
    pub fn builder() -> HostsBuilder {
        HostsBuilder::of(ServerSettings::default())
    }

    /// Connects as the environment says: `MULTICORE_HOSTS` has the servers, and `MULTICORE_HOSTS_NAMESPACE`, `_CA`, `_CERT`, `_KEY`, `_CREDS`,
    /// `_TOKEN_FILE`, `_USER`, `_PASSWORD_FILE` and `_ALLOW_PLAINTEXT` the rest.
    ///
    /// # Errors
    /// As [`HostsBuilder::connect`], and [`Config`](ErrorKind::Config) if `MULTICORE_HOSTS` is not set.
    pub fn from_env() -> Result<Hosts, Error> {
        Self::builder_from_env()?.connect()
    }

    /// The settings of the environment, to be changed before [`connect`](HostsBuilder::connect).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if `MULTICORE_HOSTS` is not set, or another of the variables is invalid.
    pub fn builder_from_env() -> Result<HostsBuilder, Error> {
        let config = |why: String| remote::error(ErrorKind::Config, why);
        let settings = ServerSettings::from_env().map_err(config)?;
        let unset = || {
            config("MULTICORE_HOSTS is not set: give it the address of a server, such as tls://host:4222".to_string())
        };
        settings.map(HostsBuilder::of).ok_or_else(unset)
    }

    /// A task over these hosts; `None` where [`try_task`](Self::try_task) says why.
    #[must_use]
    pub fn task<R: Value>(&self) -> Option<Task<R>> {
        self.try_task().ok()
    }

    /// A task over these hosts.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) in a process that was forked from the one that has connected, and [`System`](ErrorKind::System) if
    /// the system gives no random numbers.
    pub fn try_task<R: Value>(&self) -> Result<Task<R>, Error> {
        self.open(None).map(|(task, _)| task)
    }

    /// A task over these hosts, or of this machine's pool, or one whose pieces run in the caller.
    pub fn task_or_local<R: Value>(&self) -> Task<R> {
        self.task().unwrap_or_else(Task::new_or_inline)
    }

    /// A job that has a name: another program, or this one when it is started again, can attach to what is done of it.
    #[must_use]
    pub fn job(&self, name: impl Into<String>) -> Job {
        Job { hosts: self.clone(), name: name.into() }
    }

    /// The hosts that were heard of in the last 15 seconds, by their names. A host says every 5 s that it is there.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostInfo> {
        let now = self.0.known.clock.now();
        let info = |host: &hosts::Host| HostInfo {
            name: host.name.clone(),
            workers: host.workers,
            busy: host.busy,
            build: host.build.to_string(),
            is_this_build: host.build == self.0.places.build,
            last_beat: Duration::from_nanos(now.saturating_sub(host.heard_ns)),
        };
        locked(&self.0.known.seen).all(now).map(info).collect()
    }

    fn open<R: Value>(&self, name: Option<&str>) -> Result<(Task<R>, Arc<Shared>), Error> {
        let inner = &self.0;
        if inner.owner != std::process::id() {
            let why = "this process was forked from the one that has connected: connect here, too";
            return Err(remote::error(ErrorKind::Unsupported, why));
        }
        let system = |why: String| remote::error(ErrorKind::System, why);
        let job = match name {
            Some(name) => JobId::named(name).map_err(|error| remote::error(ErrorKind::Config, error.to_string()))?,
            None => JobId::unnamed(random().map_err(system)?),
        };
        if name.is_some() && !locked(&inner.names).insert(job) {
            let why = format!("this program has a task of the job {:?}: drop it first", name.unwrap_or_default());
            return Err(remote::error(ErrorKind::Config, why));
        }
        let builder = &inner.builder;
        let nanoseconds =
            |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let settings = master::Settings {
            namespace: inner.places.namespace.clone(),
            build: inner.places.build,
            job,
            key: JobKey(random().map_err(system)?),
            master: random().map_err(system)?,
            limits: Limits::default(),
            lease_ns: nanoseconds(builder.lease),
            deliveries: builder.deliveries,
            chunk_ns: nanoseconds(builder.chunk),
            give_up_ns: nanoseconds(builder.give_up),
            max_result: builder.max_result,
            epoch_ns: since_1970(),
        };
        let (sender, orders) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let start = Start {
            settings,
            name: name.map(|name| format!("{name:?}")),
            orders,
            shared: Arc::clone(&shared),
            names: Arc::clone(&inner.names),
        };
        let sent = inner.commands.send(Command::Start(Box::new(start)));
        sent.map_err(|_| remote::error(ErrorKind::Host, "the thread for hosts has ended"))?;
        let engine = Remote::new(sender, Arc::clone(&shared), self.clone());
        Ok((remote::task(Arc::new(engine)), shared))
    }
}

impl Drop for Inner {
    /// The thread ends once it has no commands to wait for and no job.
    fn drop(&mut self) {
        let (nobody, _) = mpsc::unbounded_channel();
        drop(std::mem::replace(&mut self.commands, nobody));
        let thread = locked(&self.thread).take();
        // The last task may be dropped on the thread itself.
        if let Some(thread) =
            thread.filter(|thread| thread.thread().id() != thread::current().id() && self.owner == std::process::id())
        {
            let _ = thread.join();
        }
    }
}

/// A job that has a name; made by [`Hosts::job`].
#[derive(Debug, Clone)]
pub struct Job {
    hosts: Hosts,
    name: String,
}

/// What is known of a job that runs: for programs that show it.
#[derive(Debug, Clone)]
pub struct JobCounts(Arc<Shared>);

impl JobCounts {
    /// What its master has counted, and how many hosts have sent outcomes.
    #[must_use]
    pub fn get(&self) -> (Counts, usize) {
        self.0.counts()
    }
}

impl Job {
    /// A task of this job; `None` where [`try_task`](Self::try_task) says why.
    #[must_use]
    pub fn task<R: Value>(&self) -> Option<Task<R>> {
        self.try_task().ok()
    }

    /// A task of this job. If the job was begun before, by this program or by another one of the same build, what is done of it is found:
    /// the same pieces are to be handed out, in the same order and with the same settings. While another program is at work on it, all pieces end in
    /// [`Config`](ErrorKind::Config).
    ///
    /// # Errors
    /// As [`Hosts::try_task`]; and [`Config`](ErrorKind::Config) if this program has a task of the job, or the name is empty, longer than 255 bytes or has a control
    /// character.
    pub fn try_task<R: Value>(&self) -> Result<Task<R>, Error> {
        self.try_task_with_counts().map(|(task, _)| task)
    }

    /// The same, with what is counted of the job.
    ///
    /// # Errors
    /// As [`try_task`](Self::try_task).
    #[doc(hidden)]
    pub fn try_task_with_counts<R: Value>(&self) -> Result<(Task<R>, JobCounts), Error> {
        self.hosts.open(Some(&self.name)).map(|(task, shared)| (task, JobCounts(shared)))
    }

    /// Cancels the job, wherever its master is: what has not begun never begins, what runs is killed, and its master's pieces end in
    /// [`Cancelled`](ErrorKind::Cancelled). What is done of it is forgotten.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for an invalid name, [`Host`](ErrorKind::Host) if the server does not answer within 5 s.
    pub fn cancel(&self) -> Result<(), Error> {
        let job = JobId::named(&self.name).map_err(|error| remote::error(ErrorKind::Config, error.to_string()))?;
        let (answer, answered) = std::sync::mpsc::channel();
        let host = |why: String| remote::error(ErrorKind::Host, why);
        let sent = self.hosts.0.commands.send(Command::Cancel { job, answer });
        sent.map_err(|_| host("the thread for hosts has ended".to_string()))?;
        let answer = answered.recv_timeout(CANCEL + Duration::from_secs(1));
        answer.unwrap_or_else(|_| Err("the server did not answer in time".to_string())).map_err(host)
    }
}

/// The thread: connects, says so, and serves commands until nobody can give any.
fn serve_commands(
    server: &ServerSettings,
    places: Places,
    mut commands: mpsc::UnboundedReceiver<Command>,
    known: &Arc<Known>,
    connected: &std::sync::mpsc::Sender<Result<(), String>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(connected.send(Err(format!("no runtime: {error}")))),
    };
    runtime.block_on(async {
        let link = match Link::connect(server, "master").await {
            Ok(link) => link,
            Err(none) => return drop(connected.send(Err(none.why))),
        };
        let listener = tokio::spawn(listen(link.clone(), places.clone(), Arc::clone(known)));
        let _ = connected.send(Ok(()));
        let mut jobs = tokio::task::JoinSet::new();
        while let Some(command) = commands.recv().await {
            let carrier = Carrier::new(link.clone(), places.clone());
            match command {
                Command::Start(start) => {
                    let Start { settings, name, orders, shared, names } = *start;
                    let job = settings.job;
                    jobs.spawn(async move {
                        let over = shared.begin();
                        Driver { settings, name, carrier, orders, shared, last_host: None }.run().await;
                        locked(&names).remove(&job);
                        drop(over);
                    });
                }
                Command::Cancel { job, answer } => {
                    let namespace = places.namespace.clone();
                    jobs.spawn(async move {
                        let _ = answer.send(cancel(carrier, namespace, job).await);
                    });
                }
            }
            while jobs.try_join_next().is_some() {}
        }
        // Each has a task, or is about to end.
        while jobs.join_next().await.is_some() {}
        listener.abort();
        link.flush().await;
    });
    // A look-up of a name may take the resolver long, and nobody waits for it.
    runtime.shutdown_background();
}

/// Hears the beats of hosts.
async fn listen(link: Link, places: Places, known: Arc<Known>) {
    let subject = places.namespace.all_beats();
    let mut carrier = Carrier::new(link, places);
    carrier.ask(Request::Listen { subject });
    loop {
        if let Event::Heard { payload, .. } = carrier.next().await
            && let Ok(beat) = Beat::read(&payload)
        {
            locked(&known.seen).heard(known.clock.now(), &beat);
        }
    }
}

/// Ends a job whose master may be anywhere, or nowhere.
async fn cancel(mut carrier: Carrier, namespace: Namespace, job: JobId) -> Result<(), String> {
    let clock = Clock::new();
    let mut canceller = Canceller::new(namespace, job, clock.now());
    loop {
        while let Some(request) = canceller.next_request() {
            carrier.ask(request);
        }
        if let Some(result) = canceller.result() {
            return result.clone().map_err(|failure| failure.to_string());
        }
        let next_at = canceller.next_at();
        tokio::select! {
            event = carrier.next() => canceller.handle(clock.now(), event),
            () = clock.wait_until(next_at) => canceller.tick(clock.now()),
        }
    }
}

/// The connection that the environment asks for, for all tasks of this process that [`task()`] makes.
enum Global {
    Connected(Hosts),
    /// When that was found out.
    Failed(Instant, String, ErrorKind),
}

/// A task: over hosts where `MULTICORE_HOSTS` is set, else of this machine's pool as [`Task::new`] gives it. `None` where [`try_task()`] says why.
///
/// ```no_run
/// fn sum(start: u64, end: u64) -> u64 {
///     (start..end).sum()
/// }
///
/// if let Some(task) = multicore_nats::task::<u64>() {
///     task.run_all(multicore::remote!(sum), (0..1000).map(|n| (n * 1000, (n + 1) * 1000)));
///     println!("{}", task.get().unwrap().iter().sum::<u64>());
/// }
/// ```
#[must_use]
pub fn task<R: Value>() -> Option<Task<R>> {
    try_task().ok()
}

/// The same as [`task()`], and says which.
///
/// # Errors
/// As [`Hosts::from_env`] and [`Hosts::try_task`] where `MULTICORE_HOSTS` is set, else as [`Task::try_new`].
pub fn try_task<R: Value>() -> Result<Task<R>, Error> {
    static GLOBAL: Mutex<Option<Global>> = Mutex::new(None);
    static IS_SET: OnceLock<bool> = OnceLock::new();
    if !*IS_SET.get_or_init(|| std::env::var_os("MULTICORE_HOSTS").is_some_and(|value| !value.is_empty())) {
        return Task::try_new();
    }
    remote::check_process()?;
    let mut global = locked(&GLOBAL);
    let is_foreign = |hosts: &Hosts| hosts.0.owner != std::process::id();
    match &*global {
        Some(Global::Connected(hosts)) if !is_foreign(hosts) => return hosts.try_task(),
        Some(Global::Failed(at, why, kind)) if at.elapsed() < TRY_AGAIN => {
            return Err(remote::error(*kind, why.clone()));
        }
        _ => {}
    }
    match Hosts::from_env() {
        Ok(hosts) => {
            let task = hosts.try_task();
            // A copy of the parent's has no thread to wait for.
            std::mem::forget(global.replace(Global::Connected(hosts)));
            task
        }
        Err(error) => {
            tell(&error.to_string());
            *global = Some(Global::Failed(Instant::now(), error.to_string(), error.kind()));
            Err(error)
        }
    }
}
