//! Does every job with every subject in turn, and prints one table.

use multicore_benches::{child, job, start, table};
use std::process::ExitCode;

const HELP: &str = "\
Measures multicore against bare floors and other pools, and prints one table.

usage: multicore_benches [--quick] [--saturated] [WHAT...]

  WHAT         only jobs of these: round_trip throughput payload serializer scaling start idle gate
  --quick      a tenth of the turns: to see that it runs
  --saturated  with a busy process for each CPU beside all of it
";

fn main() -> ExitCode {
    start();
    let mut share = 1;
    let mut load = None;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--quick" => share = 10,
            "--saturated" => load = Some(child::Load::on_every_cpu()),
            name if job::ALL.iter().any(|(known, _)| *known == name) => wanted.push(argument),
            other => {
                eprintln!("{other:?} is neither an option nor a job\n\n{HELP}");
                return ExitCode::FAILURE;
            }
        }
    }
    let mut rows = Vec::new();
    for (name, jobs) in job::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            for job in jobs() {
                eprintln!("{name}: {}", job.name);
                rows.push(table::measure(job, share));
            }
        }
    }
    table::print(&rows);
    drop(load);
    ExitCode::SUCCESS
}
