use super::{Inputs, Next, Separator};
use std::io::Write;
use std::time::Duration;

fn all(mut inputs: Inputs) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        match inputs.next(Duration::from_secs(60)).unwrap() {
            Next::Input(input) => found.push(String::from_utf8(input).unwrap()),
            Next::End => return found,
            Next::NotYet => panic!("nothing for a minute"),
        }
    }
}

#[test]
fn lines_and_zeros_separate_inputs_and_empty_ones_count() {
    for (text, separator, expected) in [
        ("a\n\nb c\n", Separator::Line, &["a", "", "b c"][..]),
        ("a\nb", Separator::Line, &["a", "b"]),
        ("", Separator::Line, &[]),
        ("\n", Separator::Line, &[""]),
        ("a\r\n", Separator::Line, &["a\r"]),
        ("a\nb\0\0c", Separator::Zero, &["a\nb", "", "c"]),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        assert_eq!(all(Inputs::file(file.path(), separator).unwrap()), expected, "{text:?}");
        let mut counted = Inputs::file(file.path(), separator).unwrap();
        assert_eq!(counted.count().unwrap(), expected.len() as u64);
        assert_eq!(all(counted), expected, "{text:?}, counted before");
    }
}

#[test]
fn clusters_run_from_one_to_their_number() {
    assert_eq!(all(Inputs::clusters(3)), ["1/3", "2/3", "3/3"]);
}

#[test]
fn a_stream_that_says_nothing_is_not_waited_for() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut inputs = Inputs::of(std::os::fd::OwnedFd::from(reader).into(), Separator::Line).unwrap();
    assert_eq!(inputs.next(Duration::from_millis(1)).unwrap(), Next::NotYet);
    writer.write_all(b"a\nb").unwrap();
    assert_eq!(inputs.next(Duration::from_secs(60)).unwrap(), Next::Input(b"a".to_vec()));
    assert_eq!(inputs.next(Duration::from_millis(1)).unwrap(), Next::NotYet);
    drop(writer);
    assert_eq!(inputs.next(Duration::from_secs(60)).unwrap(), Next::Input(b"b".to_vec()));
    assert_eq!(inputs.next(Duration::from_secs(60)).unwrap(), Next::End);
}

#[test]
fn a_zero_byte_in_a_line_is_told() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"a\0b\n").unwrap();
    let error = Inputs::file(file.path(), Separator::Line).unwrap().next(Duration::ZERO).unwrap_err();
    assert!(error.to_string().contains("give -0"), "{error}");
}
