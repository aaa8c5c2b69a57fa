//! The program `answers`, linked by GNU ld (see `build.rs`).

fn main() {
    multicore_programs::answers();
}
