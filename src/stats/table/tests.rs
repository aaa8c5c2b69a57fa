//! Each table as exact text.

use super::*;
use crate::stats::functions::UNKNOWN_ERROR;
use crate::stats::{Replaced, WorkerStart, WorkerState};
use std::time::Duration;

/// An amount in tenths of a MiB.
const fn mib(tenths: u64) -> Option<u64> {
    Some(tenths * (1 << 20) / 10)
}

fn worker(worker: usize, pid: Option<u32>, state: WorkerState) -> WorkerStats {
    WorkerStats {
        worker,
        pid,
        pieces_held: 0,
        pieces_done: 0,
        generation: 1,
        state,
        function: None,
        age: None,
        memory: None,
        memory_at_start: None,
        memory_peak: None,
        last_replaced: None,
    }
}

fn function(name: &str, location: &str, pieces: u64, growth: f64, error: f64) -> FunctionStats {
    FunctionStats {
        function: name.to_string(),
        location: location.to_string(),
        pieces,
        measured: pieces / 10,
        growth_per_piece: growth,
        growth_error: error,
        largest_peak: None,
        grows: false,
        pieces_left: None,
    }
}

#[track_caller]
fn check(stats: &Stats, expected: &str) {
    let text = stats.to_string();
    assert_eq!(text, expected, "it is\n{text}\n");
}

/// Only the table of functions.
#[track_caller]
fn check_functions(functions: Vec<FunctionStats>, expected: &str) {
    let text = Stats { functions, ..Stats::default() }.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let table = lines[1..lines.len() - 2].join("\n");
    assert_eq!(table, expected, "it is\n{table}\n");
}

/// The pool of the drawing.
fn drawn() -> Stats {
    let workers = vec![
        WorkerStats {
            pieces_held: 2,
            pieces_done: 1204,
            generation: 3,
            function: Some("app::render".to_string()),
            age: Some(Duration::from_millis(12_300)),
            memory: mib(881),
            memory_at_start: mib(19),
            memory_peak: mib(920),
            last_replaced: Some(Replaced::MemoryHigh),
            ..worker(0, Some(4127), WorkerState::Running)
        },
        WorkerStats {
            pieces_done: 1198,
            generation: 4,
            age: Some(Duration::from_millis(4000)),
            memory: mib(20),
            memory_at_start: mib(19),
            memory_peak: mib(21),
            last_replaced: Some(Replaced::Pieces),
            ..worker(1, Some(4131), WorkerState::Idle)
        },
    ];
    let functions = vec![
        FunctionStats {
            measured: 1911,
            largest_peak: mib(920),
            grows: true,
            pieces_left: Some(24_000),
            ..function("app::render", "main.rs:42", 12_204, 1008.2, 12.8)
        },
        FunctionStats {
            measured: 1907,
            largest_peak: mib(41),
            ..function("app::parse", "main.rs:51", 12_199, -0.3, 9.1)
        },
    ];
    Stats {
        workers,
        tasks: 2,
        pieces_waiting: 17,
        pieces_done: 24_403,
        workers_recycled: 5,
        memory: mib(901),
        memory_high: mib(7000),
        memory_max: mib(8500),
        memory_available: mib(219 * 1024),
        functions,
        unmeasured: vec!["swap".to_string()],
        start_time: Some(Duration::from_micros(1200)),
        ..Stats::default()
    }
}

const DRAWN: &str = "\
worker     pid  state    function        done     age     memory  at start      peak  replaced
     0    4127  running  app::render    1,204  12.3 s   88.1 MiB   1.9 MiB  92.0 MiB  2 (memory high)
     1    4131  idle     -              1,198   4.0 s    2.0 MiB   1.9 MiB   2.1 MiB  3 (pieces)
function (2 of 2)            pieces  measured  growth a piece    largest peak
app::render (main.rs:42)     12,204     1,911   1,008 B ± 13         92.0 MiB   <- grows: 24,000 pieces left
app::parse (main.rs:51)      12,199     1,907       0 B ± 9           4.1 MiB
2 tasks, 17 pieces waiting, 24,403 done; workers are forked, in 1.2 ms
90.1 MiB of 700 (high), 850 (max); 21.9 GiB available; 5 recycled, 0 over limit, 0 lost; not measured: swap";

#[test]
fn the_drawing_comes_out() {
    check(&drawn(), DRAWN);
}

#[test]
fn the_guide_shows_the_drawing() {
    assert!(include_str!("../../../docs/memory.md").contains(DRAWN));
}

/// A line that ends in a space, or a text that ends in a line feed, looks the same and breaks what compares logs.
#[test]
fn no_line_ends_in_a_space() {
    let text = drawn().to_string();
    assert!(text.lines().all(|line| line == line.trim_end()) && !text.ends_with('\n'));
}

