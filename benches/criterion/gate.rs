//! Opening a task.

fn main() {
    multicore_benches::bench(multicore_benches::job::gate::jobs);
}
