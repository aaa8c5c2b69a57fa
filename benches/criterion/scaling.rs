//! Pieces of real work, even and uneven.

fn main() {
    multicore_benches::bench(multicore_benches::job::scaling::jobs);
}
