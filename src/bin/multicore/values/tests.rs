use super::{clusters, jobs, limit, load, size, time};
use std::time::Duration;

#[test]
fn times_have_units() {
    for (text, seconds) in [
        ("2", Some(2.0)),
        ("1.5", Some(1.5)),
        ("10m", Some(600.0)),
        ("2h", Some(7200.0)),
        ("1d", Some(86400.0)),
        ("0", Some(0.0)),
        (".5s", Some(0.5)),
        ("", None),
        ("m", None),
        ("-1", None),
        ("1e3", None),
        ("inf", None),
        ("50%", None),
    ] {
        assert_eq!(time(text).ok(), seconds.map(Duration::from_secs_f64), "{text:?}");
    }
    assert!(limit("0").is_err());
    assert!(limit("0.1").is_ok());
}

#[test]
fn sizes_have_units() {
    for (text, bytes) in [
        ("7", Some(7)),
        ("1K", Some(1024)),
        ("1k", Some(1000)),
        ("1.5M", Some(3 << 19)),
        ("2G", Some(2 << 30)),
        ("1T", Some(1 << 40)),
        ("1X", None),
        ("", None),
        ("G", None),
        ("-1", None),
    ] {
        assert_eq!(size(text).ok(), bytes, "{text:?}");
    }
}

#[test]
fn jobs_are_a_number_or_a_part_of_the_cpus() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    for (text, number) in [
        ("3", Some(3)),
        ("+2", Some(cpus + 2)),
        ("-1000", Some(1)),
        ("100%", Some(cpus)),
        ("1%", Some(1)),
        ("0", None),
        ("0%", None),
        ("", None),
        ("x", None),
        ("99999", None),
        ("1.5", None),
    ] {
        let expected = number.map(|number| number.max(1));
        assert_eq!(jobs(text).ok(), expected, "{text:?}");
    }
    assert_eq!(load("200%").unwrap(), 2.0 * cpus as f64);
    assert_eq!(load("1.5").unwrap(), 1.5);
    assert!(load("x").is_err());
    assert_eq!(clusters("10000"), Ok(10_000));
    assert!(clusters("0").is_err());
}
