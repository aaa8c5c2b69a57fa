//! One job: carries the pieces of a task to its master's machine, what the machine asks to the server, and outcomes back to the task.
//!
//! | from                    | to the machine                        |
//! |-------------------------|---------------------------------------|
//! | the task ([`Orders`])   | pieces that it draws; the end         |
//! | the server ([`Carrier`]) | events                               |
//! | the clock               | ticks, and the deadline of the task   |
//!
//! The machine is made with the first piece: by then the task's settings are final. It lives on for a moment after its task, since it purges
//! what the job has left on the server.
//!
//! Invariant: the machine numbers pieces in the order of the task's numbers, without those that ended before it knew of them, or that it refused.

use crate::driver::{Clock, tell};
use crate::frame::Limits;
use crate::master::{Counts, Master, Outcome, Output, Settings, Trouble};
use crate::nats::Carrier;
use crate::transport::Event;
use bytes::Bytes;
use multicore::remote::{self, Engine, Figures};
use multicore::{ErrorKind, Format};
use std::any::Any;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::sync::mpsc;

/// The most pieces that a lazy caller hands out ahead.
const MOST_AHEAD: usize = 65_536;

/// Before hosts have shown how many they take.
const LEAST_AHEAD: usize = 256;

/// A job that has ended has this time to remove what it has left on the server.
const LAST: Duration = Duration::from_millis(2500);

/// What a task tells its job.
#[derive(Debug)]
pub(crate) enum Order {
    Begin(remote::Job),
    Wake,
    Stop,
    End { kill: bool },
}

/// The task's end of a job.
pub(crate) struct Remote {
    orders: mpsc::UnboundedSender<Order>,
    shared: Arc<Shared>,
    /// What the job needs for as long as its task is there.
    _keep: Box<dyn Any + Send + Sync>,
}

/// What callers ask at any time.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    running: AtomicUsize,
    retried: AtomicUsize,
    counts: Mutex<Counts>,
    hosts: Mutex<HashSet<Arc<str>>>,
    /// The thread that the job is on.
    thread: OnceLock<ThreadId>,
    job: OnceLock<remote::Job>,
    is_over: Mutex<bool>,
    over: Condvar,
}

/// A job ends with this.
#[derive(Debug)]
pub(crate) struct UntilOver(Arc<Shared>);

impl Drop for UntilOver {
    fn drop(&mut self) {
        // Callers that wait hear of it, even if the job has panicked.
        if let Some(job) = self.0.job.get() {
            job.fail(&remote::error(ErrorKind::Host, "its job has ended without it"));
        }
        *self.0.is_over.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        self.0.over.notify_all();
    }
}

impl Shared {
    /// The job begins, on this thread.
    pub(crate) fn begin(self: &Arc<Self>) -> UntilOver {
        let _ = self.thread.set(thread::current().id());
        UntilOver(Arc::clone(self))
    }

    fn is_of(&self, job: &remote::Job) {
        let _ = self.job.set(job.clone());
    }

    /// Waits until the job has left nothing on the server: the program may end now. Not longer than a moment, and not on the job's own thread.
    fn wait_for_end(&self) {
        if self.thread.get() == Some(&thread::current().id()) {
            return;
        }
        let is_over = self.is_over.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = self.over.wait_timeout_while(is_over, LAST, |is_over| !*is_over);
    }

    /// What was counted, and the hosts that had a part in it.
    pub(crate) fn counts(&self) -> (Counts, usize) {
        let counts = *self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (counts, self.hosts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("hosts").finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) fn new(
        orders: mpsc::UnboundedSender<Order>,
        shared: Arc<Shared>,
        keep: impl Any + Send + Sync,
    ) -> Remote {
        Remote { orders, shared, _keep: Box::new(keep) }
    }

    fn order(&self, order: Order) {
        // Without a thread that takes it, the job has failed already.
        let _ = self.orders.send(order);
    }
}

impl Engine for Remote {
    fn begin(&self, job: remote::Job) {
        self.order(Order::Begin(job));
    }

    fn wake(&self) {
        self.order(Order::Wake);
    }

    fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Returns once the job has left nothing on the server, which takes a moment: `main` may return next.
    fn end(&self, kill: bool) {
        self.order(Order::End { kill });
        self.shared.wait_for_end();
    }

    fn figures(&self) -> Figures {
        let (running, retried) = (self.shared.running.load(Relaxed), self.shared.retried.load(Relaxed));
        Figures { running, retried, ahead: (2 * running).clamp(LEAST_AHEAD, MOST_AHEAD) }
    }
}

/// What holds for the pieces of a task, as frames have it.
fn limits_of(settings: &remote::Settings) -> Result<Limits, String> {
    let format = match settings.format {
        Format::Bincode => 0,
        Format::Json => 1,
        Format::Raw => 2,
        other => return Err(format!("the format {other:?} does not travel to other hosts")),
    };
    let timeout_ns = settings.timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    let (retries, retry_panics, retry_failures) = (settings.retries, settings.retry_panics, settings.retry_failures);
    Ok(Limits { timeout_ns, retries, retry_panics, retry_failures, format })
}

/// A job that runs.
pub(crate) struct Driver {
    pub(crate) settings: Settings,
    pub(crate) name: Option<String>,
    pub(crate) carrier: Carrier,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) last_host: Option<Arc<str>>,
}

