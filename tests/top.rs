//! `multicore stats`, `top` and `svg`: programs that are looked at while they work, hang, are stopped and end, and pictures of timelines.
#![cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]

mod run;

use run::{Outcome, Run, comes_true, command, program, run, skipped};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

fn multicore(arguments: &[&str]) -> Command {
    command(Path::new(env!("CARGO_BIN_EXE_multicore")), arguments)
}

/// A program of `looked` that has said that it is ready.
#[track_caller]
fn looked(arguments: &[&str]) -> Run {
    let host = Run::start(command(&program("looked"), arguments));
    host.wait_for_line("ready");
    host
}

/// The program comes to its end, and so do all its processes.
#[track_caller]
fn end(mut host: Run) -> Outcome {
    host.say("end");
    host.finish()
}

#[track_caller]
fn stats(pid: u32) -> Value {
    let outcome = run(multicore(&["stats", &pid.to_string(), "--json"]));
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

/// Refused: one line on standard error, nothing else, 255.
#[track_caller]
fn assert_refused(outcome: &Outcome, words: &str) {
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(255), ""), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.contains(words), "{outcome:?} should contain {words:?}");
}

/// Both commands refuse it.
#[track_caller]
fn check_refused(pid: &str, words: &str) {
    for arguments in [&["stats", pid, "--json"][..], &["top", pid], &["top", pid, "--once"]] {
        assert_refused(&run(multicore(arguments)), words);
    }
}

/// The workers of a program's only pool, by what they do.
#[track_caller]
fn check_mixed(pid: u32) -> f64 {
    let told = stats(pid);
    assert_eq!((&told["process"], told["pools"].as_array().map(Vec::len)), (&Value::from(pid), Some(1)), "{told}");
    let pool = &told["pools"][0];
    assert_eq!((pool["phase"].as_str(), pool["pool"].as_u64()), (Some("open"), Some(1)), "{pool}");
    let workers = pool["workers"].as_array().expect("a list");
    assert_eq!(workers.len(), 3, "{pool}");
    let find = |fits: &dyn Fn(&Value) -> bool| {
        let mut fitting = workers.iter().filter(|worker| fits(worker));
        let one = fitting.next().unwrap_or_else(|| panic!("there is none: {pool}"));
        assert!(fitting.next().is_none(), "there is one: {pool}");
        one
    };
    let busy = find(&|worker| worker["state"] == "busy");
    assert_eq!((&busy["function"], &busy["piece"]), (&Value::from("looked::hang"), &Value::from(0)), "{busy}");
    assert!(busy["pieces_held"] == 1 && busy["offset"].is_i64() && busy["torn"] == false, "{busy}");
    let restarted = find(&|worker| worker["restarts"] == 1);
    assert_eq!(restarted["last_replaced"], "died", "{restarted}");
    assert!(restarted["cause"].as_str().is_some_and(|cause| cause.contains("SIGABRT")), "{restarted}");
    for worker in workers {
        let (own, idle) = (worker["pid"].as_u64().unwrap(), worker["state"] == "idle");
        assert!(Path::new(&format!("/proc/{own}")).exists(), "{worker}");
        assert!(worker["memory"].as_u64().is_some_and(|bytes| bytes > 4096), "{worker}");
        assert_eq!(worker["piece"].is_null(), idle, "{worker}");
    }
    busy["age"].as_f64().expect("a number of seconds")
}

