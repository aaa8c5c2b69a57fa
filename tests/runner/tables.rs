//! The job log, as GNU parallel writes and reads it.

use super::{Place, assert_ended, skipped};

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand";

#[test]
fn each_job_has_a_row_with_gnu_parallels_columns() {
    let place = Place::new();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let outcome = place.run(&["-j1", "--joblog", "log", "echo {}; exit {#}", ":::", "a b", "c\nd"]);
    assert_eq!(outcome.status.code(), Some(2));
    let lines = place.lines("log");
    assert_eq!(lines[0], HEADER);
    for (line, number, bytes, command) in
        [(&lines[1], 1, "4", "echo 'a b'; exit 1"), (&lines[2], 2, "4", "echo 'c\0d'; exit 2")]
    {
        let columns: Vec<&str> = line.split('\t').collect();
        let exit = number.to_string();
        assert_eq!((columns[0], columns[1]), (exit.as_str(), ":"), "{line}");
        assert_eq!(columns[4..], ["0", bytes, &exit, "0", command], "{line}");
        let started: f64 = columns[2].parse().unwrap();
        assert!(started >= before - 0.01 && started < before + 60.0, "{line}");
        assert_eq!(columns[2].split_once('.').unwrap().1.len(), 3, "{line}");
        assert_eq!(columns[3].len(), 10, "{line}");
        assert!(columns[3].trim().parse::<f64>().unwrap() >= 0.0, "{line}");
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn gnu_parallel_resumes_from_our_table() {
    if std::process::Command::new("parallel").arg("--version").output().is_err() {
        return skipped("gnu_parallel_resumes_from_our_table", "GNU parallel is not installed");
    }
    let place = Place::new();
    assert_ended(&place.run(&["--joblog", "log", "[ {} != b ]", ":::", "a", "b", "c"]), 1, "", "2 done");
    let line = "HOME=$PWD parallel --will-cite -k --joblog log --resume echo ran {} ::: a b c d e";
    assert_eq!(place.run_shell(line).stdout, "ran d\nran e\n");
    let line = "HOME=$PWD parallel --will-cite -k --joblog log --resume-failed echo ran {} ::: a b c d e f";
    assert_eq!(place.run_shell(line).stdout, "ran b\nran f\n");
    // And what it has added is a table that is gone on with.
    assert_eq!(place.run(&["--joblog", "log", "--resume", "true", ":::", "a"]).status.code(), Some(0));
}
