//! What jobs print.

use super::{Place, assert_ended, names, sorted};
use crate::process::comes_true;
use std::fs;

#[test]
fn outputs_are_grouped_by_job_and_in_order_if_asked() {
    let place = Place::new();
    // The first job waits for the last, which begins when those between have been printed: they come first without -k.
    let line = "echo begin {#}; [ {#} = 4 ] && touch done; [ {#} = 1 ] && while ! [ -e done ]; do sleep 0.01; done; echo end {#}";
    let outcome = place.run(&["-j2", "-k", "--clusters", "4", line]);
    let expected: String = (1..=4).map(|number| format!("begin {number}\nend {number}\n")).collect();
    assert_eq!(outcome.stdout, expected);
    fs::remove_file(place.path("done")).unwrap();
    let outcome = place.run(&["-j2", "--clusters", "4", line]);
    assert!(outcome.stdout.starts_with("begin 2\nend 2\nbegin 3\nend 3\n"), "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 8, "{outcome:?}");
    for pair in outcome.stdout.lines().collect::<Vec<_>>().chunks(2) {
        assert_eq!(pair[0].replace("begin", "end"), pair[1], "mixed: {outcome:?}");
    }
}

#[test]
fn both_streams_go_where_the_runners_go() {
    let place = Place::new();
    let outcome = place.run(&["-k", "echo out {}; echo err {} >&2", ":::", "a", "b"]);
    assert_eq!(outcome.stdout, "out a\nout b\n");
    assert!(outcome.stderr.starts_with("err a\nerr b\n2 done, "), "{outcome:?}");
}

#[test]
fn each_line_has_its_tag() {
    let place = Place::new();
    let outcome = place.run(&["-k", "--tag", ": {}; printf '1\\n2\\nend'; echo err >&2", ":::", "a", "b c"]);
    assert_eq!(outcome.stdout, "a\t1\na\t2\na\tendb c\t1\nb c\t2\nb c\tend");
    assert!(outcome.stderr.starts_with("a\terr\nb c\terr\n"), "{outcome:?}");
}

#[test]
fn ungrouped_jobs_print_at_once() {
    let place = Place::new();
    let run = place.start(&["-u", "echo {}; while ! [ -e go ]; do sleep 0.01; done", ":::", "a"]);
    run.wait_for_line("a");
    place.write("go", "");
    assert_ended(&run.finish(), 0, "a\n", "1 done");
}

#[test]
fn much_output_costs_no_memory() {
    let place = Place::new();
    let bytes = 60_000_000;
    let line = "head -c {} /dev/zero; cat /proc/$PPID/status > worker; while ! [ -e go ]; do sleep 0.01; done";
    let mut command = place.shell(&format!("$M run -j1 '{line}' ::: {bytes} > printed; cp /dev/null ended; cat"));
    let mut run = crate::process::Run::start({
        command.env("LC_ALL", "C");
        command
    });
    assert!(comes_true(|| place.path("worker").exists()));
    place.write("go", "");
    assert!(comes_true(|| place.path("ended").exists()), "{:?}", run.left());
    assert_eq!(fs::metadata(place.path("printed")).unwrap().len(), bytes);
    run.kill();
    drop(run);
    let worker = place.read("worker");
    let peak = worker.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < 20_000, "the worker has used {peak} KiB");
}

#[test]
fn long_and_short_outputs_wait_in_order() {
    let place = Place::new();
    // Together more than may wait in memory, both as bytes and as files.
    let line = "[ {#} = 1 ] && while ! [ -e last ]; do sleep 0.01; done; head -c {} /dev/zero | tr '\\0' x; echo {#}; [ {#} = 60 ] && touch last; true";
    let sizes: Vec<String> =
        (0..60).map(|number| (if number % 2 == 0 { 15_000 } else { 70_000 + number }).to_string()).collect();
    let mut arguments = vec!["-k", "-j2", line, ":::"];
    arguments.extend(sizes.iter().map(String::as_str));
    let outcome = place.run(&arguments);
    let expected: String = sizes
        .iter()
        .zip(1..)
        .map(|(size, number)| format!("{}{number}\n", "x".repeat(size.parse().unwrap())))
        .collect();
    assert!(outcome.stdout == expected, "{} bytes in place of {}", outcome.stdout.len(), expected.len());
    assert_eq!(outcome.status.code(), Some(0));
}

