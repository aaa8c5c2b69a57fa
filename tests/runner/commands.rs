//! From the command line to the words that are executed, and what is refused.

use super::{Place, assert_ended, assert_refused};

#[track_caller]
fn check(arguments: &[&str], stdout: &str) {
    let place = Place::new();
    let arguments = [&["-k"], arguments].concat();
    let outcome = place.run(&arguments);
    assert_eq!(outcome.stdout, stdout, "{arguments:?}: {outcome:?}");
    assert_eq!(outcome.status.code(), Some(0), "{arguments:?}: {outcome:?}");
}

#[test]
fn placeholders_are_filled_in() {
    check(
        &["echo", "{}", "{.}", "{/}", "{//}", "{/.}", "{#}", ":::", "/a/b.c/d.tar.gz"],
        "/a/b.c/d.tar.gz /a/b.c/d.tar d.tar.gz /a/b.c d.tar 1\n",
    );
    check(&["echo", ":::", "a", "b c"], "a\nb c\n");
    check(&["echo", "x{}y{#}", ":::", "a", "b"], "xay1\nxby2\n");
    check(&["echo", ":::", "{}", "{#}"], "{}\n{#}\n");
}

#[test]
fn several_words_need_no_shell_and_one_line_has_its_inputs_quoted() {
    check(&["printf", "%s|", "$HOME", "*", ";", ":::", "it's"], "$HOME|*|;|it's|");
    check(
        &["printf '%s|' {} | tr a b; echo", ":::", "it's a", "$(id)", "\"`id`\"", "a\nb"],
        "it's b|\n$(id)|\n\"`id`\"|\nb\nb|\n",
    );
    check(&["echo one; echo", ":::", ""], "one\n\n");
    check(&["echo \"{}\" '{}'", ":::", "$(id -u)", "'; id; '"], "$(id -u) $(id -u)\n'; id; ' '; id; '\n");
    check(&["echo\n", ":::", "id"], "id\n");
}

#[test]
fn options_end_at_the_first_word_of_the_command() {
    check(&["echo", "x", "--", "-k", ":::", "a"], "x -- -k a\n");
    check(&["--", "echo", "--", "x", "--", ":::", "a", "--"], "-- x -- a\n-- x -- --\n");
    check(&["echo", "--help", ":::", "a"], "--help a\n");
}

#[test]
fn clusters_run_from_one_to_the_last() {
    check(&["--clusters", "3", "--", "echo", "--cluster="], "--cluster=1/3\n--cluster=2/3\n--cluster=3/3\n");
    check(&["--clusters", "2", "echo", "import"], "import 1/2\nimport 2/2\n");
    check(&["--clusters", "2", "echo", "{i} of {n}"], "1 of 2\n2 of 2\n");
    check(&["--clusters", "2", "echo --cluster="], "--cluster=1/2\n--cluster=2/2\n");
}

#[test]
fn inputs_come_from_files_and_standard_input_and_empty_lines_count() {
    let place = Place::new();
    place.write("inputs", "a\n\nb c");
    place.write("zeros", "a\nb\0c\0");
    for (line, stdout) in [
        ("$M run -k -a inputs echo", "a\n\nb c\n"),
        ("$M run -k -a - echo < inputs", "a\n\nb c\n"),
        ("cat inputs | $M run -k echo", "a\n\nb c\n"),
        ("$M run -k -0 -a zeros echo", "a\nb\nc\n"),
        ("cat zeros | $M run -k -0 echo", "a\nb\nc\n"),
        ("$M run echo < /dev/null", ""),
        ("$M run echo :::", ""),
        // The runner ends with the reader of what it prints, though its inputs never end.
        ("yes | $M run -j2 --halt soon,done=5 true", ""),
    ] {
        let outcome = place.run_shell(line);
        assert_eq!((outcome.stdout.as_str(), outcome.status.code()), (stdout, Some(0)), "{line}: {outcome:?}");
    }
}

#[test]
fn a_job_has_an_empty_standard_input() {
    let place = Place::new();
    let outcome = place.run_shell("printf 'a\\nb\\n' | $M run -k 'cat; echo'");
    assert_ended(&outcome, 0, "a\nb\n", "2 done");
}

