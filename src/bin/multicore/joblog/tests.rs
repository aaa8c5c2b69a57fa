use super::{HEADER, JobLog};
use crate::report::Report;
use std::fs;

fn report(exit: i32) -> Report {
    Report {
        exit,
        started_us: 1_795_758_389_640_400,
        took_us: 1_500,
        stdout_bytes: 3,
        stderr_bytes: 9,
        ..Report::default()
    }
}

#[test]
fn rows_are_as_gnu_parallel_writes_them() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut log = JobLog::open(file.path(), false).unwrap();
    log.add(2, &report(3), b"echo 'a\tb'").unwrap();
    log.add(1, &report(0), b"echo 'a\nb'").unwrap();
    let expected = "2\t:\t1795758389.640\t     0.002\t0\t3\t3\t0\techo 'a\tb'\n1\t:\t1795758389.640\t     0.002\t0\t3\t0\t0\techo 'a\0b'\n";
    assert_eq!(fs::read_to_string(file.path()).unwrap(), format!("{HEADER}{expected}"));
}

#[test]
fn a_resumed_table_gets_what_it_lacks_and_loses_a_torn_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut log = JobLog::open(file.path(), false).unwrap();
    log.add(1, &report(0), b"echo a").unwrap();
    let whole = fs::read_to_string(file.path()).unwrap();
    for torn in ["", "2\t:\t1795", &HEADER[..9]] {
        fs::write(file.path(), format!("{whole}{torn}")).unwrap();
        let mut log = JobLog::open(file.path(), true).unwrap();
        for (number, command) in [(1, "echo a"), (2, "echo a"), (3, "echo b")] {
            log.add_missing(number, &report(0), command.as_bytes()).unwrap();
        }
        let text = fs::read_to_string(file.path()).unwrap();
        let commands: Vec<&str> = text.lines().skip(1).map(|line| line.rsplit_once('\t').unwrap().1).collect();
        assert_eq!(commands, ["echo a", "echo a", "echo b"], "after {torn:?}");
    }
}

#[test]
fn a_torn_header_is_written_anew_and_another_file_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for begun in ["", "Seq\tHo"] {
        fs::write(file.path(), begun).unwrap();
        drop(JobLog::open(file.path(), true).unwrap());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), HEADER);
    }
    for other in ["root:x:0:0\n", "no line"] {
        fs::write(file.path(), other).unwrap();
        for goes_on in [true, false] {
            assert!(JobLog::open(file.path(), goes_on).unwrap_err().to_string().contains("no job log"));
        }
        assert_eq!(fs::read_to_string(file.path()).unwrap(), other);
    }
}

#[test]
fn a_table_that_is_begun_anew_is_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    JobLog::open(file.path(), false).unwrap().add(1, &report(0), b"echo a").unwrap();
    drop(JobLog::open(file.path(), false).unwrap());
    assert_eq!(fs::read_to_string(file.path()).unwrap(), HEADER);
}

#[test]
fn a_row_of_an_earlier_failure_is_not_taken_for_that_of_the_run_that_followed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    JobLog::open(file.path(), false).unwrap().add(1, &report(1), b"echo a").unwrap();
    for rows in [2, 2] {
        JobLog::open(file.path(), true).unwrap().add_missing(1, &report(0), b"echo a").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap().lines().count(), 1 + rows);
    }
}
