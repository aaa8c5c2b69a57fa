//! The program `answers`, linked by lld (see `build.rs`).

fn main() {
    multicore_programs::answers();
}
