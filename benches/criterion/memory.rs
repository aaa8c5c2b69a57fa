//! Bounded memory.

fn main() {
    multicore_benches::bench(multicore_benches::job::memory::jobs);
}