/// How a piece has ended.
struct Ended {
    value: Bytes,
    /// In place of the value.
    error: Option<multicore::Error>,
    host: Option<Arc<str>>,
    attempts: u32,
}

/// A job whose task is there.
struct Running {
    job: remote::Job,
    clock: Clock,
    master: Option<Master>,
    /// The number of each piece in its task, if it is another one than the machine's.
    numbers: Option<Vec<usize>>,
    drawn: usize,
    settled: usize,
    is_ending: bool,
    has_orders: bool,
}

impl Driver {
    /// Runs the job to its end.
    pub(crate) async fn run(mut self) {
        let Some(Order::Begin(job)) = self.orders.recv().await else { return };
        let clock = Clock::new();
        self.shared.is_of(&job);
        let mut running = Running {
            job,
            clock,
            master: None,
            numbers: None,
            drawn: 0,
            settled: 0,
            is_ending: false,
            has_orders: true,
        };
        // What came before the machine: whether there is a connection.
        let mut early = Vec::new();
        loop {
            self.draw(&mut running, &mut early);
            self.seal_for_caller(&mut running);
            if let Some(result) = self.carry_out(&mut running) {
                self.carrier.finish().await;
                return self.is_over(&running, result);
            }
            let next_at = running.master.as_ref().and_then(Master::next_at);
            let deadline = running.job.time_left().filter(|_| !running.is_ending);
            tokio::select! {
                order = self.orders.recv(), if running.has_orders => match order {
                    Some(Order::End { kill }) if !self.end(&mut running, kill) => return,
                    None if !self.end(&mut running, false) => return,
                    None => running.has_orders = false,
                    Some(Order::Stop) => self.stop(&mut running),
                    Some(_) => {}
                },
                event = self.carrier.next() => match &mut running.master {
                    Some(master) => master.handle(clock.now(), event),
                    None => early.push(event),
                },
                () = clock.wait_until(next_at), if next_at.is_some() => {
                    if let Some(master) = &mut running.master {
                        master.tick(clock.now());
                    }
                }
                () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => running.job.expire(),
            }
        }
    }

    /// A job that was begun before has had more pieces, and this one's caller hands out no more until an outcome comes: it never would.
    fn seal_for_caller(&self, running: &mut Running) {
        if let Some(master) = &mut running.master
            && master.awaits_pieces()
            && running.job.is_awaited()
            && running.job.waiting() == 0
        {
            master.seal(running.clock.now());
        }
    }

    /// Hands pieces to the machine while it takes them.
    fn draw(&mut self, running: &mut Running, early: &mut Vec<Event>) {
        if running.is_ending || running.job.waiting() == 0 {
            return;
        }
        if running.master.is_none() {
            match limits_of(&running.job.settings()) {
                Ok(limits) => self.settings.limits = limits,
                Err(why) => return running.job.fail(&remote::error(ErrorKind::Unsupported, why)),
            }
            let mut master = Master::new(self.settings.clone(), running.clock.now());
            early.drain(..).for_each(|event| master.handle(running.clock.now(), event));
            running.master = Some(master);
        }
        let Some(master) = &mut running.master else { return };
        let (mut refused, mut drawn) = (Vec::new(), 0);
        let numbers = &mut running.numbers;
        running.job.draw(|piece| {
            // One that is to find an earlier run has to know all of its pieces first.
            if master.is_full() && !master.awaits_pieces() {
                return false;
            }
            drawn += 1;
            match master.add(piece.function.id(), Bytes::copy_from_slice(piece.arguments)) {
                Ok(number) => {
                    // From the first that ended before the machine knew of it, the numbers are others.
                    if numbers.is_none() && number as usize != piece.number {
                        *numbers = Some((0..number as usize).collect());
                    }
                    if let Some(numbers) = numbers {
                        numbers.push(piece.number);
                    }
                }
                Err(why) => refused.push((piece.number, why.to_string())),
            }
            true
        });
        running.drawn += drawn;
        for (number, why) in refused {
            let error = remote::error(ErrorKind::Encode, format!("never began: {why}"));
            self.settle(
                running,
                vec![(number, Ended { value: Bytes::new(), error: Some(error), host: None, attempts: 0 })],
            );
        }
        if drawn > 0 {
            if let Some(master) = &mut running.master {
                master.tick(running.clock.now());
            }
            self.count(running);
        }
    }