#[test]
fn an_empty_pool_has_the_heads_and_the_counts() {
    check(
        &Stats::default(),
        "\
worker     pid  state  function     done  age     memory  at start  peak  replaced
0 tasks, 0 pieces waiting, 0 done; workers are forked
0 recycled, 0 over limit, 0 lost",
    );
}

#[test]
fn without_functions_there_is_no_table_of_them() {
    let stats = Stats { functions: Vec::new(), ..drawn() };
    let mut lines: Vec<&str> = DRAWN.lines().collect();
    lines.drain(3..6);
    check(&stats, &lines.join("\n"));
}

#[test]
fn what_is_not_known_is_a_dash_or_left_out() {
    let stats = Stats {
        workers: vec![
            WorkerStats { generation: 0, ..worker(0, None, WorkerState::Starting) },
            WorkerStats { age: Some(Duration::ZERO), ..worker(1, Some(1_234_567), WorkerState::Leaving) },
        ],
        functions: vec![
            function("app::known", "a.rs:1", 20, 16.0, 0.4),
            function("app::unknown", "b.rs:2", 10, 0.0, UNKNOWN_ERROR),
        ],
        tasks: 1,
        pieces_waiting: 1,
        start: WorkerStart::Executed,
        memory_high: mib(7000),
        ..Stats::default()
    };
    check(
        &stats,
        "\
worker      pid  state     function     done    age     memory  at start  peak  replaced
     0        -  starting  -               0      -          -         -     -  -
     1  1234567  leaving   -               0  0.0 s          -         -     -  -
function (2 of 2)         pieces  measured  growth a piece    largest peak
app::known (a.rs:1)           20         2      16 B ± 0                 -
app::unknown (b.rs:2)         10         1               -               -
1 task, 1 piece waiting, 0 done; workers are executed
0 recycled, 0 over limit, 0 lost",
    );
}

#[test]
fn the_last_line_leaves_out_what_is_not_known() {
    let gib = |gib: u64| Some(gib << 30);
    let none = Stats { workers_recycled: 1234, workers_over_limit: 2, workers_lost: 3, ..Stats::default() };
    let counts = "1,234 recycled, 2 over limit, 3 lost";
    for (memory, high, max, available, unmeasured, expected) in [
        (None, None, None, None, &[][..], ""),
        (mib(901), None, None, None, &[], "90.1 MiB; "),
        (mib(901), None, None, mib(219 * 1024), &[], "90.1 MiB; 21.9 GiB available; "),
        (None, None, None, mib(5), &[], "0.5 MiB available; "),
        (mib(901), mib(7005), None, None, &[], "90.1 MiB of 700.5 (high); "),
        (mib(901), None, mib(8500), None, &[], "90.1 MiB of 850 (max); "),
        (None, mib(7000), mib(8500), None, &[], ""),
        // A limit's unit stands where it is not that of the amount before it.
        (mib(901), gib(2), gib(3), None, &[], "90.1 MiB of 2 GiB (high), 3 (max); "),
        (gib(1), mib(7000), mib(8500), None, &[], "1.0 GiB of 700 MiB (high), 850 (max); "),
        (gib(1), mib(7000), gib(2), None, &[], "1.0 GiB of 700 MiB (high), 2 GiB (max); "),
        (None, None, None, None, &["swap", "heap: musl"], ""),
    ] {
        let stats = Stats {
            memory,
            memory_high: high,
            memory_max: max,
            memory_available: available,
            unmeasured: unmeasured.iter().map(ToString::to_string).collect(),
            ..none.clone()
        };
        let tail = if unmeasured.is_empty() { "" } else { "; not measured: swap, heap: musl" };
        let text = stats.to_string();
        assert_eq!(text.lines().last(), Some(&*format!("{expected}{counts}{tail}")));
    }
    let idle = Stats { workers_idle_ended: 1234, ..none };
    assert_eq!(idle.to_string().lines().last(), Some(&*format!("{counts}, 1,234 ended idle")));
}

#[test]
fn growth_may_be_negative_large_or_without_a_limit() {
    let grows = |function| FunctionStats { grows: true, ..function };
    check_functions(
        vec![
            function("app::free", "a.rs:1", 50, -1008.4, 13.0),
            grows(function("app::grow", "a.rs:2", 40, 3_145_728.0, 12_345.0)),
            function("app::zero", "a.rs:3", 30, -0.4, 0.6),
            FunctionStats { pieces_left: Some(1), ..grows(function("app::near", "a.rs:4", 20, 99.5, 1.0)) },
        ],
        "\
function (4 of 4)      pieces  measured        growth a piece    largest peak
app::grow (a.rs:2)         40         4  3,145,728 B ± 12,345               -   <- grows
app::near (a.rs:4)         20         2        100 B ± 1                    -   <- grows: 1 piece left
app::free (a.rs:1)         50         5     -1,008 B ± 13                   -
app::zero (a.rs:3)         30         3          0 B ± 1                    -",
    );
}

