//! Processes that run this program again, in a part that an environment variable names.

use crate::{WORKERS, job};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const PART: &str = "MULTICORE_BENCHES_PART";

/// What a newly started process does before it writes a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nothing.
    Nothing,
    /// Starts a pool of this crate and gets its first result.
    Multicore,
    /// Starts a pool of threads and gets its first result.
    Rayon,
    /// Starts a pool of procspawn and gets its first result.
    Procspawn,
    /// Starts a pool of this crate, whose four workers never end, and prints their pids.
    Busy,
    /// Keeps a CPU busy for ever.
    Burn,
}

impl Part {
    const ALL: [Part; 6] = [Part::Nothing, Part::Multicore, Part::Rayon, Part::Procspawn, Part::Busy, Part::Burn];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn play(self) {
        match self {
            Part::Nothing => {}
            Part::Multicore => {
                let pool = job::pool();
                let task = pool.try_task::<u64>().expect("the pool is open");
                task.run(job::add, 1, 2);
                assert_eq!(task.get().expect("an addition cannot fail"), [3]);
                report_done();
                // As a program that ends: its pool ends with it.
                std::process::exit(0);
            }
            Part::Rayon => assert_eq!(job::rayon_pool().install(|| job::add(1, 2)), 3),
            Part::Procspawn => {
                let pool = job::procspawn_pool();
                let sum = procspawn::spawn!(in pool, (1 => a, 2 => b) || job::add(a, b)).join();
                assert_eq!(sum.expect("an addition cannot fail"), 3);
                report_done();
                pool.kill();
                std::process::exit(0);
            }
            Part::Busy => {
                let pool = multicore::Pool::builder().workers(4).build().expect("a pool runs here");
                let task = pool.try_task::<u64>().expect("the pool is open");
                for _ in 0..4 {
                    task.run(|_: u64, _: u64| -> u64 { Part::Burn.play_for_ever() }, 0, 0);
                }
                let pids = loop {
                    let stats = pool.stats();
                    let pids: Vec<String> = stats.workers.iter().filter_map(|it| Some(it.pid?.to_string())).collect();
                    if pids.len() == 4 && stats.workers.iter().all(|worker| worker.pieces_held > 0) {
                        break pids;
                    }
                    std::thread::yield_now();
                };
                println!("{}", pids.join(" "));
                let _ = task.get();
            }
            Part::Burn => self.play_for_ever(),
        }
        report_done();
    }

    fn play_for_ever(self) -> ! {
        loop {
            std::hint::black_box(self);
        }
    }
}

fn report_done() {
    std::io::stdout().write_all(b".").and_then(|()| std::io::stdout().flush()).expect("the parent reads");
}

/// Plays the part that this process was started for, if any, and exits.
pub fn play() {
    let Ok(name) = std::env::var(PART) else { return };
    let part = Part::ALL.into_iter().find(|part| part.name() == name).expect("the variable names a part");
    part.play();
    std::process::exit(0);
}

fn command(part: Part) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(PART, part.name()).env("MULTICORE_WORKERS", WORKERS.to_string());
    command
}

/// Starts a process that plays a part. It reports on its standard output.
pub(crate) fn start(part: Part) -> Child {
    let mut command = command(part);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("this program can be started once more")
}

/// The seconds from the start of a process until it has played its part.
#[must_use]
pub fn time(part: Part) -> f64 {
    let begin = Instant::now();
    let mut child = start(part);
    let mut byte = [0];
    child.stdout.take().expect("it is piped").read_exact(&mut byte).expect("the part reports that it is done");
    let seconds = begin.elapsed().as_secs_f64();
    child.wait().expect("it is our child");
    seconds
}

/// Processes that keep all CPUs busy until this is dropped.
#[derive(Debug)]
pub struct Load(Vec<Child>);

impl Load {
    /// Starts one for each CPU.
    #[must_use]
    pub fn on_every_cpu() -> Self {
        let cpus = std::thread::available_parallelism().map_or(WORKERS, std::num::NonZero::get);
        Load((0..cpus).map(|_| command(Part::Burn).spawn().expect("this program can be started once more")).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