#[test]
fn stats_tell_of_a_busy_an_idle_and_a_restarted_worker_also_while_the_program_is_stopped() {
    let host = looked(&["mixed"]);
    let first = check_mixed(host.pid());
    host.signal(host.pid(), SIGSTOP);
    assert!(comes_true(|| fs::read_to_string(format!("/proc/{}/stat", host.pid())).unwrap().contains(") T ")));
    let (second, stopped) = (check_mixed(host.pid()), Instant::now());
    assert!(second > first, "{second} s are more than {first} s");
    assert!(comes_true(|| stopped.elapsed() > Duration::from_millis(300)));
    let third = check_mixed(host.pid());
    assert!(third >= second + 0.3, "{third} s after {second} s: nothing is written meanwhile");
    let table = run(multicore(&["stats", &host.pid().to_string()]));
    assert!(table.stdout.starts_with("pool 1: 3 workers, 1 with pieces\nWORKER"), "{table:?}");
    assert!(table.stdout.contains("looked::hang") && table.stdout.contains("1 (died: killed by SIGABRT"), "{table:?}");
    let once = run(multicore(&["top", &host.pid().to_string(), "--once"]));
    assert_eq!((once.status.code(), once.stdout.lines().count()), (Some(0), 5), "{once:?}");
    host.signal(host.pid(), SIGCONT);
    assert_eq!(end(host).status.code(), Some(0));
}

#[test]
fn a_forked_child_has_none_of_its_parents_pools() {
    let mut host = looked(&["mixed"]);
    host.say("fork");
    let child = host.wait_for_line("child ");
    check_refused(&child, "has no pool");
    check_mixed(host.pid());
    host.forgive(child.parse().unwrap());
    end(host);
}

#[test]
fn all_pools_of_a_program_are_shown_while_they_are_there() {
    let mut host = looked(&["mixed"]);
    let sizes = |pid: u32| -> Vec<(u64, usize)> {
        let told = stats(pid);
        let pools = told["pools"].as_array().unwrap().clone();
        pools.iter().map(|pool| (pool["pool"].as_u64().unwrap(), pool["workers"].as_array().unwrap().len())).collect()
    };
    assert_eq!(sizes(host.pid()), [(1, 3)]);
    // One that was started before the second pool finds it.
    let top = Run::start(multicore(&["top", &host.pid().to_string()]));
    top.wait_for_line("pool 1: 3 workers");
    host.say("two");
    host.wait_for_line("made");
    assert_eq!(sizes(host.pid()), [(1, 3), (2, 2)]);
    top.wait_for_line("pool 2: 2 workers");
    host.say("close");
    host.wait_for_line("closed");
    assert_eq!(sizes(host.pid()), [(1, 3)]);
    let pid = host.pid();
    end(host);
    let outcome = top.finish();
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    assert!(outcome.stdout.ends_with(&format!("process {pid} has ended\n")), "{outcome:?}");
    check_refused(&pid.to_string(), "there is no process");
}

#[test]
fn what_cannot_be_looked_at_is_told_in_one_sentence() {
    check_refused("2147483647", "there is no process 2147483647");
    for wrong in ["abc", "0", "99999999999", "1.5", ""] {
        check_refused(wrong, "give the number of a process");
    }
    let host = looked(&["none"]);
    check_refused(&host.pid().to_string(), "has no pool");
    end(host);
    let host = looked(&["forged", "99"]);
    check_refused(&host.pid().to_string(), "in version 99, and this program reads version 1");
    end(host);
}

#[test]
fn another_users_program_may_not_be_looked_at() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        return check_refused("1", "may not be looked at");
    }
    // Where only root may go, nobody else can start the program.
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let own = folder.path().join("multicore");
    fs::copy(env!("CARGO_BIN_EXE_multicore"), &own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let host = looked(&["mixed"]);
    for arguments in [["stats", "--json"], ["top", "--once"]] {
        let mut looker = command(&own, &[arguments[0], &host.pid().to_string(), arguments[1]]);
        looker.uid(65534).gid(65534).current_dir("/");
        assert_refused(&run(looker), "may not be looked at: it is another user's");
    }
    end(host);
}

/// The same user can open it for writing, and gains nothing.
#[test]
fn nobody_but_the_program_writes_its_status() {
    let host = looked(&["mixed"]);
    let entries = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
    let is_status = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.as_os_str() == "/memfd:multicore-status (deleted)")
    };
    let path = entries.map(|entry| entry.unwrap().path()).find(is_status).expect("it has one");
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    assert!(file.write_at(b"forged", 0).is_err() && file.set_len(0).is_err() && file.set_len(1 << 20).is_err());
    check_mixed(host.pid());
    end(host);
}

