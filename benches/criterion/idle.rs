//! What a pool does while it has nothing to do.

fn main() {
    multicore_benches::bench(multicore_benches::job::idle::jobs);
}
