//! A function over an iterator.

fn main() {
    multicore_benches::bench(multicore_benches::job::map::jobs);
}
