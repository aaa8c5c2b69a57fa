use super::{Command, Template};

fn command(words: &[&str], clusters: Option<u64>, input: &str) -> Command {
    Template::new(words, clusters).unwrap().command(input.as_bytes(), 7)
}

#[track_caller]
fn check(words: &[&str], input: &str, expected: &[&str]) {
    let found: Vec<String> =
        command(words, None, input).words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect();
    assert_eq!(found, expected, "{words:?} with {input:?}");
}

#[test]
fn each_placeholder_is_filled_in() {
    let words = ["{}", "{.}", "{/}", "{//}", "{/.}", "{#}"];
    for (input, expected) in [
        ("/a/b.c/d.tar.gz", ["/a/b.c/d.tar.gz", "/a/b.c/d.tar", "d.tar.gz", "/a/b.c", "d.tar", "7"]),
        ("x.y", ["x.y", "x", "x.y", ".", "x", "7"]),
        ("/a", ["/a", "/a", "a", "/", "a", "7"]),
        ("b.", ["b.", "b", "b.", ".", "b", "7"]),
        (".bashrc", [".bashrc", "", ".bashrc", ".", "", "7"]),
        ("dir.d/f", ["dir.d/f", "dir.d/f", "f", "dir.d", "f", "7"]),
        ("a/", ["a/", "a/", "", ".", "", "7"]),
        ("//a//b", ["//a//b", "//a//b", "b", "//a", "b", "7"]),
        ("", ["", "", "", ".", "", "7"]),
    ] {
        check(&words, input, &expected);
    }
}

#[test]
fn placeholders_stand_anywhere_and_inputs_are_not_read_again() {
    check(&["cp", "{}", "{.}-{#}.bak"], "a.c", &["cp", "a.c", "a-7.bak"]);
    check(&["echo", "{}"], "{#}", &["echo", "{#}"]);
    check(&["awk", "{print}", "{}"], "f", &["awk", "{print}", "f"]);
    check(&["echo", "{i}{n}"], "a", &["echo", "{i}{n}", "a"]);
}

#[test]
fn without_a_placeholder_the_input_is_the_last_word() {
    check(&["echo"], "a b", &["echo", "a b"]);
    check(&["echo", "x="], "a", &["echo", "x=", "a"]);
    check(&["echo"], "", &["echo", ""]);
    check(&["wc -l"], "a b", &["/bin/sh", "-c", "wc -l 'a b'"]);
    check(&["wc -l \n"], "a b", &["/bin/sh", "-c", "wc -l 'a b'"]);
}

#[test]
fn one_word_with_a_blank_or_a_sign_is_a_line_for_the_shell() {
    check(&["echo {} | wc"], "it's", &["/bin/sh", "-c", r"echo 'it'\''s' | wc"]);
    check(&["echo {/.}"], "a b/c d.e", &["/bin/sh", "-c", "echo 'c d'"]);
    check(&["echo {}"], "a\n'b", &["/bin/sh", "-c", "echo 'a\n'\\''b'"]);
    check(&["~/run"], "a", &["/bin/sh", "-c", "~/run a"]);
    check(&["echo", "a b", "{}"], "$x", &["echo", "a b", "$x"]);
    check(&["{}"], "ls", &["ls"]);
}

#[test]
fn clusters_are_glued_on_behind_an_equals_sign() {
    for (words, line) in [
        (&["import", "--cluster="][..], "import --cluster=2/9"),
        (&["import"], "import 2/9"),
        (&["import", "--at={i}", "{n}"], "import --at=7 9"),
        (&["run import --cluster="], "run import --cluster=2/9"),
    ] {
        let found = command(words, Some(9), "2/9").line;
        assert_eq!(String::from_utf8(found).unwrap(), line);
    }
}

#[test]
fn the_program_is_known_where_all_jobs_have_the_same() {
    for (words, program) in [
        (&["echo", "{}"][..], Some("echo")),
        (&["{}"], None),
        (&["a{}"], None),
        (&["echo {}"], None),
        (&["true"], Some("true")),
    ] {
        assert_eq!(Template::new(words, None).unwrap().program().map(|program| program.to_str().unwrap()), program);
    }
}
