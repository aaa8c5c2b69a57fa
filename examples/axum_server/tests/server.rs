//! The server by what is on the wire: whole lists, clients that leave, workers that are killed, the gate, and the end.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{Server, is_there, run, wait_for};

#[test]
fn all_routes_give_the_same_bytes() {
    let server = Server::start(&[]);
    for count in [0, 1, 999, 1000, 1001, 7_500] {
        let serial = server.list(&format!("/serial?count={count}"));
        let records: Vec<serde_json::Value> = serde_json::from_slice(&serial).unwrap();
        assert_eq!(records.len(), count);
        for route in ["records", "rayon", "rayon-collected"] {
            assert!(server.list(&format!("/{route}?count={count}")) == serial, "{route}, {count} records");
        }
    }
    let refused =
        [("/records?count=200001", 400, "count is 200001; ask for at most 200000 records\n"), ("/nothing", 404, "")];
    for (path, status, text) in refused {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.text()), (status, text), "{path}");
    }
}

#[test]
fn a_request_for_the_head_alone_makes_no_list() {
    let server = Server::start(&[]);
    for (path, status) in
        [("/records", 200), ("/rayon?count=7", 200), ("/serial?count=200000", 200), ("/records?count=200001", 400)]
    {
        let answer = server.head(path);
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
        assert_eq!(status == 200, answer.head.contains("content-type: application/json"), "{path}: {}", answer.head);
        // It is not known, and it is not 0.
        assert!(status != 200 || !answer.head.contains("content-length"), "{path}: {}", answer.head);
    }
    assert_eq!(server.stats()["pieces_done"], 0);
}

/// Each of them held up ten thousand pieces, so one such client closed the gate to all.
#[test]
fn a_few_clients_that_do_not_read_leave_the_gate_open() {
    let server = Server::start(&[]);
    let slow: Vec<_> = (0..5).map(|_| server.ask("/records?count=200000")).collect();
    wait_for("all of them are being answered", || server.stats()["tasks"] == 5);
    assert_eq!(server.list("/records?count=1"), server.list("/serial?count=1"));
    drop(slow);
    server.wait_for_rest();
}

/// What ends early and well is a lie: the client would take it for the list.
#[test]
fn an_error_in_the_middle_of_a_list_breaks_the_connection_off() {
    let server = Server::start(&[]);
    let whole = server.list("/serial?count=20000");
    for route in ["records", "rayon"] {
        let answer = server.get(&format!("/{route}?count=20000&unreadable=19999"));
        assert_eq!((answer.status, answer.is_whole), (200, false), "{route}");
        assert!(answer.body.len() < whole.len() && whole.starts_with(&answer.body), "{route}");
    }
    // Before the first byte there is still a status.
    for path in [
        "/records?count=20000&unreadable=0",
        "/rayon?unreadable=7",
        "/rayon-collected?unreadable=7",
        "/serial?count=10&unreadable=7",
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.is_whole), (500, true), "{path}");
        assert!(answer.text().ends_with("cannot be read\n"), "{path}: {}", answer.text());
    }
    server.wait_for_rest();
    assert!(server.list("/records?count=20000") == whole);
}

#[test]
fn what_runs_for_a_client_that_leaves_ends() {
    let server = Server::start(&[]);
    for _ in 0..5 {
        let mut client = server.ask("/records?count=200000");
        client.read_some(64 << 10);
        assert_eq!(server.stats()["tasks"], 1);
        drop(client);
        server.wait_for_rest();
    }
    let done = server.stats()["pieces_done"].as_u64().unwrap();
    assert!(done < 500, "{done} of 1000 pieces were done for nothing");
    assert!(server.list("/records?count=3000") == server.list("/serial?count=3000"));
}

#[test]
fn the_gate_refuses_while_pieces_wait() {
    let server = Server::start(&["--max-waiting", "0"]);
    // It does not read, so pieces wait until it leaves.
    let mut slow = server.ask("/records?count=200000");
    slow.read_some(1);
    let answer = server.get("/records?count=1");
    assert_eq!((answer.status, answer.is_whole), (503, true), "{}", answer.text());
    assert!(answer.text().contains("pieces wait") && answer.head.contains("retry-after: 1"), "{}", answer.text());
    drop(slow);
    server.wait_for_rest();
    assert_eq!(server.list("/records?count=0"), b"[]");
}

#[test]
fn killed_workers_and_clients_that_leave_fail_no_request() {
    for (arguments, expected) in [
        (["--kill-workers", "200", "--count", "5000", "--seconds", "2"].as_slice(), "workers killed"),
        (&["--leave", "--count", "5000", "--seconds", "1"], "clients left"),
        (&["--route", "rayon", "--count", "5000", "--seconds", "1", "--rounds", "2"], "p99"),
    ] {
        let load = run(&[["load"].as_slice(), arguments].concat());
        let (stdout, stderr) = (String::from_utf8(load.stdout).unwrap(), String::from_utf8(load.stderr).unwrap());
        assert!(load.status.success(), "{arguments:?}: {stdout}{stderr}");
        assert!(stdout.contains(" 0 failed") && stdout.contains(expected), "{arguments:?}: {stdout}{stderr}");
    }
}

#[test]
fn ctrl_c_ends_it_in_order() {
    let server = Server::start(&["--workers", "3"]);
    let workers = server.workers(3);
    assert!(workers.iter().all(|&worker| is_there(worker)));
    let mut client = server.ask("/records?count=20000");
    let begin = client.read_some(100);
    server.interrupt();
    // What is being answered is answered whole.
    let answer = client.read_after(begin);
    assert_eq!((answer.status, answer.is_whole), (200, true));
    assert_eq!(answer.body.last(), Some(&b']'));
    assert_eq!(server.wait().code(), Some(0));
    // Each was killed and reaped; on a loaded machine its entry may take a moment longer to vanish.
    let end = Instant::now() + Duration::from_millis(200);
    while workers.iter().any(|&worker| is_there(worker)) {
        assert!(Instant::now() < end, "a worker is left");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_process_outlives_a_server_that_is_killed() {
    let server = Server::start(&["--workers", "3"]);
    let workers = server.workers(3);
    drop(server);
    wait_for("its workers have ended", || !workers.iter().any(|&worker| is_there(worker)));
}

#[test]
fn what_is_wrong_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let cannot = format!("axum_server: cannot listen on port {port}: Address already in use (os error 98)\n");
    for (arguments, code, expected) in [
        (["--port", port.as_str()], 1, cannot.as_str()),
        (["--port", "x"], 2, "axum_server: --port takes a whole number from 0 to 65535, not \"x\"\n"),
        (["load", "--prot"], 2, "axum_server: load has no option \"--prot\"; see --help\n"),
    ] {
        let output = run(&arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(code), expected), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    let help = run(&["load", "--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"Serves a list of records as JSON"));
}
