//! The parent's CPU time for a piece, by the number of workers.

fn main() {
    multicore_benches::bench(multicore_benches::job::workers::jobs);
}
