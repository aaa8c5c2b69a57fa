//! The program `answers`, to be linked with a static glibc.

fn main() {
    multicore_programs::answers();
}