#[test]
fn the_exit_code_is_the_number_of_failed_jobs() {
    let place = Place::new();
    for (arguments, code, summary) in [
        (&["true", ":::", "1", "2"][..], 0, "2 done, 0 skipped, 0 failed in "),
        (&["sh", "-c", "exit $0", ":::", "0", "3", "200"], 2, "1 done, 0 skipped, 2 failed in "),
        (&["--clusters", "100", "-j4", "false"], 100, "0 done, 0 skipped, 100 failed in "),
        (&["--clusters", "102", "-j4", "false"], 101, "0 done, 0 skipped, 102 failed in "),
        (&["kill -9 $$; echo", ":::", "1"], 1, "0 done, 0 skipped, 1 failed in "),
    ] {
        assert_ended(&place.run(arguments), code, "", summary);
    }
}

#[test]
fn the_last_line_tells_the_slowest_job_and_the_peak() {
    let place = Place::new();
    let outcome = place.run(&["-j1", "sleep", ":::", "0", "0.2", "0"]);
    let line = outcome.stderr.lines().last().unwrap();
    let (slowest, peak) = line.split_once("; slowest ").unwrap().1.split_once("; peak ").unwrap();
    let (seconds, number) = slowest.split_once(" s ").unwrap();
    assert!(seconds.parse::<f64>().unwrap() >= 0.2, "{line}");
    assert_eq!(number, "(2)", "{line}");
    assert!(peak.strip_suffix(" MB").unwrap().parse::<u64>().unwrap() > 0, "{line}");
}

#[test]
fn a_command_that_is_not_there_is_said_once() {
    let place = Place::new();
    place.write("plain", "no program");
    for (word, words) in [
        ("no-such-command", "command not found"),
        ("./none", "command not found"),
        ("./plain", "not executable"),
        ("./temporary", "directory"),
    ] {
        let outcome = place.run(&["--joblog", "log", word, ":::", "a", "b", "c"]);
        assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(127), ""), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains(word) && outcome.stderr.contains(words), "{outcome:?}");
        assert!(!place.path("log").exists(), "nothing was begun");
    }
}

#[test]
fn a_command_that_differs_by_input_fails_by_itself() {
    let place = Place::new();
    place.write("plain", "no program");
    let outcome = place.run(&["-k", "{}", ":::", "no-such-command", "true", "./plain"]);
    assert_ended(&outcome, 2, "", "1 done, 0 skipped, 2 failed in ");
    assert!(outcome.stderr.contains("multicore run: no-such-command: "), "{outcome:?}");
}

#[test]
fn a_script_without_an_interpreter_is_a_shells() {
    let place = Place::new();
    let line = "echo 'echo script $1' > script; chmod +x script; $M run ./script ::: a";
    assert_ended(&place.run_shell(line), 0, "script a\n", "1 done");
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let place = Place::new();
    place.write("table", "root:x:0:0\n");
    assert_eq!(place.run_shell("mkfifo pipe").status.code(), Some(0));
    for (arguments, words) in [
        (&["-j", "0", "true", ":::", "1"][..], "give 1 or more"),
        (&["-j", "x", "true", ":::", "1"], "give a number of jobs"),
        (&["--clusters", "0", "true"], "give 1 or more"),
        (&["--no-such-option", "true", ":::", "1"], "--no-such-option"),
        (&["--retires", "3", "true", ":::", "1"], "--retries"),
        (&[], "COMMAND"),
        (&[":::", "a"], "no command"),
        (&["true", ":::", "a", ":::", "b"], "one list of inputs"),
        (&["echo \"$(cat {})\"", ":::", "1"], "begin the line with x={}"),
        (&["sh -c 'echo {}'", ":::", "1"], "a second shell"),
        (&["-a", "none", "true"], "none"),
        (&["-a", "temporary", "true"], "temporary"),
        (&["-a", "table", "true", ":::", "1"], "give one of them"),
        (&["--clusters", "2", "-a", "table", "true"], "--clusters"),
        (&["--timeout", "0", "true", ":::", "1"], "give more"),
        (&["--timeout", "x", "true", ":::", "1"], "give seconds"),
        (&["--halt", "now", "true", ":::", "1"], "now,fail=1"),
        (&["--retries", "0", "true", ":::", "1"], "--retries"),
        (&["--memfree", "1X", "true", ":::", "1"], "give bytes"),
        (&["--resume", "true", ":::", "1"], "--joblog FILE"),
        (&["-u", "-k", "true", ":::", "1"], "--keep-order"),
        (&["--joblog", "table", "true", ":::", "1"], "no job log"),
        (&["--joblog", "pipe", "true", ":::", "1"], "no regular file"),
        (&["--joblog", "/dev/null", "true", ":::", "1"], "no regular file"),
        (&["--joblog", "none/log", "true", ":::", "1"], "none/log"),
    ] {
        assert_refused(&place.run(arguments), words);
    }
    assert_eq!(place.read("table"), "root:x:0:0\n");
    let outcome = place.run_shell("TMPDIR=$PWD/none $M run echo ::: a");
    assert_refused(&outcome, "set TMPDIR");
    let outcome = place.run_shell("printf 'a\\0b\\n' | $M run echo");
    assert!(outcome.stderr.contains("give -0"), "{outcome:?}");
    assert_eq!(outcome.status.code(), Some(255));
}

