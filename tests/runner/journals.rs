//! Runs that are recorded, killed and gone on with.

use super::{Place, assert_ended, assert_refused};
use crate::process::comes_true;
use std::collections::HashMap;
use std::fs;

/// Says that it has begun, and that it has ended.
const JOB: &str = "echo {} >> begun; echo {} >> ended";

impl Place {
    /// Runs `JOB` with the options and inputs, and gives what has begun, in order.
    #[track_caller]
    fn begun_by(&self, options: &[&str], inputs: &[&str]) -> Vec<String> {
        let _ = fs::remove_file(self.path("begun"));
        let outcome = self.run(&[options, &[JOB, ":::"], inputs].concat());
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        let mut begun = self.lines("begun");
        begun.sort();
        begun
    }

    /// The commands that a journal has as done.
    fn recorded(&self, journal: &str) -> Vec<String> {
        let shown = self.run_shell(&format!("[ -e {journal} ] && $M journal show --json {journal}; :")).stdout;
        let objects = shown.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        objects.filter(|object| object["outcome"] == "done").map(|object| object["command"].to_string()).collect()
    }
}

#[test]
fn exactly_new_and_changed_inputs_run() {
    let place = Place::new();
    for (inputs, begun) in [
        (&["a", "b", "c"][..], &["a", "b", "c"][..]),
        (&["a", "b", "c"], &[]),
        (&["c", "a", "b"], &[]),
        (&["x", "b", "c", "d"], &["d", "x"]),
        (&["b"], &[]),
        (&["a", "a", "b", "a"], &["a", "a"]),
        (&["a", "a", "a", "a"], &["a"]),
    ] {
        assert_eq!(place.begun_by(&["--journal", "kept"], inputs), begun, "{inputs:?}");
        assert_eq!(place.begun_by(&["--journal", "synced", "--sync"], inputs), begun, "{inputs:?}, synced");
    }
}

#[test]
fn a_version_a_directory_and_a_changed_file_make_other_commands() {
    let place = Place::new();
    place.write("file", "1");
    let options = ["--journal", "kept", "--fingerprint"];
    assert_eq!(place.begun_by(&options, &["file", "none"]), ["file", "none"]);
    assert_eq!(place.begun_by(&options, &["file", "none"]), [""; 0]);
    place.write("file", "other");
    assert_eq!(place.begun_by(&options, &["file", "none"]), ["file"]);
    let versioned = [&options[..], &["--version-key", "2"]].concat();
    assert_eq!(place.begun_by(&versioned, &["file"]), ["file"]);
    assert_eq!(place.begun_by(&versioned, &["file"]), [""; 0]);
    fs::create_dir(place.path("below")).unwrap();
    let line = "$M run --journal kept echo ::: a; cd below; $M run --journal ../kept echo ::: a; $M run --journal ../kept echo ::: a";
    assert_eq!(place.run_shell(line).stdout, "a\na\n");
}

#[test]
fn failed_jobs_run_again_unless_they_are_resumed_as_they_are() {
    // A job that fails while the file `bad` is there.
    const FAILS: [&str; 4] = ["echo {} >> begun; ! [ -e bad ]", ":::", "a", "b"];
    for (first, again, begun) in [
        (&["--journal", "kept"][..], &["--journal", "kept"][..], 2),
        (&["--journal", "kept"], &["--journal", "kept", "--resume"], 0),
        (&["--journal", "kept"], &["--journal", "kept", "--resume-failed"], 2),
        (&["--joblog", "log"], &["--joblog", "log", "--resume"], 0),
        (&["--joblog", "log"], &["--joblog", "log", "--resume-failed"], 2),
        (&["--joblog", "log"], &["--joblog", "log"], 2),
    ] {
        let place = Place::new();
        place.write("bad", "");
        assert_ended(&place.run(&[first, &FAILS].concat()), 2, "", "0 done, 0 skipped, 2 failed");
        fs::remove_file(place.path("bad")).unwrap();
        fs::remove_file(place.path("begun")).unwrap();
        let outcome = place.run(&[again, &FAILS].concat());
        assert_eq!(place.lines("begun").len(), begun, "{again:?}");
        assert_ended(&outcome, 0, "", &format!("{begun} done, {} skipped, 0 failed", 2 - begun));
    }
}

