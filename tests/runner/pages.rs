//! Help, completions and manual pages; journals as people look at them.

use super::Place;

#[test]
fn help_is_whole_and_has_examples() {
    let place = Place::new();
    for (line, words) in [
        ("$M --help", &["run", "journal", "completions", "Examples:"][..]),
        (
            "$M run --help",
            &[
                "multicore run [-j N] [--clusters N | -a FILE | -0]",
                "{//}",
                "Examples:",
                "Exit code:",
                "--resume-failed",
                "127",
            ],
        ),
        ("$M journal --help", &["show", "check", "compact", "repair"]),
        ("$M journal check --help", &["255"]),
        ("$M --version", &["multicore 0."]),
    ] {
        let outcome = place.run_shell(line);
        assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{line}: {outcome:?}");
        for word in words {
            assert!(outcome.stdout.contains(word), "{line} should tell of {word:?}: {}", outcome.stdout);
        }
        assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 120), "{line}: {}", outcome.stdout);
    }
}

#[test]
fn completions_are_what_their_shells_read() {
    let place = Place::new();
    for (shell, check) in [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish -n")] {
        let outcome = place.run_shell(&format!("$M completions {shell} > file && grep -c resume-failed file"));
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        let outcome = place.run_shell(&format!("command -v {shell} > /dev/null || exit 3; {check} file"));
        match outcome.status.code() {
            Some(3) => super::skipped("completions_are_what_their_shells_read", &format!("{shell} is not installed")),
            code => assert_eq!(code, Some(0), "{outcome:?}"),
        }
    }
}

#[test]
fn manual_pages_are_printed() {
    let place = Place::new();
    for (page, words) in
        [("multicore", "journal"), ("multicore-run", "resume\\-failed"), ("multicore-journal-check", "damaged")]
    {
        let outcome = place.run_shell(&format!("$M man {page}"));
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        assert!(outcome.stdout.contains(".TH ") && outcome.stdout.contains(words), "{page}: {}", outcome.stdout);
    }
    let outcome = place.run_shell("$M man none");
    assert_eq!((outcome.status.code(), outcome.stderr.lines().count()), (Some(255), 1), "{outcome:?}");
}

#[test]
fn what_is_no_journal_is_refused() {
    let place = Place::new();
    place.write("other", "no journal");
    for action in ["show", "check", "compact", "repair"] {
        for file in ["none", "other", "temporary"] {
            let outcome = place.run_shell(&format!("$M journal {action} {file}"));
            assert_eq!(
                (outcome.status.code(), outcome.stderr.lines().count()),
                (Some(255), 1),
                "{action}: {outcome:?}"
            );
            assert!(outcome.stderr.contains(file), "{outcome:?}");
        }
    }
    assert_eq!(place.read("other"), "no journal");
    assert_eq!(place.run_shell("$M journal; $M").stderr.lines().count(), 2);
}