/// What is no pool of this process, and what no looker can read, has its sentence, and hides no pool.
#[test]
fn files_that_only_look_like_a_pool_are_passed_over() {
    let host = looked(&["foreign"]);
    check_mixed(host.pid());
    end(host);
    // A child that is forked into another namespace of processes may have the number of the pool's process there.
    let host = looked(&["elsewhere"]);
    check_refused(&host.pid().to_string(), "has no pool");
    end(host);
    let host = looked(&["rows", "100000"]);
    check_refused(&host.pid().to_string(), "has no pool");
    end(host);
    let host = looked(&["many"]);
    check_refused(&host.pid().to_string(), "tells of more than 65536 workers");
    end(host);
}

#[test]
fn a_program_whose_first_thread_has_ended_is_looked_at_all_the_same() {
    let host = looked(&["without_main"]);
    let told = stats(host.pid());
    assert_eq!(told["pools"][0]["workers"].as_array().map(Vec::len), Some(2), "{told}");
    end(host);
}

/// It once printed an empty line each second, for ever.
#[test]
fn the_end_of_the_last_pool_is_said_once() {
    let mut host = looked(&["rows", "2"]);
    let pid = host.pid();
    let top = Run::start(multicore(&["top", &pid.to_string()]));
    top.wait_for_line("pool 1: 2 workers");
    host.say("close");
    top.wait_for_line(&format!("process {pid} has no pool now"));
    let said = Instant::now();
    assert!(comes_true(|| said.elapsed() > Duration::from_millis(2500)), "two looks more");
    end(host);
    let outcome = top.finish();
    let last: Vec<&str> = outcome.stdout.lines().rev().take(2).collect();
    assert_eq!(last, [format!("process {pid} has ended"), format!("process {pid} has no pool now")], "{outcome:?}");
    assert_eq!(outcome.stdout.matches("has no pool").count(), 1, "{outcome:?}");
}

/// Signals were flags alone, which nobody looked at while a reader took nothing.
#[test]
fn signals_end_top_while_nobody_reads_what_it_prints() {
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    let host = looked(&["rows", "5000"]);
    for signals in [&[SIGTERM][..], &[SIGTERM, SIGINT]] {
        let mut top = multicore(&["top", &host.pid().to_string()]);
        let top = top.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut top = Killed(top);
        // What it prints is more than a pipe holds: from here on it cannot end its write.
        top.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        signals.iter().for_each(|signal| host.signal(top.0.id(), *signal));
        assert!(comes_true(|| top.0.try_wait().unwrap().is_some()), "{signals:?} do not end it");
        let code = top.0.wait().unwrap().code();
        assert!(code == Some(128 + SIGTERM) || (signals.len() == 2 && code == Some(128 + SIGINT)), "{code:?}");
    }
    end(host);
}

/// A program that is ended with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A terminal of tmux in which a line of the shell runs.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// `None`, and a message, where there is no tmux.
    fn open(line: &str) -> Option<Terminal> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skipped("top in a terminal", "tmux is not installed");
            return None;
        }
        let terminal = Terminal { folder: tempfile::tempdir().unwrap() };
        // What is on the screen when the line has ended stays.
        let line = format!("{line}; echo left $?; read nothing");
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "16", &line]);
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.folder.path().join("socket")).args(arguments);
        let output = tmux.env_remove("TMUX").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn wait_for(&self, words: &[&str]) -> String {
        let mut screen = String::new();
        let came = comes_true(|| {
            screen = self.screen();
            words.iter().all(|word| screen.contains(word))
        });
        assert!(came, "{words:?} never came: {screen}");
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _ = tmux.arg("-S").arg(self.folder.path().join("socket")).arg("kill-server").output();
    }
}

fn age_of(screen: &str) -> Option<f64> {
    let line = screen.lines().find(|line| line.contains("looked::hang"))?;
    line.split_whitespace().nth(3)?.strip_suffix('s')?.parse().ok()
}

