//! A server of the load's own: this program, on a port that is free.
//!
//! Invariant: it does not outlive its load, but where that is killed.

use crate::problem::{Problem, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// It gives its clients 5 s at its end.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub fn start(workers: Option<usize>) -> Result<Server> {
        let own = std::env::current_exe().map_err(|error| Problem::new(format_args!("cannot find myself: {error}")))?;
        let mut command = Command::new(own);
        // However many pieces wait, none of the requests is to be refused.
        command.args(["--port", "0", "--max-waiting", "1000000000"]);
        if let Some(workers) = workers {
            command.args(["--workers".to_string(), workers.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| Problem::new(format_args!("cannot start the server: {error}")))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // If it cannot be read, there is no address in it.
            let _unread = BufReader::new(stdout).read_line(&mut line);
        }
        match line.trim_end().strip_prefix("listening on http://").and_then(|address| address.parse().ok()) {
            Some(address) => Ok(Server { child, address }),
            None => {
                let _gone = child.kill();
                let _gone = child.wait();
                Err(Problem::new("the server did not start; its message stands above"))
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it as Ctrl-C does, and waits for its end.
    pub fn end(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).map_err(|error| Problem::new(format_args!("cannot end the server: {error}")))?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.child.try_wait().map_err(Problem::new)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(Problem::new(format_args!("the server ended with {status}"))),
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        Err(Problem::new(format_args!("the server did not end within {PATIENCE:?}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
