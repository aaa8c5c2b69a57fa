//! The command line: options, help, and what is wrong with it, in one line.

use crate::halt::Halt;
use crate::values;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Runs commands in parallel, remembers what is done, and goes on where it stopped.
#[derive(Debug, Parser)]
#[command(name = "multicore", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub action: Action,
}

const AFTER_HELP: &str = "\
Examples:
  multicore run gzip ::: *.log                              one gzip for each file, one for each CPU at a time
  multicore run --journal done -a ids.txt -- ./migrate      started again, it goes on where it stopped
  multicore journal show done                               what has run, when, and how it ended
  multicore top 4711                                        what the workers of a running program do

`multicore run --help` has all about running commands.";

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a command for each input, several at a time
    Run(Box<Run>),
    /// Look at a journal, make it smaller, repair it
    Journal {
        #[command(subcommand)]
        action: JournalAction,
    },
    /// Show what the workers of a running program do, again each second
    #[command(after_help = TOP_HELP)]
    Top {
        /// The program's process: of one that forks, the process that made the pool
        #[arg(value_parser = values::process)]
        pid: u32,
        /// Print it once, as text
        #[arg(long)]
        once: bool,
    },
    /// Print what the workers of a running program do
    #[command(after_help = STATS_HELP)]
    Stats {
        /// The program's process: of one that forks, the process that made the pool
        #[arg(value_parser = values::process)]
        pid: u32,
        /// One JSON object, for other programs
        #[arg(long)]
        json: bool,
    },
    /// Draw a timeline that a program has written, as an SVG picture
    #[command(after_help = SVG_HELP)]
    Svg {
        /// A file of `Timeline::write_chrome`
        #[arg(value_hint = ValueHint::FilePath)]
        trace: PathBuf,
        /// Write the picture to FILE [default: standard output]
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions { shell: Shell },
    /// Print a manual page
    #[command(after_help = "Example:\n  multicore man multicore-run > ~/.local/share/man/man1/multicore-run.1")]
    Man {
        /// Such as multicore-run or multicore-journal-check
        #[arg(default_value = "multicore")]
        page: String,
    },
}

/// What `top` and `stats` tell.
macro_rules! columns {
    () => {
        "\
Any program that uses the crate multicore can be looked at, by its user or by root. It neither notices nor
wakes, so this works while it hangs or is stopped.

Columns:
  STATE     starting, idle, busy, late (has not begun what it was given), leaving, resting (ended because
            it was idle), lost (has ended, and how is yet to be told), vacant (to be started)
  AGE       of a worker with pieces: since its program read an answer of it last, or gave it the first of
            them; of any other: since it does what it does
  PIECE     the number in its task of the piece that it runs, or is to run next
  MEMORY    what it has written or allocated, with what it shares with its fork server
  DONE      pieces that this process has answered
  RESTARTS  workers that were here before it, and why the last of them was replaced
  FUNCTION  what the piece calls; a number where the program has no symbols
  *         the program was stopped while it wrote this line: it is shown as last read"
    };
}

const TOP_HELP: &str = concat!(
    columns!(),
    "

Keys: q or Ctrl-C leaves; the arrows, Page Up and Page Down move.
Where standard output is no terminal, it prints a table each second. When the last pool of the program has
ended, it says so and waits for the next.

Examples:
  multicore top 4711
  multicore top $(pgrep -o myserver) --once

Exit code:
  0    it was left, or the program has ended, which it says
  128+N  a second signal N has ended it at once, or the first after 2 s without effect
  255  there is no such process, it may not be looked at, it has no pool, or it tells its status in
       another version"
);

const STATS_HELP: &str = concat!(
    columns!(),
    "

Examples:
  multicore stats 4711
  multicore stats 4711 --json | jq '.pools[].workers[] | select(.state == \"busy\" and .age > 60)'

Exit code:
  0    it was printed
  255  there is no such process, it may not be looked at, it has no pool, or it tells its status in
       another version"
);

const SVG_HELP: &str = "\
A row for each worker, a box for each piece that ran, by the name of its task or function; a line where a
worker was lost. Boxes of failed pieces have a red edge. Pieces that are narrower than the picture can show
are drawn as one. Rest the pointer on a box to read more. There are up to 1,024 rows, 100,000 boxes with a text,
and 12 names with a colour of their own; names and causes are cut after 200 characters.

