//! One piece there and back.

fn main() {
    multicore_benches::bench(multicore_benches::job::round_trip::jobs);
}
