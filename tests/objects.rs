//! Pools in shared objects that link the crate: plug-ins, extensions of interpreters, a proc macro in the compiler.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

mod run;

use run::{build, command, program, run};
use std::path::PathBuf;

fn object(linker: &str) -> PathBuf {
    let name = format!("multicore_cdylib_{linker}");
    build(&["-p", &name]).remove(&name).expect("just built")
}

#[test]
fn a_pool_runs_in_a_shared_object_that_a_program_loads() {
    for linker in ["bfd", "lld"] {
        let object = object(linker);
        let mut plugged = command(&program("host"), &["load"]);
        plugged.arg(&object);
        run(plugged).assert_said("before: Ok\nplug-in: 0\nafter: Ok\n");
    }
}

/// The host is the compiler itself, which loads many libraries.
#[test]
fn a_pool_runs_in_a_proc_macro() {
    let program = build(&["-p", "multicore_macro_user"]).remove("multicore_macro_user").expect("just built");
    run(command(&program, &[])).assert_said("in the compiler: Ok(true)\nin the program: Ok\n");
}
