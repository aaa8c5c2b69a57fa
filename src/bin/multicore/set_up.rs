//! From options to a runner: all that can be refused is refused here, before anything runs.

use crate::arguments::Run;
use crate::bar::Bar;
use crate::descriptors;
use crate::gate::Gate;
use crate::halt::Halt;
use crate::inputs::{Inputs, Next, Separator};
use crate::interrupt::{Beacon, Interrupts};
use crate::job::{self, Settings};
use crate::output::{Options, Printer};
use crate::parcels::Counter;
use crate::program;
use crate::record::{Plan, in_words};
use crate::run::{Parts, Runner};
use crate::tell::tell;
use crate::template::Template;
use multicore::{Error, Pool, Task};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NOT_FOUND: u8 = 127;

/// A worker ends a job that ran too long by itself. Only one that cannot is killed after this.
const LATE: Duration = Duration::from_secs(5);

/// Runs what the options say. Gives the exit code.
///
/// # Errors
/// A line for people: the command line, the journal or the system does not allow it.
pub fn run(options: Run) -> Result<u8, String> {
    let begun = Instant::now();
    let (words, listed) = split(&options.command)?;
    let inputs = open_inputs(&options, listed)?;
    let template = Template::new(words, options.clusters)?;
    let plan = Plan::of(&options)?;
    if options.dry_run {
        return print_commands(inputs, &template).map_err(|error| format!("cannot print the commands: {error}"));
    }
    let program = template.program().map(program::find).transpose();
    match program {
        Ok(program) => start(&options, plan, inputs, template, program, begun)?.run(),
        Err(reason) => {
            let word = words[0].to_string_lossy();
            tell!("multicore run: {word}: {reason}");
            Ok(NOT_FOUND)
        }
    }
}

/// The command's words, and the inputs behind `:::`.
fn split(command: &[OsString]) -> Result<(&[OsString], Option<Vec<OsString>>), String> {
    const SIGNS: [&str; 4] = ["::::", ":::+", "::::+", ":::"];
    let (words, inputs) = match command.iter().position(|word| word == ":::") {
        Some(at) => (&command[..at], Some(command[at + 1..].to_vec())),
        None => (command, None),
    };
    if words.is_empty() {
        return Err("there is no command before :::; see --help".to_string());
    }
    let others = inputs.iter().flatten().find(|input| SIGNS.iter().any(|sign| input == sign));
    if let Some(sign) = others {
        return Err(format!("there is one list of inputs only, behind one :::, and then {}", sign.display()));
    }
    Ok((words, inputs))
}

fn open_inputs(options: &Run, listed: Option<Vec<OsString>>) -> Result<Inputs, String> {
    let separator = if options.null { Separator::Zero } else { Separator::Line };
    let has_other = options.arg_file.is_some() || options.clusters.is_some();
    let mut inputs = match (listed, &options.arg_file, options.clusters) {
        (Some(_), ..) if has_other => {
            return Err("inputs come from :::, -a FILE or --clusters N: give one of them".to_string());
        }
        (Some(listed), ..) => Inputs::list(listed),
        (_, _, Some(count)) => Inputs::clusters(count),
        (_, Some(file), _) if file != Path::new("-") => Inputs::file(file, separator)
            .map_err(|error| format!("cannot read the inputs of {}: {error}", file.display()))?,
        _ => {
            if io::stdin().is_terminal() {
                tell!("multicore run: reading inputs from the terminal, one a line; Ctrl-D ends them");
            }
            Inputs::stdin(separator).map_err(|error| format!("cannot read inputs from standard input: {error}"))?
        }
    };
    if options.halt.is_some_and(Halt::needs_total) || ((options.bar || options.eta) && inputs.is_file()) {
        inputs.count().map_err(|error| format!("cannot read the inputs: {error}"))?;
    }
    Ok(inputs)
}

fn print_commands(mut inputs: Inputs, template: &Template) -> io::Result<u8> {
    let mut stdout = io::stdout().lock();
    for number in 1.. {
        let input = loop {
            match inputs.next(Duration::from_secs(1))? {
                Next::Input(input) => break input,
                Next::NotYet => {}
                Next::End => return stdout.flush().map(|()| 0),
            }
        };
        stdout.write_all(&template.command(&input, number).line)?;
        stdout.write_all(b"\n")?;
    }
    Ok(0)
}