Example:
  multicore svg trace.json -o trace.svg

Exit code:
  0    the picture was written
  255  the file cannot be read, is no timeline, or has more than 1,024 tracks";

const COMPLETIONS_HELP: &str = "\
Examples:
  multicore completions bash > ~/.local/share/bash-completion/completions/multicore
  multicore completions zsh > ~/.zfunc/_multicore                  (a folder of $fpath)
  multicore completions fish > ~/.config/fish/completions/multicore.fish";

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub enum JournalAction {
    /// List what a journal has, one outcome a line
    Show {
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// One JSON object a line, for other programs
        #[arg(long)]
        json: bool,
    },
    /// Read a whole journal and tell whether it is sound
    #[command(after_help = CHECK_HELP)]
    Check {
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Write a journal anew with the newest outcome of each piece
    Compact {
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Write a journal anew without what is damaged; what stood there runs again
    Repair {
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

const CHECK_HELP: &str = "\
Exit code:
  0    sound; also if a crash has torn its end, where no outcome was told to anybody
  1    damaged: `multicore journal repair` keeps what can be read
  255  it cannot be read, or it is no journal";

#[derive(Debug, Args)]
#[command(
    override_usage = RUN_USAGE,
    after_help = RUN_HELP,
    next_line_help = false,
    max_term_width = 110
)]
pub struct Run {
    /// The command, its arguments, and behind ::: the inputs
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,

    /// Run N jobs at a time: a number, +N or -N beside the CPUs, or N% of them [default: one for each CPU]
    #[arg(short, long, short_alias = 'P', alias = "max-procs", value_name = "N", value_parser = values::jobs, allow_hyphen_values = true)]
    pub jobs: Option<usize>,

    /// Read inputs from a file, one a line; - is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "clusters", help_heading = "Inputs")]
    pub arg_file: Option<PathBuf>,
    /// Inputs end in zero bytes, as find -print0 writes them
    #[arg(short = '0', long, conflicts_with = "clusters", help_heading = "Inputs")]
    pub null: bool,
    /// Run 1/N to N/N: each job does its share of the whole
    #[arg(long, value_name = "N", value_parser = values::clusters, help_heading = "Inputs")]
    pub clusters: Option<u64>,

    /// Record each job in FILE; commands that it has as done are skipped, failed ones run again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Going on where a run stopped")]
    pub journal: Option<PathBuf>,
    /// Write GNU parallel's table to FILE, with a journal FILE.journal; both begin anew unless resumed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Going on where a run stopped")]
    pub joblog: Option<PathBuf>,
    /// Skip commands that are recorded, failed ones too
    #[arg(long, help_heading = "Going on where a run stopped")]
    pub resume: bool,
    /// Skip commands that are recorded as done; failed ones run again
    #[arg(long, help_heading = "Going on where a run stopped")]
    pub resume_failed: bool,
    /// A command recorded with another key counts as another command
    #[arg(long, value_name = "TEXT", help_heading = "Going on where a run stopped")]
    pub version_key: Option<String>,
    /// Sync the journal after each job, so that a power cut takes nothing from it either
    #[arg(long, help_heading = "Going on where a run stopped")]
    pub sync: bool,
    /// Inputs are files: one that has changed since counts as another input
    #[arg(long, help_heading = "Going on where a run stopped")]
    pub fingerprint: bool,

    /// Run a job that fails up to N times in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub retries: Option<u32>,
    /// End a job after this time, with SIGTERM, then SIGKILL: seconds, or with s, m, h, d
    #[arg(long, value_name = "TIME", value_parser = values::limit, help_heading = "Limits")]
    pub timeout: Option<Duration>,
    /// Begin nothing new, or end at once: now or soon, with fail, success or done, and N or N% [default: never]
    #[arg(long, value_name = "WHEN,WHAT=N", help_heading = "Limits")]
    pub halt: Option<Halt>,
    /// Begin a job only while this much memory is available: bytes, or with K, M, G
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Limits")]
    pub memfree: Option<u64>,
    /// Begin a job only while the load is not above this: a number, or N% of the CPUs
    #[arg(long, value_name = "LOAD", value_parser = values::load, help_heading = "Limits")]
    pub load: Option<f64>,
    /// Wait this time between two starts
    #[arg(long, value_name = "TIME", value_parser = values::time, help_heading = "Limits")]
    pub delay: Option<Duration>,
    /// Run jobs with this niceness
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(-20..20), allow_hyphen_values = true, help_heading = "Limits")]
    pub nice: Option<i32>,

    /// Print outputs in the order of the inputs
    #[arg(short, long, help_heading = "Output")]
    pub keep_order: bool,
    /// Let jobs print straight to standard output and error, mixed
    #[arg(short, long, conflicts_with_all = ["keep_order", "tag", "results", "only_failed_output"], help_heading = "Output")]
    pub ungroup: bool,
    /// Begin each line with the input and a tab
    #[arg(long, help_heading = "Output")]
    pub tag: bool,
    /// Print only what failed jobs have printed
    #[arg(long, help_heading = "Output")]
    pub only_failed_output: bool,
    /// Also keep outputs in DIR/1/INPUT/stdout and stderr
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub results: Option<PathBuf>,
    /// Show a bar
    #[arg(long, help_heading = "Output")]
    pub bar: bool,
    /// Show the time that is left
    #[arg(long, help_heading = "Output")]
    pub eta: bool,
    /// Print the commands and run nothing
    #[arg(long, alias = "dryrun", action = ArgAction::SetTrue, help_heading = "Output")]
    pub dry_run: bool,
}

