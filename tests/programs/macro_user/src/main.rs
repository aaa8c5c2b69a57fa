//! A program that links the crate and uses a proc macro that also links it.

fn main() {
    println!("in the compiler: {}", multicore_proc_macro::said_in_the_compiler!());
    println!("in the program: {}", multicore_programs::global_task());
}
