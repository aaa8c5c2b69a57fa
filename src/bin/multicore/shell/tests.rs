//! Inputs used to be quoted as if no quotes were around them, so `"{}"` executed what an input had in `$(…)`.

use crate::template::Template;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// What shells take for signs of their own, and what must come through unchanged.
const INPUTS: [&str; 9] = ["$(id -u)", "`id`", "it's", "a\"b", "a; id -u", "a\nid", "\\", "$HOME ~ * # !", "plain"];

#[track_caller]
fn check(line: &str, before: &str, after: &str) {
    let template = Template::new(&[line], None).unwrap();
    for input in INPUTS {
        let command = template.command(input.as_bytes(), 7);
        for shell in ["sh", "bash", "dash"] {
            let mut process = Command::new(shell);
            process.env("x", "X").env("xplain", "wrong").arg("-c").arg(OsStr::from_bytes(&command.line));
            // Not every machine has all of them.
            let Ok(output) = process.output() else { continue };
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(printed, format!("{before}{input}{after}"), "{shell}: {line:?} with {input:?}: {output:?}");
        }
    }
}

#[test]
fn an_input_is_text_wherever_it_stands() {
    for (line, before, after) in [
        ("printf %s {} ", "", ""),
        ("printf %s \"{}\"", "", ""),
        ("printf %s '{}'", "", ""),
        ("printf %s \"a$x{}\"\"b\"", "aX", "b"),
        ("printf %s $x{}", "X", ""),
        ("printf %s 'a'\\''{}'", "a'", ""),
        ("printf %s \\\"{}\\\"", "\"", "\""),
        ("printf %s a\\'{}", "a'", ""),
        ("printf %s a#{}", "a#", ""),
        ("printf %s \"it's {}\"", "it's ", ""),
        ("printf %s '\"'{}", "\"", ""),
        ("printf %s '$(' {}", "$(", ""),
        ("printf %s \"$(echo \"$x)\")\" {}", "X)", ""),
        ("printf %s `echo \"$x\"` \"{}\"", "X", ""),
        ("printf %s ${x}{}", "X", ""),
        ("printf %s \"${x}-{}\"", "X-", ""),
        ("printf %s $((1+(2))){}", "3", ""),
        ("printf %s $(printf %s {})$x | tr -d X > /dev/null; printf %s {}", "", ""),
        ("# don't\nprintf %s {}", "", ""),
        ("y={}; printf %s \"$(printf %s \"$y\")\"", "", ""),
        ("sh -c 'printf %s \"$1\"' sh {}", "", ""),
    ] {
        check(line, before, after);
    }
}

#[test]
fn a_place_where_no_quotes_help_is_refused() {
    for line in [
        "echo \"$(echo {})\"",
        "echo `echo {}`",
        "echo \"`echo {}`\"",
        "echo ${x:-{}}",
        "echo \"${x:-{}}\"",
        "echo $(({} + 1))",
        "cat <<E\n{}\nE",
        "cat <<E\nit's\nE\necho {}",
        "echo a # {}",
        "echo a # b",
        "echo \\{}",
        "echo \"\\{}\"",
        "echo ${}",
        "echo $'it\\'s' {}",
        "echo \"$(case $x in X) echo;; esac)\" {}",
        "echo \"${x:-'}\" {}",
        "sh -c 'echo {}'",
        "bash -e -c \"echo {}\"",
        "eval 'echo {}'",
    ] {
        let refusal = Template::new(&[line], None).unwrap_err();
        assert!(refusal.contains(": ") && !refusal.contains('\n'), "{line:?}: {refusal}");
    }
    // It counts matches.
    assert!(Template::new(&["grep -c '{}' file"], None).is_ok());
}