fn start(
    options: &Run,
    plan: Plan,
    inputs: Inputs,
    template: Template,
    program: Option<Vec<u8>>,
    begun: Instant,
) -> Result<Runner, String> {
    plan.check_joblog()?;
    let directory = std::env::current_dir().map_err(|error| format!("there is no current directory: {error}"))?;
    let temporary = std::env::temp_dir();
    let slots = slots(options, &inputs);
    let counter = (!options.ungroup).then(|| open_counter(slots, &temporary)).transpose()?;
    let beacon = Beacon::light().map_err(|error| format!("cannot listen for workers: {error}"))?;
    let settings = Settings {
        address: counter.as_ref().map(|counter| counter.name().to_vec()),
        results: options.results.clone().map(|folder| directory.join(folder).into_os_string().into_vec()),
        temporary: temporary.clone().into_os_string().into_vec(),
        program,
        beacon: beacon.name().to_vec(),
        tries: options.retries.unwrap_or(1),
        limit: options.timeout,
        nice: nice(options)?,
        max_descriptors: descriptors::lift_for(slots),
    };
    // Jobs are processes of their own: samples of the workers' heaps tell nothing, and take 200 KiB of each.
    let builder = Pool::builder().workers(slots).warm_memory(0).samples(false);
    let pool = builder.on_worker_start_with(job::set_up, settings).build().map_err(|error| error.to_string())?;
    let task = open_task(options, &pool, &plan).map_err(|error| in_words(&error))?;
    let interrupts = Interrupts::watch(task.canceller(), beacon.clone())
        .map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;
    Ok(Runner::new(Parts {
        bar: Bar::new(options.bar, options.eta, inputs.total()),
        inputs,
        template,
        directory: directory.into_os_string().into_vec(),
        fingerprints: options.fingerprint,
        results: options.results.clone(),
        slots,
        gate: Gate::new(options.delay.unwrap_or_default(), options.load, options.memfree),
        joblog: plan.open_joblog()?,
        task,
        pool,
        counter,
        printer: open_printer(options, temporary)
            .map_err(|error| format!("cannot keep the standard streams: {error}"))?,
        halt: options.halt.unwrap_or(Halt::Never),
        interrupts,
        beacon,
        begun,
    }))
}

fn open_task(options: &Run, pool: &Pool, plan: &Plan) -> Result<Task<String>, Error> {
    let tries = options.retries.unwrap_or(1);
    let task: Task<String> = pool.try_task()?.retries(tries - 1);
    plan.record(match options.timeout {
        Some(limit) => task.timeout(limit.saturating_add(LATE).saturating_mul(tries)),
        None => task,
    })
}

fn open_printer(options: &Run, temporary: PathBuf) -> io::Result<Printer> {
    let shown = Options { keep_order: options.keep_order, tag: options.tag, only_failed: options.only_failed_output };
    Printer::new(shown, temporary)
}

/// No more than there are jobs.
fn slots(options: &Run, inputs: &Inputs) -> usize {
    let cpus = || std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let wanted = options.jobs.unwrap_or_else(cpus);
    let total = inputs.total().and_then(|total| usize::try_from(total).ok());
    wanted.min(total.unwrap_or(usize::MAX)).max(1)
}

fn open_counter(slots: usize, temporary: &Path) -> Result<Counter, String> {
    tempfile::tempfile_in(temporary).map_err(|error| {
        format!("what jobs print cannot be kept in {}: {error}; set TMPDIR to another folder", temporary.display())
    })?;
    Counter::open(slots).map_err(|error| format!("cannot listen for what jobs print: {error}"))
}

/// The niceness of the workers. Who may not lower it is told here.
fn nice(options: &Run) -> Result<Option<i32>, String> {
    let Some(nice) = options.nice else { return Ok(None) };
    let own = rustix::process::getpriority_process(None);
    if own.is_ok_and(|own| nice < own) {
        rustix::process::setpriority_process(None, nice)
            .map_err(|error| format!("jobs cannot have a niceness of {nice}: {error}"))?;
    }
    Ok(Some(nice))
}
