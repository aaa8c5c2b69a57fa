//! Many tiny pieces.

fn main() {
    multicore_benches::bench(multicore_benches::job::throughput::jobs);
}