    fn settle(&self, running: &mut Running, outcomes: Vec<(usize, Ended)>) {
        running.settled += outcomes.len();
        // Lent: the task copies what is short without an allocation.
        let values: Vec<Bytes> = outcomes.iter().map(|(_, ended)| ended.value.clone()).collect();
        let lent = outcomes.into_iter().zip(&values).map(|((number, ended), value)| {
            let result = ended.error.map_or_else(|| Ok(Cow::Borrowed(&value[..])), Err);
            let Ended { host, attempts, .. } = ended;
            (number, remote::Outcome { result, host, attempts, took: Duration::ZERO })
        });
        running.job.settle(lent);
        self.count(running);
    }

    fn count(&self, running: &Running) {
        self.shared.running.store(running.drawn.saturating_sub(running.settled), Relaxed);
        if let Some(master) = &running.master {
            let counts = master.counts();
            self.shared.retried.store(counts.redelivered as usize, Relaxed);
            *self.shared.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = counts;
        }
    }

    /// Does what the machine wants. Gives how the job has ended, if it has.
    fn carry_out(&mut self, running: &mut Running) -> Option<Result<(), Trouble>> {
        let mut outcomes = Vec::new();
        let mut over = None;
        while let Some(output) = running.master.as_mut().and_then(Master::next_output) {
            match output {
                Output::Ask(request) => self.carrier.ask(request),
                Output::Notice(text) => tell(&text),
                Output::Over(result) => over = Some(result),
                Output::Outcome { piece, outcome, host } => {
                    let number = running.numbers.as_ref().map_or(piece as usize, |numbers| numbers[piece as usize]);
                    outcomes.push((number, self.outcome_of(outcome, host)));
                }
            }
        }
        if !outcomes.is_empty() {
            self.settle(running, outcomes);
        }
        over
    }

    fn outcome_of(&mut self, outcome: Outcome, host: Arc<str>) -> Ended {
        self.note_host(&host);
        let host = Some(host).filter(|host| !host.is_empty());
        let (error, attempts) = match outcome {
            Outcome::Value(value) => return Ended { value, error: None, host, attempts: 1 },
            Outcome::Error(bytes) => match remote::decode_error(&bytes) {
                Ok(error) => {
                    let attempts = error.attempts();
                    (error, attempts)
                }
                Err(why) => (remote::error(ErrorKind::Decode, format!("has an outcome that cannot be read: {why}")), 1),
            },
            Outcome::TooLong { bytes } => {
                let most = self.settings.max_result;
                let text = format!(
                    "returned a result of {bytes} bytes, and {most} travel from other hosts at most: set max_result"
                );
                (remote::error(ErrorKind::Encode, text), 1)
            }
            Outcome::Lost { deliveries, hosts } => {
                let on = if hosts.is_empty() { String::new() } else { format!(", on {}", hosts.join(", ")) };
                let text = format!("it was delivered {deliveries} times{on}, and no host came to its end");
                (remote::error(ErrorKind::WorkerLost, text), deliveries)
            }
        };
        Ended { value: Bytes::new(), error: Some(error), host, attempts }
    }

    /// Pieces of one frame have one host.
    fn note_host(&mut self, host: &Arc<str>) {
        if host.is_empty() || self.last_host.as_ref().is_some_and(|last| Arc::ptr_eq(last, host)) {
            return;
        }
        self.last_host = Some(Arc::clone(host));
        self.shared.hosts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(Arc::clone(host));
    }

    /// What was not published never begins.
    fn stop(&self, running: &mut Running) {
        let Some(master) = &mut running.master else { return };
        let (given_back, numbers) = (master.stop(), &running.numbers);
        running.settled += given_back.len();
        let number_of = |piece: u32| numbers.as_ref().map_or(piece as usize, |numbers| numbers[piece as usize]);
        running.job.give_back(given_back.into_iter().map(number_of));
        self.count(running);
    }

    /// The task needs nothing more. True while the machine has something left to do.
    fn end(&self, running: &mut Running, kill: bool) -> bool {
        let Some(master) = &mut running.master else { return false };
        let now = running.clock.now();
        if kill || !running.is_ending && running.settled < running.drawn {
            master.cancel(now);
        } else if !running.is_ending {
            master.seal(now);
        }
        running.is_ending = true;
        true
    }

    /// The machine has ended. If that was not its task's wish, the task hears why.
    fn is_over(&self, running: &Running, result: Result<(), Trouble>) {
        let name = self.name.as_deref().unwrap_or("without a name");
        let (kind, text) = match result {
            Ok(()) => return,
            Err(Trouble::Cancelled) => (ErrorKind::Cancelled, "the job was cancelled by another program".to_string()),
            Err(Trouble::Host(why)) => (ErrorKind::Host, why),
            Err(Trouble::Taken) => {
                (ErrorKind::Config, format!("the job {name} is at work elsewhere: wait for it, or cancel it"))
            }
            Err(Trouble::Differs) => (
                ErrorKind::Config,
                format!(
                    "the job {name} was begun with other pieces, other settings or another build: cancel it, or take another name"
                ),
            ),
        };
        running.job.fail(&remote::error(kind, text));
    }
}
