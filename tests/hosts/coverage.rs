//! Programs that are built to count what runs: workers write their counts, whichever way the pool ends.

use crate::run::{build_library_with, build_with, command, run, skipped};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// How often the program's pieces and its preload call their functions.
const PIECES: u64 = 12_345;
const PRELOADED: u64 = 54_321;

/// Cargo puts both builds of the program in the same place.
static BUILT: Mutex<()> = Mutex::new(());

/// In how many of these files a number stands.
fn files_with(number: u64, files: &[Vec<u8>]) -> usize {
    files.iter().filter(|file| file.windows(8).any(|bytes| bytes == number.to_le_bytes())).count()
}

/// Runs the program in an empty directory, with this name for its files, and gives the files.
fn counted(program: &Path, way: &str, name: Option<&str>) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let mut covered = command(program, &[way]);
    covered.current_dir(directory.path()).env_remove("LLVM_PROFILE_FILE");
    match name {
        Some(name) if name.starts_with('/') => {
            covered.env("LLVM_PROFILE_FILE", format!("{}{name}", directory.path().display()))
        }
        Some(name) => covered.env("LLVM_PROFILE_FILE", name),
        None => &mut covered,
    };
    run(covered).assert_said("right: true\n");
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
    files.map(|file| fs::read(file).unwrap()).collect()
}

/// Fault 67. No worker ever wrote a profile, since it ends without `exit`: code that was tested in pieces counted as untested.
#[test]
fn workers_write_their_counts_in_whatever_way_the_pool_ends() {
    let _built = BUILT.lock();
    let program = match build_with("covered", &["-Cinstrument-coverage"]) {
        Ok(program) => program,
        Err(error) if error.contains("profiler") => {
            return skipped("coverage", "this toolchain has no profiler runtime");
        }
        Err(error) => panic!("{error}"),
    };
    for (way, name, expected) in [
        // A file for each process: the host's, the fork server's and the worker's. None has counts of another.
        ("shutdown", Some("/%p.profraw"), (3, 1, 1)),
        ("drop", Some("%p-%m.profraw"), (3, 1, 1)),
        ("global", None, (3, 1, 1)),
        // One file, to which each process adds its counts.
        ("global", Some("all-%m.profraw"), (1, 1, 1)),
    ] {
        let files = counted(&program, way, name);
        let found = (files.len(), files_with(PIECES, &files), files_with(PRELOADED, &files));
        assert_eq!(found, expected, "{way}, {name:?}");
    }
}

/// `cargo llvm-cov` and `RUSTFLAGS` build all crates so, this one too. It did not compile: each module that counts defines the name of the file, to which
/// the library referred weakly.
#[test]
fn the_library_itself_can_be_built_to_count() {
    let _built = BUILT.lock();
    match build_library_with(&["-Cinstrument-coverage"]) {
        Err(error) if error.contains("profiler") => skipped("coverage", "this toolchain has no profiler runtime"),
        built => built.unwrap_or_else(|error| panic!("{error}")),
    }
}

/// Fault 67, with gcc's `--coverage`. What it links has no `__gcov_dump`, unless the program names that.
#[test]
fn workers_write_the_counts_of_gcc_too() {
    let _built = BUILT.lock();
    const FUNCTIONS: &str = "unsigned long multiply(unsigned long a, unsigned long b) { return a * b; }\n\
        unsigned long add_one(unsigned long a) { return a + 1; }\n";
    const NAMES: &str = "void __gcov_dump(void); void __gcov_reset(void);\n\
        void (*named[])(void) = { __gcov_dump, __gcov_reset };\n";
    for (what, names, preloaded) in [
        // The fork server's own counts cannot be taken from a worker's, which has them from it.
        ("without __gcov_dump", "", 2 * PRELOADED),
        ("with __gcov_dump", NAMES, PRELOADED),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (source, object) = (directory.path().join("counted.c"), directory.path().join("counted.o"));
        fs::write(&source, format!("{FUNCTIONS}{names}")).unwrap();
        let mut compiler = Command::new("gcc");
        compiler.args(["--coverage", "-O0", "-c", "-o"]).args([&object, &source]);
        match compiler.status() {
            Ok(status) if status.success() => {}
            outcome => return skipped("coverage by gcc", &format!("gcc: {outcome:?}")),
        }
        let object = format!("-Clink-arg={}", object.display());
        let arguments = ["--cfg=gcov", "-Clinker=gcc", &object, "-Clink-arg=--coverage"];
        let program = match build_with("covered", &arguments) {
            Ok(program) => program,
            Err(error) if error.contains("-lgcov") => return skipped("coverage by gcc", "gcc has no libgcov"),
            Err(error) => panic!("{error}"),
        };
        for way in ["shutdown", "drop", "global"] {
            run(command(&program, &[way])).assert_said("right: true\n");
            // All processes add their counts to one file.
            let counts = directory.path().join("counted.gcda");
            let file = [fs::read(&counts).unwrap_or_default()];
            assert_eq!((files_with(PIECES, &file), files_with(preloaded, &file)), (1, 1), "{way}, {what}");
            fs::remove_file(counts).unwrap();
        }
    }
}
