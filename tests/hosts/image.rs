//! Programs whose executable is not what its path says: started through the loader, in another root directory, with
//! other files under the numbers of our descriptors, without /proc. Only this program is ever executed, or nothing is.
//! The fault numbers are those of CASES.md.

use crate::run::{build_with, command, program, run, skipped};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The loader of the test programs: the path in the first page of each.
fn loader() -> PathBuf {
    let bytes = fs::read(program("image")).unwrap();
    let page = String::from_utf8_lossy(&bytes[..4096]).into_owned();
    page.split('\0').find(|text| text.starts_with("/lib") && text.contains("/ld-")).expect("it has a loader").into()
}

/// Fault 56. `/proc/self/exe` is the loader then. The crate executed it with this program's arguments, so the loader
/// executed the first argument as a program, at each try; and its usage or its complaint came to the user's stderr.
#[test]
fn started_through_its_loader_a_program_executes_nothing_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let (made, text) = (directory.path().join("made"), directory.path().join("text"));
    fs::write(&text, "no program\n").unwrap();
    let (loader, image) = (loader(), program("image"));
    let runs = fs::canonicalize(&loader).unwrap();
    let why = format!(
        "Unsupported: no pool can run here: this program did not start as itself: the kernel runs {}, which loaded it; \
         start the program directly, so that it can be started once more as fork server\n",
        runs.display()
    );
    let said = format!("{why}the same again: true\nown: {why}inline: [6]\n");
    for arguments in [&["/usr/bin/touch", made.to_str().unwrap()][..], &[text.to_str().unwrap()], &[]] {
        let mut through = command(&loader, &[image.to_str().unwrap()]);
        through.args(arguments);
        run(through).assert_said(&said);
        assert!(!made.exists(), "the program's argument was executed");
    }
    // The same program, started directly.
    let said = "Ok\nthe same again: true\nown: Ok\ninline: [6]\n";
    run(command(&image, &["/usr/bin/touch", made.to_str().unwrap()])).assert_said(said);
    assert!(!made.exists());
}

/// A folder that looks like the root directory to a program at this path, with the files that it needs; where the
/// program lies is a script, which leaves a file behind if it is executed.
fn root(image: &Path, files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let place = |file: &Path| {
        let place = root.path().join(file.strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    };
    for file in files {
        fs::copy(file, place(Path::new(file))).unwrap();
    }
    let impostor = place(image);
    fs::copy("/usr/bin/touch", &impostor).unwrap();
    fs::set_permissions(impostor, fs::Permissions::from_mode(0o755)).unwrap();
    root
}

/// Fault 57. Without /proc a later fork server was started by the path of the program: in another root directory that is
/// another program, or none.
#[test]
fn in_another_root_directory_only_this_program_is_started() {
    let check = |image: &Path, situation: &[&str], libraries: &[&str], said: &str| {
        let root = root(image, libraries);
        let mut command = command(image, situation);
        command.arg(root.path());
        let outcome = run(command);
        match outcome.find("skipped") {
            Some(why) => skipped("another root directory", why),
            None => outcome.assert_said(said),
        }
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| root.path().join(name).is_dir()), "another program was executed: {left:?}");
    };
    let well = "later: Ok\nanother: Ok\n";
    let image = program("image");
    let libraries = run(command(&image, &["libraries"])).stdout;
    let loader_path = loader();
    let libraries: Vec<&str> = libraries.lines().chain(loader_path.to_str()).collect();
    check(&image, &["chroot"], &libraries, well);
    let lost = format!(
        "cannot start this program once more as fork server: its loader {} is not there: is this another root directory \
         than at its start?",
        loader().display()
    );
    let piece = "System: piece 0 (";
    let outcome = {
        let root = root(&image, &[]);
        run(command(&image, &["chroot", root.path().to_str().unwrap()]))
    };
    if outcome.find("skipped").is_none() {
        let later = outcome.answer("later");
        assert!(later.starts_with(piece) && later.ends_with(&lost), "{later}");
        assert_eq!(outcome.answer("another"), format!("System: {lost}"));
        assert_eq!(outcome.stderr, "");
    }
    match build_with("linked_statically", &["-Ctarget-feature=+crt-static"]) {
        Ok(image) => check(&image, &[], &[], well),
        Err(error) if error.contains("-lc") => skipped("a static glibc", "no libc.a"),
        Err(error) => panic!("{error}"),
    }
}