#[test]
fn results_are_kept_as_gnu_parallel_keeps_them() {
    let place = Place::new();
    let outcome = place.run(&["--results", "kept", "echo out {}; echo err >&2; exit 1", ":::", "a", "b/c", ".."]);
    assert_eq!(sorted(&outcome.stdout), ["out ..", "out a", "out b/c"]);
    assert_eq!(names(&place.path("kept/1")), [r"\..", "a", r"b\_c"]);
    assert_eq!(names(&place.path("kept")), ["1"]);
    for (folder, number, input) in [("a", "1", "a"), (r"b\_c", "2", "b/c"), (r"\..", "3", "..")] {
        let read = |name| place.read(&format!("kept/1/{folder}/{name}"));
        assert_eq!(
            (read("stdout"), read("stderr"), read("seq")),
            (format!("out {input}\n"), "err\n".to_string(), number.to_string())
        );
    }
}

#[test]
fn only_failed_output_is_printed_if_asked() {
    let place = Place::new();
    let outcome = place.run(&["-k", "--only-failed-output", "echo {}; [ {} = a ]", ":::", "a", "b", "a"]);
    assert_ended(&outcome, 1, "b\n", "2 done, 0 skipped, 1 failed");
}

#[test]
fn what_a_job_has_left_behind_prints_into_no_other_job() {
    for session in ["", "setsid"] {
        let place = Place::new();
        place.write("late", "while ! [ -e begun ]; do sleep 0.01; done; echo late; touch printed");
        // The second job waits until the first one's child has printed once more.
        let line = format!(
            "[ {{}} = a ] && {session} sh ./late & \
             [ {{}} = b ] && touch begun && while ! [ -e printed ]; do sleep 0.01; done; echo {{}}"
        );
        let outcome = place.run(&["-j1", &line, ":::", "a", "b", "c"]);
        assert_ended(&outcome, 0, "a\nb\nc\n", "3 done");
    }
}

#[test]
fn the_output_of_a_job_comes_as_soon_as_it_ends_though_inputs_are_slow() {
    let place = Place::new();
    let run = crate::process::Run::start(
        place.shell("(echo a; while ! [ -e go ]; do sleep 0.01; done; echo b) | $M run -j2 echo"),
    );
    run.wait_for_line("a");
    place.write("go", "");
    let outcome = run.finish();
    assert_eq!(outcome.stdout, "a\nb\n");
}

#[test]
fn a_reader_that_ends_ends_the_run() {
    let place = Place::new();
    let outcome = place.run_shell("{ yes | $M run -j2 'echo {}; echo' 2> said; echo $? > code; } | head -1");
    assert_eq!(outcome.stdout, "y\n");
    assert!(comes_true(|| place.path("code").exists()));
    assert!(
        place.read("said").ends_with("cannot write what jobs have printed: Broken pipe (os error 32)\n"),
        "{}",
        place.read("said")
    );
    assert_eq!(place.read("code"), "255\n");
}

#[test]
fn progress_is_told_on_standard_error() {
    let place = Place::new();
    let outcome = place.run(&["--bar", "--eta", "-j1", "true", ":::", "1", "2"]);
    assert!(outcome.stderr.starts_with("[####") && outcome.stderr.contains("] 1/2 "), "{outcome:?}");
}

#[test]
fn a_standard_output_that_does_not_wait_is_waited_for() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut command = place.shell("$M run -k 'head -c 300000 /dev/zero; :' ::: 1 2 2> said; echo $? > code");
    let mut child = command.stdout(writer).spawn().unwrap();
    // Of the command, which holds the pipe too.
    drop(command);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let length = std::io::copy(&mut { reader }, &mut std::io::sink()).unwrap();
    child.wait().unwrap();
    assert_eq!((length, place.read("code").as_str()), (600_000, "0\n"), "{}", place.read("said"));
}

#[test]
fn progress_is_drawn_while_a_job_runs() {
    let place = Place::new();
    let run = crate::process::Run::start_at_terminal(place.command(&["--bar", "-j1", "sleep", ":::", "0.7"]));
    let outcome = run.finish();
    assert!(outcome.stdout.matches("] 0/1").count() >= 3, "{outcome:?}");
}
