//! Programs with a marker in their environment that is not meant for them: forged, stale, or of another version. They run
//! as if there were no marker (fault 22 of CASES.md).
#![allow(unsafe_code)]

use crate::run::{Outcome, Run, command, program, run, skipped};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg, socketpair,
};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const NAME: &str = "MULTICORE_FORK_SERVER";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The number of the descriptor that a marker names.
const SOCKET: i32 = 50;

/// The output if the marker was removed and pools run.
const WELL: &str = "privileged: false\nmarker: None\ntask: Ok\npool: Ok\n";

/// The error if the marker is still there, so that this process seems to be a fork server that was not intercepted.
const LEFT: &str =
    "no pool can run here: this process was started as a fork server and not stopped before its main function";

/// The command for the program `host` with this marker and, if given, this descriptor.
fn host(program: &Path, marker: &[u8], descriptor: Option<&OwnedFd>) -> Command {
    let mut host = command(program, &["task"]);
    host.env(NAME, OsStr::from_bytes(marker));
    if let Some(descriptor) = descriptor.map(|descriptor| descriptor.as_raw_fd()) {
        // SAFETY: dup2 neither allocates nor locks. The descriptor is open until the child runs.
        unsafe {
            host.pre_exec(move || {
                if libc::dup2(descriptor, SOCKET) == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
            });
        }
    }
    host
}

#[track_caller]
fn check(marker: &[u8], descriptor: Option<&OwnedFd>, said: &str) {
    let Outcome { stdout, stderr, status } = run(host(&program("host"), marker, descriptor));
    let marker = String::from_utf8_lossy(marker);
    assert_eq!((stdout.as_str(), stderr.as_str(), status.code()), (said, "", Some(0)), "{NAME}={marker}");
}

/// A marker of this version that names our socket.
fn marker(entry: u64, nonce: u64, parent: u32) -> String {
    format!("{VERSION}/{entry}/{nonce}/{SOCKET}/{parent}")
}

/// The two ends of a socket as between a pool and its fork server.
fn ends() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// Sends the first message as a pool does: the nonce and the image's identity, with some descriptors. A pool sends two.
fn send_hello(socket: &OwnedFd, nonce: u64, descriptors: usize) {
    // That of a fork server, not of a worker.
    let kind = 0_u32.to_le_bytes();
    // Without a standard error, and without a preload.
    let message = [&kind[..], &nonce.to_le_bytes(), &1_u64.to_le_bytes(), &[0, 0]].concat();
    // Settings with no hooks, no memory to keep warm, and no limits or rights of their own.
    let mut settings = tempfile::tempfile().unwrap();
    settings.write_all(&[0; 17]).unwrap();
    let fds = vec![settings.as_fd(); descriptors];
    send(socket, &message, &fds);
}

fn send(socket: &OwnedFd, message: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(socket, &[IoSlice::new(message)], &mut ancillary, SendFlags::empty()).unwrap();
}

/// True if the program has sent a message, as a fork server would have by now.
fn has_word(socket: &OwnedFd) -> bool {
    let mut byte = [0];
    rustix::net::recv(socket, &mut byte, rustix::net::RecvFlags::DONTWAIT).is_ok_and(|(read, _)| read > 0)
}