/// Fault 81. The loader of a fork server that lacks a library wrote its complaint to the host's standard error, at each try.
#[test]
fn what_the_loader_complains_of_comes_with_the_error() {
    let image = program("image");
    let root = root(&image, &[loader().to_str().unwrap()]);
    let outcome = run(command(&image, &["chroot", root.path().to_str().unwrap()]));
    if let Some(why) = outcome.find("skipped") {
        return skipped("another root directory", why);
    }
    for (what, begin) in [
        ("later", "the pool ended: its fork server died again and again; while it loaded it printed: "),
        ("another", "System: the fork server ended while it loaded, and printed: "),
    ] {
        let told = outcome.answer(what);
        assert!(told.contains(begin) && told.contains(": error while loading shared libraries: "), "{told}");
    }
    assert_eq!(outcome.stderr, "");
}

/// Fault 81: what a constructor prints before the crate's own goes where the host prints, once the image has loaded, and all
/// of it.
#[test]
fn what_constructors_print_goes_where_the_host_prints() {
    let said = "Ok\nthe same again: true\nown: Ok\ninline: [6]\n";
    let text = format!("{} a warning\n", "x".repeat(100_000));
    let mut image = command(&program("image"), &[]);
    image.env("IMAGE_SAYS", &text);
    let outcome = run(image);
    // Two pools, with a fork server each.
    assert_eq!((outcome.stdout.as_str(), outcome.stderr), (said, text.repeat(2)));
    let mut image = command(&program("image"), &[]);
    image.env("IMAGE_SAYS", "a warning\n").env("IMAGE_THREAD", "1").env("MULTICORE_WORKERS", "1");
    let outcome = run(image);
    // A worker each beside.
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (said, "a warning\n".repeat(4).as_str()));
}

/// Fault 81: a copy of the standard error that such a constructor keeps leads there too.
#[test]
fn what_is_printed_by_a_kept_standard_error_goes_where_the_host_prints() {
    for thread in [None, Some("1")] {
        let mut image = command(&program("image"), &["kept"]);
        image.env("IMAGE_SAYS", "a warning\n").envs(thread.map(|thread| ("IMAGE_THREAD", thread)));
        let outcome = run(image);
        // The worker that is executed beside the fork server warns too.
        let warnings = "a warning\n".repeat(1 + usize::from(thread.is_some()));
        let expected = ("written: [true]\n", format!("{warnings}by a piece\n"));
        assert_eq!((outcome.stdout.as_str(), outcome.stderr), expected);
    }
}

/// Fault 81: so does what an executed worker prints, and only its own, where it ends while it loads.
#[test]
fn what_a_worker_prints_while_it_loads_comes_with_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let fails = directory.path().join("fails");
    let mut image = command(&program("image"), &["workers-fail", fails.to_str().unwrap()]);
    image.env("IMAGE_FAILS", &fails).env("IMAGE_THREAD", "1").env("IMAGE_SAYS", "no\ndatabase\n");
    let outcome = run(image);
    assert!(outcome.stdout.starts_with("first: Ok\nstart: Executed\nlost: WorkerLost\n"), "{outcome:?}");
    let then = "the pool ended: 5 workers in a row died before they were ready, the last one (worker 0): it exited with code 3 \
                while it loaded, and printed: no database";
    assert!(outcome.answer("then").ends_with(then), "{outcome:?}");
    // The fork server and the first worker loaded well.
    assert_eq!(outcome.stderr, "no\ndatabase\n".repeat(2));
}

