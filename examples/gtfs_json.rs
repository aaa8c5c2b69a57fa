//! A realistic job for the pool: a GTFS feed as JSON, one object a line.
//!
//! Each row of `stop_times.txt` is joined with its trip, its route and its stop. The parent cuts the file into ranges of whole
//! rows. A piece gets the feed's folder and a range, and reads its own part of the file. A worker loads the small tables once.
//! The results are text. `write_to` writes them to the output in file order, so no process ever holds more than a few of them.
//!
//! Then the same function runs over the same ranges in this process, one after the other, and the two outputs are compared.
//! That first round is not timed: it warms the file cache, the memory and the processor, and writes the output. The rounds
//! after it are timed, the two ways in turns, and the medians are printed.
//!
//! ```text
//! cargo run --release --example gtfs_json -- feed.zip --output rows.json
//! ```
//!
//! A module uses only those that stand before it here: `problem`; `json`, `sum`, `rows`; `table`, `tables`; `feed`; `render`,
//! which does the work; and around it `options`, `leftovers`, `output`, `made` and `source`.

use multicore::{Pool, Task};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "gtfs_json/feed.rs"]
mod feed;
#[path = "gtfs_json/json.rs"]
mod json;
#[path = "gtfs_json/leftovers.rs"]
mod leftovers;
#[path = "gtfs_json/made.rs"]
mod made;
#[path = "gtfs_json/options.rs"]
mod options;
#[path = "gtfs_json/output.rs"]
mod output;
#[path = "gtfs_json/problem.rs"]
mod problem;
#[path = "gtfs_json/render.rs"]
mod render;
#[path = "gtfs_json/rows.rs"]
mod rows;
#[path = "gtfs_json/source.rs"]
mod source;
#[path = "gtfs_json/sum.rs"]
mod sum;
#[path = "gtfs_json/table.rs"]
mod table;
#[path = "gtfs_json/tables.rs"]
mod tables;

use feed::{STOP_TIMES, TABLES};
use options::{HELP, Options};
use output::{OutputFile, Sink};
use problem::{Problem, Result};
use rows::Layout;
use source::Source;
use sum::Sum;

