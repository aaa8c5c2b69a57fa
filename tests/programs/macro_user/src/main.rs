//! A program whose proc macro links the crate, as it does itself.

fn main() {
    println!("in the compiler: {}", multicore_proc_macro::said_in_the_compiler!());
    println!("in the program: {}", multicore_programs::global_task());
}