#[test]
fn skipped_commands_are_named_up_to_ten() {
    let place = Place::new();
    let options = ["--journal", "kept", "--clusters", "13", "true"];
    assert_ended(&place.run(&options), 0, "", "13 done");
    let outcome = place.run(&options);
    assert_ended(&outcome, 0, "", "0 done, 13 skipped, 0 failed in ");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!((lines[0], lines[9]), (" ==> Skipping true 1/13", " ==> Skipping true 10/13"));
    assert_eq!((lines[10], lines.len()), (" ==> Skipping 3 more", 12));
}

#[test]
fn a_table_begins_anew_with_its_journal_and_a_resumed_one_is_mended() {
    let place = Place::new();
    let inputs = ["a", "b", "c"];
    assert_eq!(place.begun_by(&["--joblog", "log"], &inputs), inputs);
    assert!(place.path("log.journal").exists());
    let whole = place.read("log");
    assert_eq!(whole.lines().count(), 4);
    // As a crash leaves it: the last row is torn, another is not written yet.
    let kept: Vec<&str> = whole.lines().take(2).collect();
    place.write("log", &format!("{}\n{}", kept.join("\n"), &whole.lines().nth(2).unwrap()[..7]));
    assert_eq!(place.begun_by(&["--joblog", "log", "--resume"], &inputs), [""; 0]);
    let rows = |text: &str| {
        let mut rows: Vec<String> = text.lines().map(str::to_string).collect();
        rows.sort();
        rows
    };
    assert_eq!(rows(&place.read("log")), rows(&whole));
    assert_eq!(place.begun_by(&["--joblog", "log", "--resume"], &["d", "a"]), ["d"]);
    assert_eq!(place.lines("log").len(), 5);
    assert_eq!(place.begun_by(&["--joblog", "log"], &inputs), inputs);
    assert_eq!(place.lines("log").len(), 4);
}

#[test]
fn killed_runs_go_on_where_they_stopped() {
    let place = Place::new();
    // A job that was killed and still runs beside its successor would be seen here; a zombie does not run.
    let job = "[ -e pid-{} ] && grep -qs '^State:.[RSD]' /proc/$(cat pid-{})/status && echo {} >> overlaps; echo $$ > pid-{}; \
               echo {} >> begun; sleep 0.02; echo {} >> ended";
    let inputs: Vec<String> = (1..=60).map(|number| number.to_string()).collect();
    let mut arguments = vec!["-j4", "--joblog", "log", "--resume", job, ":::"];
    arguments.extend(inputs.iter().map(String::as_str));
    // What a killed run has left ends by itself, while the next one has begun.
    let mut killed = Vec::new();
    let outcome = loop {
        let recorded = place.recorded("log.journal");
        let before = counts(&place.lines("begun"));
        let ended = place.lines("ended").len();
        let mut run = place.start(&arguments);
        assert!(comes_true(|| run.has_ended() || place.lines("ended").len() >= ended + 6));
        let outcome = match run.has_ended() {
            true => Some(run.finish()),
            false => {
                run.kill();
                killed.push(run);
                None
            }
        };
        let after = counts(&place.lines("begun"));
        for command in &recorded {
            let input = command.rsplit_once("echo ").unwrap().1.split_whitespace().next().unwrap();
            assert_eq!(after.get(input), before.get(input), "{input} was recorded, and ran again");
        }
        if let Some(outcome) = outcome {
            break outcome;
        }
    };
    let kills = killed.len();
    for run in killed {
        run.finish();
    }
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(kills >= 3, "{kills} kills");
    let begun = counts(&place.lines("begun"));
    assert_eq!(begun.len(), 60);
    let repeats = begun.values().sum::<usize>() - 60;
    assert!(repeats <= 5 * kills, "{repeats} repeats in {kills} kills");
    assert_eq!(place.lines("overlaps"), [""; 0]);
    assert_eq!(place.lines("log").len(), 61, "one row for each job");
}