/// The longest range of a piece, unless `--pieces` sets their number. Its JSON is about six times as long. This is short enough
/// to stay in a core's cache and to keep every process small, and long enough that the cost of sending a piece is negligible.
const PIECE_BYTES: usize = 256 << 10;
/// The number of pieces for each worker, as in `multicore::ranges`.
const PIECES_PER_WORKER: usize = 4;
/// The most bytes of results that the parent holds before it is their turn to be written.
const MAX_UNREAD_BYTES: usize = 16 << 20;
/// The memory that is kept ready for each worker: enough for the results of a few pieces.
const WARM_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(problem) => {
            // After a Ctrl-C this waits for the end of the program: the error would only be that the temporary folder is
            // gone.
            let _quiet = leftovers::hold();
            eprintln!("gtfs_json: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let Some(options) = Options::parse(std::env::args_os().skip(1))? else {
        say(HELP)?;
        return Ok(ExitCode::SUCCESS);
    };
    leftovers::remove_on_interrupt()?;
    let mut output = options.output.as_deref().map(OutputFile::create).transpose()?;
    let source = Source::open(&options.feed)?;
    let layout = cut(source.folder(), &options)?;

    let expected = parallel(source.folder(), &layout, &options, output.as_mut(), Warnings::Printed)?.1;
    let mut identical = serial(source.folder(), &layout)?.1 == expected;
    if let (true, Some(output)) = (identical, output) {
        output.finish()?;
    }
    let (mut parallel_times, mut serial_times) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let (time, sum) = parallel(source.folder(), &layout, &options, None, Warnings::Known)?;
        parallel_times.push(time);
        identical &= sum == expected;
        let (time, sum) = serial(source.folder(), &layout)?;
        serial_times.push(time);
        identical &= sum == expected;
    }
    let (parallel_time, serial_time) = (median(parallel_times), median(serial_times));
    say(&format!(
        "pieces {}\nhash {:016x}\nrounds {}, timed in turns after one that is not; medians:\nparallel {:.3} s\nserial {:.3} s\n\
         ratio {:.2}\nrows {}\nbytes {}\noutputs identical: {}\n",
        layout.ranges.len(),
        expected.hash(),
        options.rounds,
        parallel_time.as_secs_f64(),
        serial_time.as_secs_f64(),
        serial_time.as_secs_f64() / parallel_time.as_secs_f64(),
        layout.rows,
        expected.bytes(),
        if identical { "yes" } else { "no" },
    ))?;
    Ok(if identical { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The middle one, or the upper of the two in the middle.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Whether the user must be told that the pieces run inline.
#[derive(Clone, Copy, PartialEq)]
enum Warnings {
    Printed,
    Known,
}

/// Reads every table once, which warms the file cache for both runs, and cuts `stop_times.txt` into the ranges of the pieces.
fn cut(folder: &Path, options: &Options) -> Result<Layout> {
    for name in TABLES.into_iter().filter(|name| *name != STOP_TIMES) {
        rows::cut(&folder.join(name), |_| std::iter::empty())?;
    }
    rows::cut(&folder.join(STOP_TIMES), |bytes| {
        let ranges = multicore::ranges(bytes);
        match (options.pieces, options.workers) {
            (Some(pieces), _) => ranges.with_pieces(pieces),
            (None, Some(workers)) => {
                ranges.with_pieces(workers.saturating_mul(PIECES_PER_WORKER)).with_max_len(PIECE_BYTES)
            }
            (None, None) => ranges.with_max_len(PIECE_BYTES),
        }
    })
}

/// Runs all pieces in the pool. The time is measured from before the pool is made until the last byte is written.
fn parallel(
    folder: &Path,
    layout: &Layout,
    options: &Options,
    output: Option<&mut OutputFile>,
    warnings: Warnings,
) -> Result<(Duration, Sum)> {
    let mut sink = Sink::new("parallel", layout.rows, output);
    let begin = Instant::now();
    let mut builder = Pool::builder().warm_memory(WARM_BYTES);
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    if let Some(percent) = options.max_load_percent {
        builder = builder.max_load_average(percent);
    }
    // Dropped at the end, so that no worker disturbs the serial run.
    let pool = builder.build();
    let inline = |error: &multicore::Error| {
        if warnings == Warnings::Printed {
            eprintln!("gtfs_json: {error}; the pieces run inline");
        }
    };
    let task: Task<String> = match &pool {
        Ok(pool) => pool.try_task().unwrap_or_else(|error| {
            inline(&error);
            pool.task_or_inline()
        }),
        Err(error) => {
            inline(error);
            Task::new_or_inline()
        }
    };
    let task = task.max_unread(MAX_UNREAD_BYTES);
    let pieces = layout.ranges.iter().map(|(start, end)| ((folder.as_os_str().to_owned(), *start), *end));
    task.run_all_into(render::piece, pieces);
    task.write_to(&mut sink).map_err(Problem::new)?;
    let sum = sink.finish()?;
    Ok((begin.elapsed(), sum))
}

/// Runs the same pieces in this process, one after the other. Only a sum of the output is kept.
fn serial(folder: &Path, layout: &Layout) -> Result<(Duration, Sum)> {
    let mut sink = Sink::new("serial", layout.rows, None);
    let begin = Instant::now();
    let mut lines = String::new();
    for (start, end) in &layout.ranges {
        lines.clear();
        render::render(folder.as_os_str(), *start, *end, &mut lines)?;
        sink.write_all(lines.as_bytes()).map_err(Problem::new)?;
    }
    let sum = sink.finish()?;
    Ok((begin.elapsed(), sum))
}

/// Prints to stdout. If stdout is closed, this is an error and not a panic.
fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Problem::new(format_args!("cannot write to stdout: {error}")))
}
