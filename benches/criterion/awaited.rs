//! Pieces that are awaited.

fn main() {
    multicore_benches::bench(multicore_benches::job::awaited::jobs);
}