#[test]
fn a_dry_run_prints_the_commands_and_runs_nothing() {
    let place = Place::new();
    let outcome = place.run(&["--dry-run", "touch", "{}", ":::", "a b", "it's", "c"]);
    assert_eq!(outcome.stdout, "touch 'a b'\ntouch 'it'\\''s'\ntouch c\n");
    assert_eq!((outcome.stderr.as_str(), outcome.status.code()), ("", Some(0)));
    let outcome = place.run(&["--dry-run", "echo {} > c", ":::", "a b"]);
    assert_eq!(outcome.stdout, "echo 'a b' > c\n");
    assert!(!place.path("c").exists());
}

#[test]
fn jobs_run_at_a_time_no_more_than_asked_for() {
    let place = Place::new();
    // Each job counts the folders of those that run, its own included.
    let line = "mkdir running-{#}; ls -d running-* | wc -l; sleep 0.02; rmdir running-{#}";
    for jobs in ["1", "3"] {
        let outcome = place.run(&["-j", jobs, "--clusters", "12", line]);
        let counts: Vec<u64> = outcome.stdout.lines().map(|line| line.trim().parse().unwrap()).collect();
        assert_eq!(counts.len(), 12);
        assert!(counts.iter().max().unwrap() <= &jobs.parse().unwrap(), "-j {jobs}: {counts:?}");
    }
    // Three meet, or the run would hang.
    let meet = "touch here-{#}; while [ $(ls here-* | wc -l) -lt 3 ]; do sleep 0.01; done";
    assert_ended(&place.run(&["-j3", "--clusters", "3", meet]), 0, "", "3 done");
}

#[test]
fn many_slots_need_no_setting_and_jobs_keep_their_limit() {
    let place = Place::new();
    let outcome = place.run_shell("ulimit -S -n 64; $M run -j60 --clusters 60 'ulimit -S -n; :'");
    assert_ended(&outcome, 0, &"64\n".repeat(60), "60 done");
    // Descriptors on their way count against their sender's limit. Root is not limited.
    let line = "id=$(id -u); [ $id != 0 ] || as='setpriv --reuid=65534 --regid=65534 --clear-groups'; chmod 777 . temporary; \
        cp $M ./program && ulimit -S -n 64; $as ./program run -j60 --clusters 60 'head -c 50000 /dev/zero; :' | wc -c";
    assert_ended(&place.run_shell(line), 0, "3000000\n", "60 done");
}

#[test]
fn settings_reach_the_jobs() {
    let place = Place::new();
    assert_eq!(place.run(&["--nice", "7", "nice; :", ":::", ""]).stdout, "7\n");
    let outcome =
        place.run(&["pwd; printf '%s ' \"$MARK\"; ls -l /proc/self/fd | grep -c 'socket\\|memfd'; :", ":::", ""]);
    let folder = place.folder.path().canonicalize().unwrap();
    assert_eq!(
        outcome.stdout,
        format!("{}\n 0\n", folder.display()),
        "the directory, and none of the worker's descriptors"
    );
}
