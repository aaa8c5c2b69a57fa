//! Does every job with every subject in turn and prints one table.

use multicore_benches::{Who, child, job, make_large, start, table};
use std::process::ExitCode;

const HELP: &str = "\
Measures multicore against bare floors and other pools, and prints one table.

usage: multicore_benches [--alone] [--quick] [--large] [--saturated] [WHAT...]

  WHAT         only these jobs: round_trip throughput payload serializer scaling start idle gate
               faults journal lock map awaited shared logs memory workers commands
  --alone      only multicore, to compare two of its versions
  --quick      a tenth of the turns, to check that the jobs run
  --large      `lock`, `map`, `shared` and `memory` with ten times as much of everything, `workers` with up to 512 of them
  --saturated  with one busy process for each CPU at the same time
";

fn main() -> ExitCode {
    start();
    let mut alone = false;
    let mut share = 1;
    let mut load = None;
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--alone" => alone = true,
            "--quick" => share = 10,
            "--large" => make_large(),
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
            for mut job in jobs() {
                if alone {
                    job.subjects.retain(|subject| subject.who == Who::Multicore);
                    job.targets.clear();
                }
                eprintln!("{name}: {}", job.name);
                rows.push(table::measure(job, share));
            }
        }
    }
    table::print(&rows);
    drop(load);
    ExitCode::SUCCESS
}
