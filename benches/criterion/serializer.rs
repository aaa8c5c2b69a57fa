//! Rows to JSON.

fn main() {
    multicore_benches::bench(multicore_benches::job::serializer::jobs);
}
