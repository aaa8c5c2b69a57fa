//! How functions and closures are named, in errors and in backtraces: in programs of each level of optimisation, and in both of the
//! compiler's schemes of names.

use crate::compiler::compiler;
use std::process::Command;

const SOURCE: &str = r#"
use multicore::{Error, Task};

mod billing {
    pub fn refuse(number: u64) -> u64 {
        panic!("no {number}")
    }

    pub struct Ledger;

    impl Ledger {
        #[inline(never)]
        pub fn book(&self) -> multicore::Error {
            super::error_of(|task| task.call(|number: u64| -> u64 { panic!("not booked: {number}") }, 1))
        }
    }
}

mod library {
    /// Optimised, it becomes a part of its caller, and its closure does not.
    #[inline(always)]
    pub fn parse(number: u64) -> u64 {
        let digit = |number: u64| -> u64 {
            let text: Vec<String> = (0..number % 16).map(|one| format!("{one}/{number}")).collect();
            if text.len() > 2 { panic!("{}", text.join(", ")) }
            text.iter().map(String::len).sum::<usize>() as u64
        };
        digit(number) ^ digit(number + 1)
    }
}

fn error_of(hand_out: impl FnOnce(&Task<u64>)) -> Error {
    let task = Task::<u64>::new().expect("a pool can run here");
    hand_out(&task);
    task.get().unwrap_err()
}

fn tell(error: Error) {
    println!("{}", error.function().unwrap_or("?"));
    if let Some(backtrace) = error.backtrace() {
        println!("{backtrace}");
    }
}

fn main() {
    let task = Task::<u64>::new().expect("a pool can run here");
    task.call(billing::refuse, 1);
    tell(task.get().unwrap_err());
    let task = Task::<u64>::new().expect("a pool can run here");
    task.run(|a: u64, b: u64| -> u64 { panic!("{a} and {b}") }, 1, 2);
    tell(task.get().unwrap_err());
    tell(billing::Ledger.book());
    let task = Task::<u64>::new().expect("a pool can run here");
    task.call(|number: u64| library::parse(number), 7);
    tell(task.get().unwrap_err());
}
"#;

/// Builds the program and gives what it prints.
fn output(flags: &[&str], backtrace: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.rs");
    std::fs::write(&file, SOURCE).unwrap();
    let built = compiler(&file, folder.path()).args(flags).output().unwrap();
    assert!(built.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&built.stderr));
    let mut program = Command::new(folder.path().join("app"));
    // A library that counts what runs would leave files where it runs.
    program.current_dir(folder.path());
    let output = program.env("RUST_BACKTRACE", backtrace).env_remove("RUST_LIB_BACKTRACE").output().unwrap();
    assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_closure_is_named_with_its_path_in_each_build() {
    let newer = "-Csymbol-mangling-version=v0";
    for flags in
        [["-Copt-level=0"].as_slice(), &["-Copt-level=3"], &["-Copt-level=0", newer], &["-Copt-level=3", newer]]
    {
        let names = output(flags, "0");
        let names: Vec<_> = names.lines().collect();
        assert_eq!(names[..2], ["app::billing::refuse", "app::main::{{closure}}"], "{flags:?}");
        // Written in a closure in a method, which the optimiser may move elsewhere.
        assert!(names[2].contains("app::") && names[2].ends_with("::{{closure}}"), "{flags:?}: {}", names[2]);
        // Not the library's closure, which it calls.
        assert_eq!(names[3], "app::main::{{closure}}", "{flags:?}");
        if flags.len() == 2 || flags[0].ends_with('0') {
            assert!(names[2].contains("Ledger"), "{flags:?}: {}", names[2]);
        }
    }
}

#[test]
fn a_backtrace_shows_the_users_function() {
    for level in ["-Copt-level=0", "-Copt-level=3"] {
        let text = output(&[level], "1");
        let frames: Vec<_> = text.lines().filter(|line| line.contains(": app::")).collect();
        assert!(frames[0].ends_with("app::billing::refuse"), "{level}: {text}");
        assert!(frames[1].ends_with("app::main::{{closure}}"), "{level}: {text}");
        assert!(frames[2].ends_with("::{{closure}}"), "{level}: {text}");
    }
}