#[test]
fn top_in_a_terminal_follows_a_program_that_hangs_and_leaves_the_terminal_as_it_was() {
    let host = looked(&["mixed"]);
    let line = format!("{} top {}", env!("CARGO_BIN_EXE_multicore"), host.pid());
    for key in ["q", "C-c"] {
        let Some(terminal) = Terminal::open(&line) else { break };
        let title = format!("multicore: process {}", host.pid());
        let screen = terminal.wait_for(&[&title, "WORKER", "looked::hang", "busy", "idle", "1 (died", "q: leave"]);
        host.signal(host.pid(), SIGSTOP);
        let before = age_of(&screen).unwrap_or_else(|| panic!("no age: {screen}"));
        assert!(comes_true(|| age_of(&terminal.screen()).is_some_and(|age| age > before)), "it is shown anew");
        host.signal(host.pid(), SIGCONT);
        terminal.tmux(&["send-keys", key]);
        let left = terminal.wait_for(&["left 0"]);
        assert!(!left.contains("looked::hang"), "{key}: {left}");
    }
    let terminal = Terminal::open(&line);
    if let Some(terminal) = &terminal {
        terminal.wait_for(&["looked::hang"]);
    }
    let pid = host.pid();
    end(host);
    if let Some(terminal) = terminal {
        terminal.wait_for(&[&format!("process {pid} has ended"), "left 0"]);
    }
}

/// SIGHUP and SIGQUIT once left a terminal that showed no cursor and no typed letter.
#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let host = looked(&["rows", "2"]);
    let line = format!("{} top {}; code=$?; stty -a; (exit $code)", env!("CARGO_BIN_EXE_multicore"), host.pid());
    for (name, signal) in [("HUP", 1), ("INT", 2), ("QUIT", 3), ("TERM", 15)] {
        let Some(terminal) = Terminal::open(&line) else { break };
        terminal.wait_for(&["WORKER", "busy*"]);
        let shell = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]);
        let shell = shell.trim();
        let top = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        host.signal(top.trim().parse().unwrap(), signal);
        let left = terminal.wait_for(&["left 0", " icanon", " echo "]);
        assert!(!left.contains("WORKER"), "SIG{name}: {left}");
        assert_eq!(terminal.tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]), "1 0\n", "SIG{name}");
    }
    end(host);
}

#[test]
fn top_in_a_low_terminal_moves_by_keys() {
    let host = looked(&["busy", "20"]);
    let line = format!("{} top {}", env!("CARGO_BIN_EXE_multicore"), host.pid());
    if let Some(terminal) = Terminal::open(&line) {
        let is_shown = |screen: &str, worker: &str| {
            screen.lines().any(|line| line.split_whitespace().next() == Some(worker) && line.contains("looked::hang"))
        };
        let shows = |worker: &str| comes_true(|| is_shown(&terminal.screen(), worker));
        assert!(shows("0") && !is_shown(&terminal.screen(), "19"), "{}", terminal.screen());
        terminal.tmux(&["send-keys", "End"]);
        assert!(shows("19") && !is_shown(&terminal.screen(), "0"), "{}", terminal.screen());
        terminal.tmux(&["send-keys", "Home"]);
        assert!(shows("0"), "{}", terminal.screen());
        terminal.tmux(&["send-keys", "q"]);
        terminal.wait_for(&["left 0"]);
    }
    end(host);
}

/// It once read the end of such a terminal again and again, and took a core for ever.
#[test]
fn top_ends_with_its_terminal() {
    let host = looked(&["mixed"]);
    // As under nohup(1), where the signal of the end does not end it.
    let line = format!("trap '' HUP; exec {} top {}", env!("CARGO_BIN_EXE_multicore"), host.pid());
    if let Some(terminal) = Terminal::open(&line) {
        terminal.wait_for(&["looked::hang"]);
        let top = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]);
        let folder = format!("/proc/{}", top.trim());
        assert!(fs::read_to_string(format!("{folder}/cmdline")).unwrap().contains("multicore"), "it is top");
        drop(terminal);
        assert!(comes_true(|| !Path::new(&folder).exists()), "it goes on without a terminal");
    }
    end(host);
}

