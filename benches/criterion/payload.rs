//! Values of some size, there and back.

fn main() {
    multicore_benches::bench(multicore_benches::job::payload::jobs);
}
