//! A program that only uses the global pool.

fn main() {
    multicore_programs::answers();
}