fn switches(folder: &str) -> u64 {
    let of_thread = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let count =
            |line: &str| line.split_once("ctxt_switches:").map(|(_, count)| count.trim().parse::<u64>().unwrap());
        status.lines().filter_map(count).sum::<u64>()
    };
    fs::read_dir(folder).unwrap().map(|thread| of_thread(thread.unwrap())).sum()
}

/// What a process has used of the processors, in seconds.
fn used(pid: u32) -> f64 {
    let times = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    times.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Takes half a minute: `cargo test --release --features cli --test top -- --ignored --nocapture`.
#[test]
#[ignore = "it measures, for half a minute"]
fn top_of_64_busy_workers_takes_little_and_wakes_nobody() {
    let host = looked(&["busy", "64"]);
    let line = format!("exec {} top {}", env!("CARGO_BIN_EXE_multicore"), host.pid());
    let threads = format!("/proc/{}/task", host.pid());
    const SECONDS: u64 = 10;
    let pause = || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(SECONDS) {
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let before = switches(&threads);
    pause();
    let alone = switches(&threads) - before;
    let Some(terminal) = Terminal::open(&line) else { return drop(end(host)) };
    terminal.wait_for(&["looked::hang"]);
    let top: u32 = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]).trim().parse().unwrap();
    let (before, used_before) = (switches(&threads), used(top));
    pause();
    let (watched, share) = (switches(&threads) - before, (used(top) - used_before) / SECONDS as f64);
    eprintln!(
        "top of 64 busy workers: {:.3} % of a core; the program was woken {watched} times, alone {alone}",
        share * 100.0
    );
    drop(terminal);
    end(host);
    assert!(watched <= alone, "{watched} wake-ups while it is looked at, {alone} else");
    assert!(cfg!(debug_assertions) || share <= 0.005, "{share} of a core");
}

// Pictures.

/// Checks that each tag is closed, and gives the number of boxes.
#[track_caller]
fn check_svg(text: &str) -> usize {
    assert!(text.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && text.ends_with("</svg>\n"), "{text}");
    let mut open = Vec::new();
    for tag in text.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{tag} is not closed"));
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (None, false) => open.push(tag.split_whitespace().next().unwrap()),
            (None, true) => {}
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    text.matches("<title>").count()
}

/// Folders with a trace, and what `multicore svg` makes of it.
fn svg(trace: &str, arguments: &[&str]) -> (tempfile::TempDir, Outcome) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("trace.json"), trace).unwrap();
    let mut command = multicore(&[&["svg", "trace.json"], arguments].concat());
    command.current_dir(folder.path());
    let outcome = run(command);
    (folder, outcome)
}

fn square(number: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20));
    number * number
}

