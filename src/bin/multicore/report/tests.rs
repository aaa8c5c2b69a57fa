use super::Report;

#[test]
fn a_report_is_read_back_from_its_line() {
    for command in ["true", "", "sh -c 'a: b, exit 3'", "é"] {
        let report = Report {
            exit: -1,
            signal: 15,
            started_us: 1_764_222_089_123_456,
            took_us: 1_000_009,
            stdout_bytes: 12,
            stderr_bytes: 1 << 40,
            peak_kib: 1840,
            parcel: u64::MAX,
            command: command.to_string(),
        };
        assert_eq!(Report::parse(&report.to_string()), Some(report), "{command}");
    }
}

#[test]
fn other_text_is_no_report() {
    let line = Report::default().to_string();
    assert!(Report::parse(&line).is_some());
    for text in
        ["", "exit 0", "exit x, signal 0: a", &line.replace("000000", "0"), &line.replace(": ", "; "), &line[1..]]
    {
        assert_eq!(Report::parse(text), None, "{text}");
    }
}

#[test]
fn a_long_command_is_cut_between_characters_and_stays_one_line() {
    assert_eq!(Report::shown("a\nb"), "a b");
    let long = "é".repeat(1000);
    assert_eq!(Report::shown(&format!("x{long}")).len(), 1023);
}