/// Fault 57: the descriptor of the executable is closed by its host, and its number is another program's.
#[test]
fn a_file_that_took_the_executables_number_is_not_executed() {
    let outcome = run(command(&program("image"), &["closes-descriptors", "/usr/bin/touch"]));
    outcome.assert_said("before: Ok\noccupied: 100\nafter: Ok\n");
}

/// Fault 56: nothing tells then which file the program is. The path by which it was started does not.
#[test]
fn without_proc_at_the_first_start_nothing_is_executed() {
    let outcome = run(command(&program("image"), &["without-proc"]));
    if let Some(why) = outcome.find("skipped") {
        return skipped("no /proc", why);
    }
    let why = "Unsupported: no pool can run here: there is no /proc, which alone tells for certain which file this program \
               is; mount it, or make the first pool while it is there\n";
    let said = format!("{why}the same again: true\nown: {why}inline: [6]\nforged: {why}with /proc again: Ok\n");
    outcome.assert_said(&said);
}

/// Faults 56 and 63: a server that starts as root, and gives up its rights before its first pool, is proven by another file of
/// /proc, and its workers have its rights.
#[test]
fn a_program_that_gave_up_its_rights_before_its_first_pool_has_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("image");
    fs::copy(program("image"), &copy).unwrap();
    let outcome = run(command(&copy, &["without-rights"]));
    if let Some(why) = outcome.find("skipped") {
        return skipped("a program that gives up its rights", why);
    }
    let pools = "Ok\nthe same again: true\nown: Ok\ninline: [6]\n";
    let users = "the same rights: true\nusers: Uid: 65534 65534 65534 65534\n";
    outcome.assert_said(&format!("readable: false\n{pools}{users}"));
}

/// Fault 58. A program whose libraries take 2.5 s to load had no pool, since a fork server had 2 s to report.
#[test]
fn a_program_that_loads_slowly_has_a_pool() {
    let mut image = command(&program("image"), &[]);
    image.env("IMAGE_LOADS_MS", "2500");
    run(image).assert_said("Ok\nthe same again: true\nown: Ok\ninline: [6]\n");
}

/// Fault 58: a constructor that hangs in the fork server alone is given up, with what is known of it. What it has started ends with it: once a process
/// that it had forked stayed.
#[test]
fn a_fork_server_that_never_loads_is_told_as_what_it_is() {
    let mut image = command(&program("image"), &[]);
    image.env("IMAGE_HANGS", "1").env("IMAGE_SAYS", "waiting for the licence server\n");
    let outcome = run(image);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    for line in [lines[0], outcome.answer("own")] {
        let begin = "Unsupported: no pool can run here: this program was started once more as fork server, and did not \
                     come to the constructor of multicore within ";
        let end = " to load. It slept when it was killed: a constructor of the program or of a library, which comes first, \
                   may wait for something there. It printed: waiting for the licence server";
        assert!(line.starts_with(begin) && line.ends_with(end), "{line}");
    }
    assert_eq!((lines[1], lines[3]), ("the same again: true", "inline: [6]"));
    assert_eq!((outcome.stderr.as_str(), outcome.status.code()), ("", Some(0)));
}

/// Fault 59. Each `Task::new()` started the program once more, and waited until that had failed.
#[test]
fn a_failed_start_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let (marks, fails) = (directory.path().join("marks"), directory.path().join("fails"));
    fs::write(&marks, "").unwrap();
    fs::write(&fails, "").unwrap();
    let mut image = command(&program("image"), &["fails", fails.to_str().unwrap()]);
    image.env("IMAGE_STARTS", &marks).env("IMAGE_FAILS", &fails).env("IMAGE_SAYS", "no\ndatabase\n");
    let outcome = run(image);
    let error = "System: the fork server ended while it loaded, and printed: no database";
    assert_eq!(outcome.stdout, format!("none: true\n{error}\nlater: Ok\n"));
    // Of the start that went well.
    assert_eq!(outcome.stderr, "no\ndatabase\n");
    // The pauses double from 1 ms on, so this is enough for 17 minutes.
    let starts = fs::read(&marks).unwrap().len();
    assert!((2..=20).contains(&starts), "{starts} starts for 2,000 tasks");
}