#[test]
fn a_timeline_of_a_pool_is_drawn() {
    let pool = multicore::Pool::builder().workers(2).timeline(1000).build().expect("a pool can run here");
    let task = pool.try_task::<u64>().unwrap().name("squares <&>");
    task.call_all(square, 0..6);
    task.get().unwrap();
    let failing = pool.try_task::<u64>().unwrap();
    failing.call(|_: u64| -> u64 { std::process::abort() }, 1);
    failing.get().unwrap_err();
    let mut trace = Vec::new();
    pool.timeline().write_chrome(&mut trace).unwrap();
    let trace = String::from_utf8(trace).unwrap();
    let (_folder, outcome) = svg(&trace, &[]);
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    let text = &outcome.stdout;
    // Six squares, one that was lost if it is wide enough, and the worker's end.
    assert!((7..=8).contains(&check_svg(text)), "{text}");
    for words in
        [">worker 0<", ">worker 1<", ">squares &lt;&amp;&gt;<", "piece 5: 2", "#d00", "worker lost: killed by SIGABRT"]
    {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
    let (folder, outcome) = svg(&trace, &["--output", "trace.svg"]);
    outcome.assert_said("");
    assert_eq!(&fs::read_to_string(folder.path().join("trace.svg")).unwrap(), text);
}

/// 300 such events once took 552 MB.
#[test]
fn names_and_causes_of_any_length_make_a_small_picture() {
    let long = "n".repeat(100_000);
    let piece = |number: usize| {
        let args = format!("\"outcome\":\"{long}\",\"cause\":\"{long}\"");
        format!(
            "{{\"ph\":\"X\",\"name\":\"{number}{long}\",\"tid\":1,\"ts\":{number},\"dur\":1,\"args\":{{{args}}}}},\n"
        )
    };
    let name = format!("{{\"ph\":\"M\",\"name\":\"thread_name\",\"tid\":1,\"args\":{{\"name\":\"{long}\"}}}},\n");
    let lost =
        format!("{{\"ph\":\"i\",\"name\":\"worker lost\",\"tid\":1,\"ts\":9,\"args\":{{\"cause\":\"{long}\"}}}}");
    let pieces: String = (0..30).map(piece).collect();
    let (_folder, outcome) = svg(&format!("{{\"traceEvents\":[\n{name}{pieces}{lost}]}}"), &[]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert_eq!(check_svg(&outcome.stdout), 31);
    assert!(outcome.stdout.len() < 60_000, "{} bytes", outcome.stdout.len());
}

#[test]
fn what_is_no_timeline_is_told_with_its_place() {
    let piece =
        |ts: &str, dur: &str| format!("{{\"traceEvents\":[\n{{\"ph\":\"X\",\"tid\":1,\"ts\":{ts},\"dur\":{dur}}}]}}");
    let sound = "{\"traceEvents\":[\n{\"ph\":\"X\",\"name\":\"a\",\"tid\":1,\"ts\":1,\"dur\":2,\"args\":{}}]}\n";
    let (_folder, outcome) = svg(sound, &[]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert_eq!(check_svg(&outcome.stdout), 1);
    for (trace, words) in [
        ("", "line 1 column 0"),
        ("no JSON", "line 1 column 2"),
        (&sound[..60], "line 2 column "),
        ("[]", "the object of a timeline"),
        ("{\"a\":1}", "missing field `traceEvents` at line 1 column 7"),
        ("{\"traceEvents\":7}", "a list of events at line 1"),
        ("{\"traceEvents\":[\n{\"ph\":\"X\",\"tid\":1}]}", "an event without a time at line 2 column"),
        ("{\"traceEvents\":[\n{\"ph\":\"X\",\"tid\":1,\"ts\":5}]}", "a piece without a duration at line 2"),
        ("{\"traceEvents\":[{\"ph\":\"X\",\"tid\":-1}]}", "line 1 column"),
        // The picture of such a time never came to its end.
        (&piece("1e308", "1.7e308"), "a time beyond 1e15 microseconds (ts 1e308, dur 1.7e308) at line 2 column"),
        (&piece("-1e308", "0"), "a time beyond 1e15 microseconds (ts -1e308, dur 0e0) at line 2 column"),
        (&piece("1", "1e999"), "number out of range at line 2 column"),
        (&format!("{{\"traceEvents\":[\n\"{}", "x".repeat(2 << 20)), "a text of more than 1 MiB at line 2"),
        (&"[".repeat(1000), "more than 100 lists or objects in each other at line 1"),
        ("{\"traceEvents\":[]}", "has no pieces"),
        (&format!("{sound}more"), "trailing characters at line 3 column 1"),
    ] {
        let (_folder, outcome) = svg(trace, &[]);
        assert_refused(&outcome, words);
    }
    let (folder, outcome) = svg(sound, &["-o", "./trace.json"]);
    assert_refused(&outcome, "./trace.json is the timeline itself");
    assert_eq!(fs::read_to_string(folder.path().join("trace.json")).unwrap(), sound);
    let mut missing = multicore(&["svg", "missing.json"]);
    missing.current_dir("/");
    assert_refused(&run(missing), "missing.json cannot be read: No such file");
    let (_folder, outcome) = svg(sound, &["-o", "no/folder.svg"]);
    assert_refused(&outcome, "no/folder.svg cannot be written");
}
