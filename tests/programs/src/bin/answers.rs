//! A program that uses the global pool, and no more.

fn main() {
    multicore_programs::answers();
}
