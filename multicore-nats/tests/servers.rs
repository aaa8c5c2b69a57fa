//! Agents, masters and a real server, each a process of its own, through what may happen to them.
//!
//! `NATS_SERVER` has the path of the server, by default the one on the `PATH`. Without one the tests are skipped, but under `CI` they fail.
//! The programs are the example `hosts`.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::{DEADLINE, Place, Process};

/// The example, built as this test was: `cargo test --test servers` alone builds none.
fn hosts_program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let own = std::env::current_exe().expect("a test has a program");
        let folder = own.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "multicore-nats", "--example", "hosts", "--profile", profile]);
        cargo.arg("--target-dir").arg(folder.parent().expect("target"));
        assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs").success());
        folder.join("examples/hosts")
    };
    PROGRAM.get_or_init(build).clone()
}

impl Place {
    fn start_agent(&mut self) {
        self.start_agent_of(&hosts_program(), &[]);
    }

    fn start_master(&self, arguments: &str) -> Process {
        let mut command = self.command(&hosts_program());
        command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process(command.spawn().unwrap())
    }

    fn run(&self, arguments: &str) -> Ended {
        self.start_master(arguments).ended()
    }
}

/// What a master has printed.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    took: Duration,
}

impl Process {
    fn ended(mut self) -> Ended {
        let start = Instant::now();
        // One that never ends is a failure, with what it has printed.
        let (has_ended, ends) = std::sync::mpsc::channel::<()>();
        let pid = self.pid().to_string();
        let watch = std::thread::spawn(move || {
            if ends.recv_timeout(2 * DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        let mut stderr = self.0.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut stdout = String::new();
        for line in BufReader::new(self.0.stdout.take().unwrap()).lines() {
            stdout += &line.unwrap();
            stdout.push('\n');
        }
        let code = self.0.wait().unwrap().code();
        drop(has_ended);
        watch.join().unwrap();
        Ended { code, stdout, stderr: errors.join().unwrap(), took: start.elapsed() }
    }
}

impl Ended {
    /// A number of the last line.
    #[track_caller]
    fn number(&self, name: &str) -> u64 {
        let last = self.stdout.lines().last().unwrap_or_else(|| panic!("{self:?}"));
        let found = last.split(' ').find_map(|part| part.strip_prefix(&format!("{name}=")));
        found.and_then(|number| number.split('.').next()?.parse().ok()).unwrap_or_else(|| panic!("{name}: {self:?}"))
    }

    #[track_caller]
    fn assert_right(&self, pieces: u64) {
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert_eq!((self.code, self.number("right"), self.number("failed")), (Some(0), pieces, 0), "{self:?}");
    }
}

/// A place with two agents.
fn two_agents() -> Option<Place> {
    let mut place = Place::new(None)?;
    place.start_agent();
    place.start_agent();
    Some(place)
}

const SMALL_LEASE: &str = "--lease 3 --deliveries 3";

#[test]
fn pieces_of_all_kinds_run_on_other_hosts() {
    let Some(place) = two_agents() else { return };
    place.run("run --job none --work noop --pieces 0").assert_right(0);
    place.run("run --job one --work noop --pieces 1").assert_right(1);
    let many = place.run("run --job many --work noop --pieces 100000");
    many.assert_right(100_000);
    assert_eq!(many.number("hosts"), 2);
    // A name that has ended begins anew.
    let again = place.run("run --job many --work noop --pieces 1000");
    again.assert_right(1000);
    assert_eq!(again.number("found"), 0);
    for length in [0, 262_143, 262_144, 262_145, 1_048_576] {
        place.run(&format!("run --job bytes --work bytes:{length} --pieces 8")).assert_right(8);
    }
    place.run("run --job long --work bytes:67108864 --pieces 1").assert_right(1);
    let aborts = place.run("run --job abort --work abort:5 --pieces 20");
    assert_eq!((aborts.code, aborts.number("right"), aborts.number("failed")), (Some(2), 19, 1));
    assert!(aborts.stdout.contains("piece 5: piece 5 (hosts::abort at "), "{aborts:?}");
    assert!(aborts.stdout.contains(", on host ") && aborts.stdout.contains("killed by SIGABRT"), "{aborts:?}");
    let panics = place.run("run --job panic --work panic:5 --pieces 20");
    assert!(panics.stdout.contains("piece 5 panics"), "{panics:?}");
    let late = place.run("run --job late --work nap:600 --pieces 1 --timeout 0.1");
    assert!(late.stdout.contains("ran longer than its limit of 100ms"), "{late:?}");
}

#[test]
fn a_host_that_is_killed_costs_time_and_no_result() {
    let Some(mut place) = two_agents() else { return };
    let master = place.start_master(&format!("run --job kill {SMALL_LEASE} --work log:10 --pieces 600"));
    place.wait_for_starts(200);
    place.agents[0].kill();
    let ended = master.ended();
    ended.assert_right(600);
    let starts = place.starts();
    assert!((600..=630).contains(&starts.len()), "{}", starts.len());
    assert!(ended.took < Duration::from_secs(20), "{ended:?}");
}

#[test]
fn a_host_that_is_stopped_and_goes_on_changes_nothing() {
    let Some(place) = two_agents() else { return };
    let master = place.start_master(&format!("run --job stop {SMALL_LEASE} --work log:10 --pieces 600"));
    place.wait_for_starts(200);
    place.agents[1].signal("STOP");
    std::thread::sleep(Duration::from_secs(5));
    place.agents[1].signal("CONT");
    master.ended().assert_right(600);
    // It serves on.
    place.run("run --job after --work noop --pieces 100").assert_right(100);
}

#[test]
fn a_server_that_comes_back_with_or_without_its_store_costs_time_alone() {
    for keeps_store in [true, false] {
        let Some(mut place) = two_agents() else { return };
        let master = place.start_master(&format!("run --job server {SMALL_LEASE} --work log:10 --pieces 600"));
        place.wait_for_starts(200);
        place.kill_server();
        if !keeps_store {
            fs::remove_dir_all(place.path("store")).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
        place.start_server();
        let back = Instant::now();
        master.ended().assert_right(600);
        assert!(back.elapsed() < Duration::from_secs(15), "{:?}, with its store: {keeps_store}", back.elapsed());
    }
}

#[test]
fn a_master_that_is_killed_finds_what_was_done() {
    let Some(place) = two_agents() else { return };
    let arguments = format!("run --job master {SMALL_LEASE} --work log:10 --pieces 600");
    let mut master = place.start_master(&arguments);
    place.wait_for_starts(300);
    master.kill();
    let ended = place.run(&arguments);
    ended.assert_right(600);
    assert!(ended.number("found") > 0, "{ended:?}");
    assert!(place.starts().len() <= 610, "{}", place.starts().len());
    // Other pieces under the name of a job that is not done are refused.
    let before = place.starts().len();
    let mut master = place.start_master(&format!("run --job other {SMALL_LEASE} --work log:50 --pieces 200"));
    place.wait_for_starts(before + 5);
    master.kill();
    let other = place.run(&format!("run --job other {SMALL_LEASE} --work log:51 --pieces 200"));
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.stdout.contains("was begun with other pieces"), "{other:?}");
    let fewer = place.run(&format!("run --job other {SMALL_LEASE} --work log:50 --pieces 3"));
    assert!(fewer.code == Some(2) && fewer.stdout.contains("was begun with other pieces"), "{fewer:?}");
}

#[test]
fn a_name_has_one_master() {
    let Some(place) = two_agents() else { return };
    let first = place.start_master(&format!("run --job name {SMALL_LEASE} --work log:20 --pieces 400"));
    place.wait_for_starts(20);
    let second = place.run(&format!("run --job name {SMALL_LEASE} --work log:20 --pieces 400"));
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stdout.contains("is at work elsewhere"), "{second:?}");
    first.ended().assert_right(400);
    assert_eq!(place.starts().len(), 400);
}

#[test]
fn a_piece_that_kills_its_host_is_lost_alone() {
    let Some(mut place) = Place::new(None) else { return };
    // Each delivery takes one: three of the chunk that it came with, three of the piece alone; and one is left to say so.
    (0..8).for_each(|_| place.start_agent());
    let ended = place.run(&format!("run --job killhost {SMALL_LEASE} --work killhost:20 --pieces 60"));
    assert_eq!((ended.code, ended.number("right"), ended.number("failed")), (Some(2), 59, 1), "{ended:?}");
    assert!(ended.stdout.contains("it was delivered 3 times, on "), "{ended:?}");
}

#[test]
fn nothing_begins_after_a_cancel() {
    let Some(place) = two_agents() else { return };
    let master = place.start_master(&format!("run --job cancel {SMALL_LEASE} --work log:20 --pieces 2000"));
    place.wait_for_starts(50);
    let cancelled = place.run("cancel --job cancel");
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let ended = master.ended();
    assert!(ended.code == Some(2) && ended.stdout.contains("was cancelled by another program"), "{ended:?}");
    let starts = place.starts().len();
    place.run("run --job after --work noop --pieces 100").assert_right(100);
    assert_eq!(place.starts().len(), starts);
}

#[test]
fn an_agent_drains_on_sigterm() {
    let Some(mut place) = two_agents() else { return };
    let master = place.start_master(&format!("run --job drain {SMALL_LEASE} --work log:10 --pieces 600"));
    place.wait_for_starts(200);
    place.agents[0].signal("TERM");
    assert_eq!(place.agents[0].0.wait().unwrap().code(), Some(0));
    let ended = master.ended();
    ended.assert_right(600);
    assert_eq!((place.starts().len(), ended.number("redelivered")), (600, 0), "{ended:?}");
}

#[test]
fn another_build_is_told_and_never_run() {
    let Some(mut place) = Place::new(None) else { return };
    let other = place.path("other");
    let mut bytes = fs::read(hosts_program()).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, fs::metadata(hosts_program()).unwrap().permissions()).unwrap();
    place.start_agent_of(&other, &[]);
    let mut master = place.start_master("run --job build --work log:1 --pieces 10");
    let mut stderr = BufReader::new(master.0.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("1 agents serve build ") && line.contains("this is "), "{line}");
    assert_eq!(place.starts().len(), 0);
    place.start_agent();
    assert_eq!(master.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_that_stays_away_or_refuses_is_told_in_time() {
    let Some(place) = Place::new(Some("authorization { user: me, password: right }\n")) else { return };
    let try_with = |variables: &[(&str, &str)]| {
        let mut command = place.command(&hosts_program());
        command.args(["run", "--job", "x", "--work", "noop", "--pieces", "1"]);
        let start = Instant::now();
        let Output { status, stderr, .. } = command.envs(variables.iter().copied()).output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(status.code(), Some(1));
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        text
    };
    fs::write(place.path("wrong"), "wrong\n").unwrap();
    let wrong = place.path("wrong");
    let user = [("MULTICORE_HOSTS_USER", "me"), ("MULTICORE_HOSTS_PASSWORD_FILE", wrong.to_str().unwrap())];
    let refused = try_with(&user);
    assert!(refused.contains("refuses this user") && !refused.contains("wrong\n"), "{refused}");
    assert!(try_with(&[("MULTICORE_HOSTS", "127.0.0.1:1")]).contains("no connection to 127.0.0.1:1"));
    assert!(try_with(&[("MULTICORE_HOSTS", "10.255.255.1")]).contains("in plain text"));
    assert!(try_with(&[("MULTICORE_HOSTS_CA", "/nowhere")]).contains("cannot read the CA /nowhere"));
    assert!(try_with(&[("MULTICORE_AGENT", "yes")]).contains("MULTICORE_AGENT is \"yes\""));
}

/// The file of the documentation is the one that is tested.
#[test]
fn agents_can_take_work_and_not_give_any() {
    let Some(mut place) = Place::new(Some(include_str!("../launch/roles.conf"))) else { return };
    let password = |name: &str| {
        fs::write(place.path(name), format!("of-{name}s\n")).unwrap();
        place.path(name).to_str().unwrap().to_string()
    };
    let (of_masters, of_agents) = (password("master"), password("agent"));
    let agent = [("MULTICORE_HOSTS_USER", "agent"), ("MULTICORE_HOSTS_PASSWORD_FILE", &of_agents[..])];
    let master = [("MULTICORE_HOSTS_USER", "master"), ("MULTICORE_HOSTS_PASSWORD_FILE", &of_masters[..])];
    place.start_agent_of(&hosts_program(), &agent);
    let run = |arguments: &str, user: &[(&str, &str)]| {
        let mut command = place.command(&hosts_program());
        command.args(arguments.split_whitespace()).envs(user.iter().copied());
        Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).ended()
    };
    run("run --job roles --work noop --pieces 100000", &master).assert_right(100_000);
    // These go by the object store.
    run("run --job long --work bytes:1000000 --pieces 8", &master).assert_right(8);
    let refused = run("run --job forbidden --work noop --pieces 1", &agent);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stdout.to_lowercase().contains("permissions violation"), "{refused:?}");
    let refused = run("cancel --job roles", &agent);
    assert!(refused.code == Some(1) && refused.stderr.to_lowercase().contains("permissions violation"), "{refused:?}");
}

/// Files of a CA, and of a certificate that it has signed with its key.
fn certificates(folder: &Path, name: &str) -> [String; 3] {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let mut own = rcgen::CertificateParams::new(vec!["localhost".to_string(), "127.0.0.1".to_string()]).unwrap();
    own.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = own.signed_by(&key, &issuer).unwrap();
    let texts = [ca_certificate.pem(), certificate.pem(), key.serialize_pem()];
    let mut number = 0;
    texts.map(|text| {
        number += 1;
        let path = folder.join(format!("{name}-{number}.pem"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    })
}

#[test]
fn tls_asks_both_sides_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let ([ca, certificate, key], [other_ca, ..]) =
        (certificates(folder.path(), "own"), certificates(folder.path(), "other"));
    let config = format!("tls {{ cert_file: '{certificate}', key_file: '{key}', ca_file: '{ca}', verify: true }}\n");
    let Some(mut place) = Place::new(Some(&config)) else { return };
    let servers = format!("tls://localhost:{}", place.port);
    let mutual = [
        ("MULTICORE_HOSTS", &servers[..]),
        ("MULTICORE_HOSTS_CA", &ca),
        ("MULTICORE_HOSTS_CERT", &certificate),
        ("MULTICORE_HOSTS_KEY", &key),
    ];
    place.start_agent_of(&hosts_program(), &mutual);
    let run = |variables: &[(&str, &str)]| {
        let mut command = place.command(&hosts_program());
        command.args(["run", "--job", "tls", "--work", "noop", "--pieces", "1000"]).envs(variables.iter().copied());
        Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).ended()
    };
    run(&mutual).assert_right(1000);
    let wrong_ca = [mutual[0], ("MULTICORE_HOSTS_CA", &other_ca), mutual[2], mutual[3]];
    for (variables, what) in [(&wrong_ca[..], "another CA"), (&mutual[..2], "no certificate of its own")] {
        let refused = run(variables);
        assert_eq!(refused.code, Some(1), "{what}: {refused:?}");
        assert!(refused.took < Duration::from_secs(10), "{what}: {refused:?}");
        assert_eq!(refused.stderr.trim_end().lines().count(), 1, "{what}: {refused:?}");
        assert!(refused.stderr.contains("localhost"), "{what}: {refused:?}");
    }
}

/// The largest of the waits is that for a server that never comes back.
#[test]
fn a_server_that_never_comes_back_ends_pieces_in_host() {
    let Some(mut place) = two_agents() else { return };
    let master = place.start_master(&format!("run --job away {SMALL_LEASE} --give-up 3 --work log:10 --pieces 2000"));
    place.wait_for_starts(100);
    place.kill_server();
    let ended = master.ended();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.took < Duration::from_secs(20), "{ended:?}");
    assert!(ended.stdout.contains("has no outcome: "), "{ended:?}");
}
