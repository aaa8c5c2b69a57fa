//! What pieces print, by C's stdio and by Rust: it is out before the answer, and a stream that a piece left behind holds up
//! nothing, with glibc and with musl.

use crate::run::{command, musl_program, program, run};
use std::path::PathBuf;

fn printers() -> impl Iterator<Item = PathBuf> {
    [Some(program("printer")), musl_program("printer")].into_iter().flatten()
}

fn c_lines() -> String {
    (0..50).map(|number| format!("C line {number}\n")).collect()
}

/// Fault 65. C's stdio keeps what is printed to a pipe in its buffer. Pieces succeeded, a later piece crashed, and what they had
/// printed was lost with it.
#[test]
fn what_a_piece_printed_by_c_is_out_before_its_answer() {
    for printer in printers() {
        for what in ["crash", "crash-own-buffer"] {
            let outcome = run(command(&printer, &[what]));
            assert_eq!((outcome.stdout, outcome.stderr.as_str()), (c_lines(), "50 succeeded\n"), "{what}");
        }
    }
}

#[test]
fn what_a_piece_printed_by_c_is_out_when_the_pool_is_dropped() {
    for printer in printers() {
        run(command(&printer, &["drop"])).assert_said(&c_lines());
    }
}

#[test]
fn what_hooks_print_appears_once() {
    for printer in printers() {
        let outcome = run(command(&printer, &["hooks"]));
        for (text, times) in [("preload by C", 1), ("preload by Rust", 1), ("start by C", 3), ("start by Rust", 3)] {
            assert_eq!(outcome.stdout.matches(text).count(), times, "{text}: {outcome:?}");
        }
    }
}

#[test]
fn streams_that_pieces_leave_open_are_flushed_at_the_orderly_end() {
    for printer in printers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept");
        run(command(&printer, &["kept-open", path.to_str().unwrap()])).assert_said("");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "kept");
    }
}

/// Fault 65. Before it slept, a worker flushed all C streams, and thus waited for one that a thread of a piece held, or that had
/// no reader. It never began another piece, whose limit did not count either, and `shutdown` was not reached.
#[test]
fn what_a_piece_leaves_behind_holds_up_no_other() {
    for printer in printers() {
        for (what, first) in [("popen", 1), ("held-input", 1), ("held-output", u64::from(b'x'))] {
            // What fputs returns on success differs.
            let outcome = run(command(&printer, &[what]));
            let expected = "round 0: Ok(8)\nround 1: Ok(8)\nround 2: Ok(8)\nlost: 0\n";
            assert!(outcome.stdout.ends_with(expected), "{what}: {outcome:?}");
            assert!(what == "popen" || outcome.answer("first") == format!("Ok({first})"), "{what}: {outcome:?}");
            assert_eq!(outcome.status.code(), Some(0), "{what}: {outcome:?}");
        }
    }
}

/// Fault 65. A standard output that nobody reads held the answer of a piece that had printed a few bytes, for ever.
#[test]
fn a_full_standard_output_holds_no_answer() {
    for printer in printers() {
        for what in ["full", "full-rust"] {
            run(command(&printer, &[what])).assert_said(
                "round 0: Ok(7)\nround 1: Ok(7)\nround 2: Ok(7)\ndrained: Ok(7)\nprinted: true\nlost: 0\nended: ()\n",
            );
        }
        let said = "flooded: Ok(7)\nlines: Ok(50)\nbroken: Ok(0)\nprinted: true\nlost: 0\n";
        run(command(&printer, &["full-later"])).assert_said(said);
    }
}