/// The entry's offset in the program's image, taken from a real marker.
fn entry_of(program: &Path) -> u64 {
    let host = Run::start(command(program, &["wait"]));
    host.wait_for_line("task: ");
    let server = host.find("multicore-fork").expect("the pool runs");
    // The environment at the start of the image stays readable there.
    let environment = fs::read(format!("/proc/{server}/environ")).unwrap();
    let mut variables = environment.split(|&byte| byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    let marker = variables
        .find_map(|variable| variable.strip_prefix(NAME)?.strip_prefix('='))
        .expect("the fork server has a marker");
    assert!(marker.starts_with(VERSION), "{marker}");
    marker.split('/').nth(1).unwrap().parse().unwrap()
}

#[test]
fn garbage_leaves_the_environment_and_pools_run() {
    let values: [&[u8]; 9] =
        [b"", b"garbage", b"\xff\xfe", b"1", b"-1", b"/", b"0.0.1/1/2/3", b"0.0.1/1/2/3/4/5", b"////"];
    for value in values {
        check(value, None, WELL);
    }
    for rest in
        ["", "/", "/1/2/3", "/1/2/3/4/5", "/x/2/3/4", "/1/2/-3/4", "/1/2/99999999999/4", "/99999999999999999999/2/3/4"]
    {
        check(format!("{VERSION}{rest}").as_bytes(), None, WELL);
    }
}

#[test]
fn a_marker_whose_socket_is_none_is_stale() {
    let parent = std::process::id();
    for number in [0, 1, 2, SOCKET, 1_000_000] {
        check(format!("{VERSION}/1/2/{number}/{parent}").as_bytes(), None, WELL);
        check(format!("9.9.9/1/2/{number}/{parent}").as_bytes(), None, WELL);
    }
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    check(marker(1, 2, parent).as_bytes(), Some(&file), WELL);
}

#[test]
fn a_socket_that_another_process_made_is_not_believed() {
    let (ours, theirs) = ends();
    send_hello(&ours, 2, 2);
    let entry = entry_of(&program("host"));
    check(marker(entry, 2, 1).as_bytes(), Some(&theirs), WELL);
    check(marker(entry, 2, 0).as_bytes(), Some(&theirs), WELL);
    check(marker(entry, 2, u32::MAX).as_bytes(), Some(&theirs), WELL);
    assert!(!has_word(&ours));
}

#[test]
fn a_socket_without_the_right_first_message_is_not_believed() {
    let (entry, parent) = (entry_of(&program("host")), std::process::id());
    type Says = (&'static str, fn(&OwnedFd));
    let says: [Says; 6] = [
        ("nothing", |_| {}),
        ("another nonce", |ours| send_hello(ours, 3, 2)),
        ("one descriptor", |ours| send_hello(ours, 2, 1)),
        ("three descriptors", |ours| send_hello(ours, 2, 3)),
        ("no descriptor", |ours| send_hello(ours, 2, 0)),
        ("garbage", |ours| {
            let null = File::open("/dev/null").unwrap();
            send(ours, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", &[null.as_fd(), null.as_fd()]);
        }),
    ];
    for (what, say) in says {
        let (ours, theirs) = ends();
        say(&ours);
        check(marker(entry, 2, parent).as_bytes(), Some(&theirs), WELL);
        assert!(!has_word(&ours), "{what}");
    }
    let (ours, theirs) = ends();
    drop(ours);
    check(marker(entry, 2, parent).as_bytes(), Some(&theirs), WELL);
}

/// The marker may be meant for another copy of the crate in the program, so it is kept. If there is no other copy, this
/// program was started as a fork server and did not become one. Then it makes no pool, so that programs never start each
/// other in a chain.
#[test]
fn a_true_marker_that_nobody_takes_is_kept_and_no_pool_is_made() {
    let parent = std::process::id();
    let entry = entry_of(&program("host"));
    for marker in [marker(entry + 1, 2, parent), format!("9.9.9/{entry}/2/{SOCKET}/{parent}")] {
        let (ours, theirs) = ends();
        send_hello(&ours, 2, 2);
        let said = format!("privileged: false\nmarker: Some({marker:?})\ntask: Unsupported\npool: {LEFT}\n");
        check(marker.as_bytes(), Some(&theirs), &said);
        assert!(!has_word(&ours));
    }
}

/// This test sends everything that a pool sends, so the program becomes a fork server. (It then finds that its image is
/// another one, reports that, and exits.) A program with more rights than its caller does not.
#[test]
fn a_program_with_more_rights_than_its_caller_takes_no_orders_and_makes_no_pool() {
    let (entry, parent) = (entry_of(&program("host")), std::process::id());
    let (ours, theirs) = ends();
    send_hello(&ours, 2, 2);
    let taken = run(host(&program("host"), marker(entry, 2, parent).as_bytes(), Some(&theirs)));
    assert_eq!((taken.stdout.as_str(), has_word(&ours)), ("", true), "the forged marker works as a real one");

    if rustix::process::geteuid().as_raw() != 0 {
        return skipped("a setuid program", "only root can make one");
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("host");
    fs::copy(program("host"), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let started = |marker: Option<&str>, descriptor| {
        let mut started = host(&copy, marker.unwrap_or_default().as_bytes(), descriptor);
        if marker.is_none() {
            started.env_remove(NAME);
        }
        started.uid(65534).gid(65534);
        run(started)
    };
    let outcome = started(None, None);
    if outcome.find("privileged") == Some("false") {
        return skipped("a setuid program", "the temporary directory allows none");
    }
    let (ours, theirs) = ends();
    send_hello(&ours, 2, 2);
    for outcome in [outcome, started(Some(&marker(entry, 2, parent)), Some(&theirs))] {
        assert_eq!(outcome.answer("task"), "Unsupported", "{outcome:?}");
        assert!(outcome.answer("pool").contains("more rights than its caller"), "{outcome:?}");
    }
    assert!(!has_word(&ours), "the program took orders from its caller");
}
