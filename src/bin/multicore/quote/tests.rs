use super::line;
use std::process::Command;

/// What a shell makes of the line.
fn read_by_shell(line: &[u8]) -> Vec<Vec<u8>> {
    let script = [b"printf '%s\\0' ".as_slice(), line].concat();
    let script = std::ffi::OsStr::new(std::str::from_utf8(&script).unwrap());
    let output = Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout.strip_suffix(b"\0").unwrap().split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_shell_reads_each_word_as_it_is() {
    let words = [
        "", " ", "a b", "it's", "\"", "$HOME", "`id`", "\\", "a\nb\n", "~", "*", "#", "!", "é", "'", "''", "-n", "{}",
        ";", "=x",
    ];
    let expected: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    assert_eq!(read_by_shell(&line(&words)), expected);
}

#[test]
fn harmless_words_stay_bare() {
    for (word, quoted) in [
        ("a.b/c-d", "a.b/c-d"),
        ("--cluster=1/3", "--cluster=1/3"),
        ("A=b", "'A=b'"),
        ("", "''"),
        ("it's", r"'it'\''s'"),
        ("a b", "'a b'"),
    ] {
        assert_eq!(String::from_utf8(line(&[word])).unwrap(), quoted);
    }
}
