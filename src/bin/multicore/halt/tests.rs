use super::{Halt, When};

#[test]
fn a_run_ends_when_its_limit_is_reached() {
    for (halt, (succeeded, failed, total), verdict) in [
        ("never", (9, 9, Some(9)), None),
        ("now,fail=1", (9, 0, None), None),
        ("now,fail=1", (0, 1, None), Some(When::Now)),
        ("soon,fail=2", (0, 1, None), None),
        ("soon,fail=2", (0, 2, None), Some(When::Soon)),
        ("now,success=1", (1, 5, None), Some(When::Now)),
        ("now,success=1", (0, 5, None), None),
        ("now,done=3", (1, 1, None), None),
        ("now,done=3", (1, 2, None), Some(When::Now)),
        ("soon,fail=10%", (50, 9, Some(100)), None),
        ("soon,fail=10%", (50, 10, Some(100)), Some(When::Soon)),
        ("soon,fail=1%", (1, 0, Some(3)), None),
        ("soon,done=100%", (2, 1, Some(3)), Some(When::Soon)),
    ] {
        let halt: Halt = halt.parse().unwrap();
        assert_eq!(
            halt.judge(succeeded, failed, total),
            verdict,
            "{halt:?} after {succeeded} and {failed} of {total:?}"
        );
    }
}

#[test]
fn what_is_no_limit_is_refused() {
    for text in [
        "",
        "now",
        "now,fail",
        "now,fail=",
        "now,fail=x",
        "later,fail=1",
        "now,win=1",
        "now,fail=0",
        "soon,fail=101%",
        "2",
    ] {
        assert!(text.parse::<Halt>().is_err(), "{text:?}");
    }
}
