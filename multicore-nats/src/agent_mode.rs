//! A program that `MULTICORE_AGENT=1` makes an agent, before its `main`: nobody has to change it.
//!
//! | the variable               | what happens                                                        |
//! |----------------------------|---------------------------------------------------------------------|
//! | not there, empty, or `0`   | nothing: `main` runs                                                |
//! | `1`                        | the program serves as an agent, with a pool of its own, and exits    |
//! | anything else              | one line, and exit code 1                                           |
//!
//! The variable leaves the environment at once, so nothing that a piece starts becomes an agent. In a program that has more rights than its
//! caller it is ignored. In a shared object inside another program it is ignored, too: there [`serve`](crate::serve()) is called.
//!
//! Invariant: what stands behind this constructor in the list of constructors runs before the agent looks at the table of functions.

#![allow(unsafe_code)]

use crate::driver::tell;
use crate::serve::{Agent, serve};
use multicore::Pool;
use multicore::remote;
use std::ffi::c_int;

const VARIABLE: &str = "MULTICORE_AGENT";

/// In the list of functions that the loader calls before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: unsafe extern "C" fn(c_int, *const *const u8, *const *const u8) = entry;

unsafe extern "C" fn entry(argument_count: c_int, arguments: *const *const u8, environment: *const *const u8) {
    let Some(value) = std::env::var_os(VARIABLE) else { return };
    if !remote::is_plain_executable() {
        return;
    }
    // SAFETY: before `main`, where constructors have made no threads that read the environment; those that have are told in the docs.
    unsafe { std::env::remove_var(VARIABLE) };
    match value.to_str() {
        Some("" | "0") => {}
        Some("1") => {
            // SAFETY: the loader has called this with these arguments, and it does not return.
            unsafe { remote::run_constructors_after(entry, argument_count, arguments, environment) };
            std::process::exit(run());
        }
        _ => {
            tell(&format!("{VARIABLE} is {value:?}: set it to 1 for an agent, or to 0 for none"));
            std::process::exit(1);
        }
    }
}

/// Serves until the agent is ended. Gives the exit code.
fn run() -> i32 {
    let served = Agent::from_env().and_then(|agent| serve(Pool::global()?, agent));
    match served {
        Ok(()) => 0,
        Err(error) => {
            tell(&error.to_string());
            1
        }
    }
}
