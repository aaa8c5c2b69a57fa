//! The program `answers`, to be linked with a static glibc. With a folder as its argument it goes into that as its root
//! directory: it needs no library there.

fn main() {
    match std::env::args_os().nth(1) {
        Some(root) => multicore_programs::another_root(root.as_ref()),
        None => multicore_programs::answers(),
    }
}