const RUN_USAGE: &str = "multicore run [-j N] [--clusters N | -a FILE | -0] [--journal FILE] [OPTIONS]
                     [--] COMMAND [ARG]... [::: INPUT...]";

const RUN_HELP: &str = "\
Several words are executed as they are, without a shell. One word with a blank or a sign of the
shell is a line for /bin/sh, in which inputs are quoted.

Placeholders in COMMAND and ARG (without any, the input comes last):
  {}   the input                  {/}   its last component          {#}  the job's number, from 1
  {.}  without its extension      {/.}  that without its extension  {i}  with --clusters: which one
  {//} its folder                                                   {\u{2060}n}  and how many there are

Inputs stand behind :::, or come from -a FILE, --clusters N, or standard input, one a line.
Jobs have an empty standard input. What a job leaves running ends with the run.

Examples:
  multicore run gzip ::: *.log                              one gzip for each file
  find . -name '*.png' -print0 | multicore run -0 optipng   names with anything in them
  multicore run 'convert {} {.}.jpg && rm {}' ::: *.png     a line for the shell
  multicore run -j3 --clusters 10000 --journal import.journal -- python manage.py import --cluster=
  multicore run --joblog log --resume-failed -a urls.txt curl -fsSO
  multicore run --journal built --fingerprint cc -c {} -o {.}.o ::: *.c

Signals: Ctrl-C or SIGTERM once lets what runs end; twice kills it.

Exit code:
  0      all jobs succeeded or were skipped; with --halt …,success=N: enough of them did
  1-100  the number of jobs that failed; 101: more
  127    there is no such command
  130    stopped by Ctrl-C or SIGTERM
  255    the command line, the journal or the system does not allow it";

/// Stands in `{n}`, where clap would print the end of a line.
pub const JOINER: &str = "\u{2060}";

/// Help and version, as they are printed.
pub fn help(error: &clap::Error) -> String {
    let text = error.render();
    let is_styled = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = if is_styled { text.ansi().to_string() } else { text.to_string() };
    text.replace(JOINER, "")
}

/// What is wrong with a command line, in one line.
pub fn one_line(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "give one of run, journal, top, stats, svg, completions and man; see --help".to_string();
    }
    let text = error.render().to_string();
    let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = parts.next().unwrap_or_default();
    let tip =
        parts.find(|part| part.starts_with("tip: ")).unwrap_or_default().replace(" tip:", ";").replace("tip:", ";");
    format!("{}{tip}; see --help", what.strip_prefix("error: ").unwrap_or(&what))
}
