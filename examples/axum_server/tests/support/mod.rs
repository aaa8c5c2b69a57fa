//! A server, and a client that reads what is on the wire.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_axum_server"));
    command.stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Waits for a fact.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn is_there(process: Pid) -> bool {
    test_kill_process(process).is_ok()
}

pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Server {
        let mut child = program()
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").expect("an address");
        Server { address: address.parse().unwrap(), child }
    }

    /// A request whose answer was not read.
    pub fn ask(&self, path: &str) -> Asked {
        self.send("GET", path)
    }

    pub fn head(&self, path: &str) -> Answer {
        self.send("HEAD", path).read()
    }

    fn send(&self, method: &str, path: &str) -> Asked {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        Asked(stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(path).read()
    }

    /// A list that was answered whole.
    #[track_caller]
    pub fn list(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path);
        assert_eq!((answer.status, answer.is_whole), (200, true), "{path}");
        answer.body
    }

    pub fn stats(&self) -> Value {
        serde_json::from_slice(&self.list("/stats")).unwrap()
    }

    /// The workers, once all of them have been started.
    pub fn workers(&self, count: usize) -> Vec<Pid> {
        let mut workers = Vec::new();
        wait_for("all workers are there", || {
            let stats = self.stats();
            let pids = stats["workers"].as_array().unwrap().iter().filter_map(|worker| worker["pid"].as_i64());
            workers = pids.map(|pid| Pid::from_raw(pid as i32).unwrap()).collect();
            workers.len() == count
        });
        workers
    }

    /// Waits until no task is open, no piece waits and none is at a worker.
    #[track_caller]
    pub fn wait_for_rest(&self) {
        wait_for("the pool is at rest", || {
            let stats = self.stats();
            let is_idle = |worker: &Value| worker["pieces_held"] == 0;
            stats["tasks"] == 0
                && stats["pieces_waiting"] == 0
                && stats["workers"].as_array().unwrap().iter().all(is_idle)
        });
    }

    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the server has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A client that waits for its answer. Dropped, it leaves.
pub struct Asked(TcpStream);

impl Asked {
    /// Reads some bytes of the answer.
    pub fn read_some(&mut self, bytes: usize) -> Vec<u8> {
        let mut begin = vec![0; bytes];
        self.0.read_exact(&mut begin).unwrap();
        begin
    }

    pub fn read(self) -> Answer {
        self.read_after(Vec::new())
    }

    /// Reads the rest of an answer.
    pub fn read_after(mut self, mut read: Vec<u8>) -> Answer {
        // A connection that is broken off may end in an error, too.
        let _ended = self.0.read_to_end(&mut read);
        Answer::parse(&read)
    }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// It came to its end, by its length or its last chunk.
    pub is_whole: bool,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("the end of the head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let rest = &bytes[end + 4..];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let (body, is_whole) = match length {
            Some(length) => (rest.to_vec(), rest.len() == length.parse::<usize>().unwrap()),
            None => unchunked(rest),
        };
        Answer { status: head[9..12].parse().unwrap(), head, body, is_whole }
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The bytes of the chunks, and whether the last one came.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|end| end == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        rest = &rest[line + 2..];
        if length == 0 {
            return (body, rest == b"\r\n");
        }
        body.extend_from_slice(&rest[..length.min(rest.len())]);
        rest = rest.get(length + 2..).unwrap_or_default();
    }
    (body, false)
}
