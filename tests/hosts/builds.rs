//! Pools in programs of every build: profiles, C libraries, linkers, C++ statics. Shared objects have tests of their own
//! (`objects.rs`).

use crate::run::{self, build, build_with, command, musl_program, program, run, skipped};
use std::fs;
use std::path::{Path, PathBuf};

const ANSWERS: &str = "\
task: Ok
sum: 499500
panic: Panicked None
abort: WorkerLost Some(Signal(6))
exit: WorkerLost Some(Exit(3))
after: Ok
";

#[track_caller]
fn check(program: &Path, expected: &str) {
    run(command(program, &[])).assert_said(expected);
}

#[track_caller]
fn linked(linker: &str) -> PathBuf {
    let name = format!("linked_by_{linker}");
    build(&["-p", "multicore_programs", "--bin", &name]).remove(&name).expect("just built")
}

/// lld writes its name into what it links, and GNU ld does not. These tests use no other linker.
#[track_caller]
fn assert_linked_by(linker: &str, file: &Path) {
    let bytes = fs::read(file).unwrap();
    let lld = bytes.windows(11).any(|window| window == b"Linker: LLD");
    assert_eq!(lld, linker == "lld", "{file:?} was linked by another linker than {linker}");
}

/// True if the program has a loader, so is not static. Its first page then contains the loader's path.
fn has_interpreter(file: &Path) -> bool {
    let bytes = fs::read(file).unwrap();
    bytes[..4096].windows(4).any(|window| window == b"/ld-")
}

#[test]
fn a_pool_runs_in_a_plain_program() {
    assert!(has_interpreter(&program("answers")));
    check(&program("answers"), ANSWERS);
}

#[test]
fn a_pool_runs_in_an_example() {
    let hello = build(&["-p", "multicore", "--example", "hello"]).remove("hello").expect("just built");
    check(&hello, "148933 primes below 2000000\n");
}

#[test]
fn a_pool_runs_in_a_static_program_of_musl() {
    let Some(answers) = musl_program("answers") else { return };
    assert!(!has_interpreter(&answers), "it is not static");
    check(&answers, ANSWERS);
}

#[test]
fn a_pool_runs_in_a_static_program_of_glibc() {
    match build_with("linked_statically", &["-Ctarget-feature=+crt-static"]) {
        Ok(program) => {
            assert!(!has_interpreter(&program), "it is not static");
            check(&program, ANSWERS);
        }
        Err(error) if error.contains("-lc") => skipped("a static glibc", "no libc.a"),
        Err(error) => panic!("{error}"),
    }
}

/// With `panic = "abort"` a panic ends the worker.
#[test]
fn a_pool_runs_in_a_stripped_program_of_fat_lto_that_aborts_on_panic() {
    let arguments = ["-p", "multicore_programs", "--bin", "answers", "--profile", "fat"];
    let answers = build(&arguments).remove("answers").expect("just built");
    let outcome = run(command(&answers, &[]));
    let expected = ANSWERS.replace("panic: Panicked None", "panic: WorkerLost Some(Signal(6))");
    assert_eq!(outcome.stdout, expected);
    assert!(outcome.status.success());
    // The worker aborts before it can send an error, so the panic hook prints the message.
    assert!(outcome.stderr.contains("no reason"), "{outcome:?}");
}

#[test]
fn a_pool_runs_in_a_program_linked_by_gnu_ld() {
    let program = linked("bfd");
    assert_linked_by("bfd", &program);
    check(&program, ANSWERS);
}

#[test]
fn a_pool_runs_in_a_program_linked_by_lld() {
    let program = linked("lld");
    assert_linked_by("lld", &program);
    check(&program, ANSWERS);
}

/// The loader constructs one of the two statics before the crate's entry runs. The entry has the other one constructed.
/// Neither is constructed twice.
#[test]
fn constructors_of_cpp_statics_have_run_once_in_workers() {
    let built = build(&["-p", "multicore_cpp_program"]);
    let outcome = run(command(&built["multicore_cpp_program"], &[]));
    if outcome.stdout == "no C++ compiler\n" {
        return skipped("C++ statics", "no C++ compiler");
    }
    // The sums of the early and the late static, the calls of a plain constructor, and which static saw the marker.
    outcome.assert_said("in main: [42, 42, 1, 0, 0]\nin preload: [42, 42, 1, 1, 0]\nin a worker: [42, 42, 1, 1, 0]\n");
}

/// The second version is a copy of this one with another version number.
#[test]
fn two_versions_of_the_crate_live_in_one_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = run::target_dir().join("tmp/two_versions");
    fs::create_dir_all(directory.join("other")).unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let version = format!("version = {:?}\n", env!("CARGO_PKG_VERSION"));
    assert!(manifest.contains(&version));
    // The package and its dependencies, without the workspace, targets and tests.
    let mut other = String::new();
    for section in manifest.split("\n[") {
        let head = section.split(']').next().unwrap().trim_start_matches('[');
        if head == "package"
            || head == "dependencies"
            || head.starts_with("target.") && !head.ends_with(".dev-dependencies")
            || head == "features"
        {
            other.push_str(&format!("[{}\n", section.trim_start_matches('[')));
        }
    }
    let other = other.replacen(&version, "version = \"0.0.9\"\n", 1);
    write_if_changed(
        &directory.join("other/Cargo.toml"),
        &format!("{other}\n[lib]\npath = {:?}\n", root.join("src/lib.rs")),
    );
    // With the features and the profile of the tests, as in `tests/programs/Cargo.toml`.
    let program = format!(
        "[package]\nname = \"two_versions\"\nedition = \"2024\"\n\n\
         [[bin]]\nname = \"two_versions\"\npath = {:?}\n\n\
         [dependencies]\n\
         this_version = {{ package = \"multicore\", path = {root:?} }}\n\
         other_version = {{ package = \"multicore\", path = \"other\" }}\n\
         libc = {{ version = \"0.2\", features = [\"extra_traits\"] }}\n\
         serde_core = \"1\"\n\n\
         [build-dependencies]\n\
         syn = {{ version = \"3\", features = [\"full\"] }}\n\n\
         [profile.dev]\n\
         debug = \"line-tables-only\"\n\n\
         [profile.dev.package.serde_json]\n\
         opt-level = 2\n\n\
         [workspace]\n",
        root.join("tests/programs/two_versions/main.rs"),
    );
    write_if_changed(&directory.join("Cargo.toml"), &program);
    // Cargo adds both packages to the lock file, so a copy of the original is kept beside it.
    let (lock, former) = (fs::read_to_string(root.join("Cargo.lock")).unwrap(), directory.join("Cargo.lock.former"));
    if fs::read_to_string(&former).ok().as_ref() != Some(&lock) {
        fs::write(directory.join("Cargo.lock"), &lock).unwrap();
        fs::write(former, &lock).unwrap();
    }
    let built = run::build_elsewhere(&directory);
    check(&built["two_versions"], "apart: true\nthe other lives on: true\nglobal pools: (true, true)\n");
}

/// A file that did not change is not written, so that cargo does not build it again.
fn write_if_changed(file: &Path, text: &str) {
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        fs::write(file, text).unwrap();
    }
}