#[test]
fn of_many_functions_ten_are_shown_those_that_grow_first() {
    let mut functions: Vec<_> = (1..=14).map(|it| function(&format!("app::f{it}"), "", it * 100, 0.0, 1.0)).collect();
    functions[1].grows = true;
    functions[4].grows = true;
    check_functions(
        functions,
        "\
function (10 of 14)     pieces  measured  growth a piece    largest peak
app::f5                    500        50       0 B ± 1                 -   <- grows
app::f2                    200        20       0 B ± 1                 -   <- grows
app::f14                 1,400       140       0 B ± 1                 -
app::f13                 1,300       130       0 B ± 1                 -
app::f12                 1,200       120       0 B ± 1                 -
app::f11                 1,100       110       0 B ± 1                 -
app::f10                 1,000       100       0 B ± 1                 -
app::f9                    900        90       0 B ± 1                 -
app::f8                    800        80       0 B ± 1                 -
app::f7                    700        70       0 B ± 1                 -",
    );
}

#[test]
fn long_names_widen_their_column_and_longer_ones_lose_their_beginning() {
    // 60 characters, and 61.
    let long = "app::a_module_with_a_name::another_one::render_all_the_pages";
    let longer = "multicore::a_module_with_a_name::another_one::render_the_page";
    assert_eq!((long.chars().count(), longer.chars().count()), (MAX_NAME, MAX_NAME + 1));
    let far = "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/pages-1.2.3/src/render.rs:1234";
    let running = |number: usize, name: &str| WorkerStats {
        function: Some(name.to_string()),
        ..worker(number, Some(7), WorkerState::Running)
    };
    let stats = Stats {
        workers: vec![running(0, long), running(1, longer), running(2, "two\nlines")],
        functions: vec![function(long, far, 3, 0.0, 1.0), function(longer, "src/ü.rs:1", 2, 0.0, 1.0)],
        ..Stats::default()
    };
    check(
        &stats,
        "\
worker     pid  state    function                                                         done  age     memory  at start  peak  replaced
     0       7  running  app::a_module_with_a_name::another_one::render_all_the_pages        0    -          -         -     -  -
     1       7  running  …lticore::a_module_with_a_name::another_one::render_the_page        0    -          -         -     -  -
     2       7  running  two\u{fffd}lines                                                           0    -          -         -     -  -
function (2 of 2)                                                                                           pieces  measured  growth a piece    largest peak
app::a_module_with_a_name::another_one::render_all_the_pages (…6b5b557f/pages-1.2.3/src/render.rs:1234)          3         0       0 B ± 1                 -
…lticore::a_module_with_a_name::another_one::render_the_page (src/ü.rs:1)                                        2         0       0 B ± 1                 -
0 tasks, 0 pieces waiting, 0 done; workers are forked
0 recycled, 0 over limit, 0 lost",
    );
}

/// Only where tasks have names; those that kept workers busy longest come first.
#[test]
fn names_of_tasks_have_a_table() {
    let task = |name: &str, pieces, busy| TaskStats {
        name: name.to_string(),
        pieces,
        busy: Duration::from_millis(busy),
        bytes: 3 << 20,
        ..TaskStats::default()
    };
    let render =
        TaskStats { failed: 2, retried: 1234, waited: Duration::from_secs(3600), ..task("render", 12_345, 91_250) };
    let stats = Stats { by_name: vec![task("import\n", 1, 40), render], ..Stats::default() };
    check(
        &stats,
        "\
worker     pid  state  function     done  age     memory  at start  peak  replaced
task (2 of 2)     pieces  failed  retried       busy     waited    results
render            12,345       2    1,234     91.2 s  3,600.0 s    3.0 MiB
import\u{fffd}                1       0        0      0.0 s      0.0 s    3.0 MiB
0 tasks, 0 pieces waiting, 0 done; workers are forked
0 recycled, 0 over limit, 0 lost",
    );
}

#[test]
fn amounts_have_a_tenth_and_are_gib_from_1024_mib_on() {
    for (bytes, expected) in [
        (0, "0.0 MiB"),
        (52_429, "0.1 MiB"),
        (1_992_295, "1.9 MiB"),
        (999 << 20, "999.0 MiB"),
        (1023 << 20, "1,023.0 MiB"),
        ((1 << 30) - (1 << 16), "1,023.9 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (1 << 30, "1.0 GiB"),
        (25_233_326_080, "23.5 GiB"),
        (1 << 40, "1,024.0 GiB"),
    ] {
        assert_eq!(amount(bytes), expected);
    }
}

#[test]
fn a_number_that_is_none_does_no_harm() {
    for (value, expected) in [(f64::NAN, "0"), (-0.0, "0"), (0.5, "1"), (-1e300, "-9,223,372,036,854,775,808")] {
        assert_eq!(whole(value), expected);
    }
    assert!(!FunctionStats { growth_error: f64::NAN, ..function("f", "", 1, 0.0, 0.0) }.is_known());
}
