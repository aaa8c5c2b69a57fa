//! Asks its worker whether the C++ statics are constructed.

#![allow(unsafe_code)]

#[cfg(without_cpp)]
fn main() {
    println!("no C++ compiler");
}

#[cfg(not(without_cpp))]
fn main() {
    use multicore::Pool;
    use std::ffi::c_int;

    unsafe extern "C" {
        // SAFETY: the functions take no arguments and only read what constructors wrote.
        safe fn cpp_early() -> c_int;
        safe fn cpp_late() -> c_int;
        safe fn cpp_early_saw_marker() -> c_int;
        safe fn cpp_late_saw_marker() -> c_int;
        safe fn cpp_constructor_calls() -> c_int;
    }

    fn ask(_: ()) -> Vec<i32> {
        vec![cpp_early(), cpp_late(), cpp_constructor_calls(), cpp_early_saw_marker(), cpp_late_saw_marker()]
    }

    println!("in main: {:?}", ask(()));
    let pool = Pool::builder().workers(1).preload(|| println!("in preload: {:?}", ask(()))).build();
    let pool = pool.expect("a pool can run here");
    let task = pool.try_task().expect("the pool is open");
    task.call(ask, ());
    println!("in a worker: {:?}", task.get().expect("it answers")[0]);
}