fn counts(lines: &[String]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for line in lines {
        *counts.entry(line.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn one_run_at_a_time_has_a_journal() {
    let place = Place::new();
    let line = ": {}; touch begun; while ! [ -e go ]; do sleep 0.01; done";
    for options in [["--journal", "log.journal"], ["--joblog", "log"]] {
        for file in ["begun", "go"] {
            let _ = fs::remove_file(place.path(file));
        }
        let run = place.start(&[&options[..], &[line, ":::", "a"]].concat());
        assert!(comes_true(|| place.path("begun").exists()));
        assert_refused(&place.run(&["--journal", "log.journal", "echo", ":::", "b"]), "log.journal");
        assert_refused(&place.run(&["--joblog", "log", "echo", ":::", "b"]), "log.journal");
        place.write("go", "");
        assert_ended(&run.finish(), 0, "", "1 done");
        fs::remove_file(place.path("log.journal")).unwrap();
    }
}

#[test]
fn what_is_no_journal_is_refused_before_anything_runs() {
    let place = Place::new();
    place.write("other", "no journal");
    place.write("log.journal", "no journal");
    for options in [["--journal", "other"], ["--journal", "temporary"], ["--journal", "none/kept"], ["--joblog", "log"]]
    {
        assert_refused(&place.run(&[&options[..], &["touch", "ran", ":::", "a"]].concat()), options[1]);
    }
    assert_eq!((place.read("other"), place.read("log.journal")), ("no journal".to_string(), "no journal".to_string()));
    assert!(!place.path("ran").exists());
}

#[test]
fn a_journal_is_shown_checked_and_made_smaller() {
    let place = Place::new();
    let line = "$M run -j1 --journal kept 'echo > {}; [ {} != b ]' ::: a b";
    assert_eq!(place.run_shell(line).status.code(), Some(1));
    assert_eq!(place.run_shell(line).status.code(), Some(1));
    let shown = place.run_shell("$M journal show kept").stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(
        lines[0].contains("outcome") && lines[1].contains("done") && lines[1].ends_with("echo > a; [ a != b ]'"),
        "{shown}"
    );
    assert!(lines[2].contains("failed") && lines[2].contains("exit code 1: "), "{shown}");
    let check = |file: &str| {
        let outcome = place.run_shell(&format!("$M journal check {file}"));
        (outcome.status.code(), outcome.stdout)
    };
    assert_eq!(check("kept"), (Some(0), "kept: sound: 1 done, 2 failed\n".to_string()));
    let compacted = place.run_shell("$M journal compact kept").stdout;
    assert!(compacted.starts_with("kept: 2 outcomes stay, 1 older ones are gone; "), "{compacted}");
    assert_eq!(check("kept"), (Some(0), "kept: sound: 1 done, 1 failed\n".to_string()));
    // A torn tail is no damage; a changed byte in the middle is, and can be repaired.
    let whole = fs::read(place.path("kept")).unwrap();
    fs::write(place.path("torn"), [&whole[..], b"torn"].concat()).unwrap();
    assert_eq!(check("torn").0, Some(0));
    assert!(check("torn").1.contains(&format!("left 4 bytes at byte {}", whole.len())), "{:?}", check("torn"));
    let mut damaged = whole.clone();
    let middle = whole.windows(4).position(|window| window == b"took").unwrap();
    damaged[middle] ^= 1;
    fs::write(place.path("damaged"), damaged).unwrap();
    assert_eq!(check("damaged").0, Some(1), "{:?}", check("damaged"));
    assert_eq!(place.run_shell("$M journal repair damaged").status.code(), Some(0));
    assert_eq!(check("damaged").0, Some(0));
}

#[test]
fn an_interrupted_run_goes_on() {
    let place = Place::new();
    let line = "echo {} >> begun; while ! [ -e go ]; do sleep 0.01; done; echo {} >> ended";
    let options = ["--journal", "kept", "-j2", "--clusters", "5", line];
    let run = place.start(&options);
    assert!(comes_true(|| place.lines("begun").len() == 2));
    run.signal(run.pid(), libc::SIGTERM);
    place.write("go", "");
    assert_ended(&run.finish(), 130, "", "2 done, 0 skipped, 0 failed");
    assert_ended(&place.run(&options), 0, "", "3 done, 2 skipped, 0 failed");
    assert_eq!(place.lines("begun").len(), 5);
}

#[test]
fn what_is_recorded_has_its_results_though_the_runner_is_killed() {
    let place = Place::new();
    // The runner waits for the reader of what it prints; meanwhile the other jobs end and are recorded.
    let options = "--journal kept --results R -j2 'head -c 200000 /dev/zero; true'";
    let line = format!(
        "mkfifo pipe; sleep 600 < pipe & reader=$!; $M run {options} ::: 1 2 3 4 > pipe 2> /dev/null & runner=$!; \
         while [ $($M journal show kept 2> /dev/null | grep -c done) -lt 2 ]; do sleep 0.01; done; \
         kill -9 $runner; kill $reader; wait; $M journal show kept | grep -c done"
    );
    let recorded: usize = place.run_shell(&line).stdout.trim().parse().unwrap();
    assert!(recorded >= 2);
    let outcome = place.run_shell(&format!("$M run {options} ::: 1 2 3 4 | wc -c"));
    let summary = format!("{} done, {recorded} skipped", 4 - recorded);
    assert_ended(&outcome, 0, &format!("{}\n", (4 - recorded) * 200_000), &summary);
    for folder in ["1", "2", "3", "4"] {
        assert_eq!(fs::metadata(place.path(&format!("R/1/{folder}/stdout"))).unwrap().len(), 200_000, "{folder}");
    }
}

#[test]
fn a_recorded_failure_without_an_exit_code_is_skipped_as_others_are() {
    let place = Place::new();
    let job = ["kill -9 $PPID; sleep 600; echo", ":::", "a"];
    let options = ["--joblog", "log"];
    assert_eq!(place.run(&[&options[..], &job].concat()).status.code(), Some(1));
    let outcome = place.run(&[&options[..], &["--resume"], &job].concat());
    assert_ended(&outcome, 0, "", "0 done, 1 skipped, 0 failed");
    assert!(!outcome.stderr.contains("SIGKILL"), "it is not told again: {outcome:?}");
    assert_eq!(place.lines("log").len(), 2, "one row: {:?}", place.lines("log"));
}

#[test]
fn what_waits_for_its_turn_is_printed_when_the_run_cannot_go_on() {
    let place = Place::new();
    place.write("inputs", "1\n2\nx");
    let line = "(cat inputs; while ! [ -e ended ]; do sleep 0.01; done; sleep 0.1; printf 'y\\0\\n') \
        | $M run -k -j3 '[ {} != 1 ] || sleep 600; echo {}; touch ended'";
    let outcome = place.run_shell(line);
    assert_eq!((outcome.stdout.as_str(), outcome.status.code()), ("2\n", Some(255)), "{outcome:?}");
}

#[test]
fn a_damaged_journal_is_told_with_the_command_that_mends_it() {
    let place = Place::new();
    let inputs = ["true", ":::", "1", "2", "3"];
    let options = ["--journal", "kept", "--sync", "-j1"];
    assert_eq!(place.run(&[&options[..], &inputs].concat()).status.code(), Some(0));
    let mut bytes = fs::read(place.path("kept")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path("kept"), bytes).unwrap();
    assert_refused(&place.run(&[&options[..], &inputs].concat()), "`multicore journal repair FILE`");
    let outcome = place.run_shell("$M journal check kept");
    assert!(outcome.stdout.contains("`multicore journal repair FILE`"), "{outcome:?}");
}
