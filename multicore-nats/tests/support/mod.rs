//! A server with its agents, for tests: processes of their own, which end with their test.

// Each test program uses only a part of this file.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest wait for a fact.
pub const DEADLINE: Duration = Duration::from_secs(60);

#[track_caller]
pub fn wait_for(what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?}, and this is still not so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Each test takes the machine's two cores for itself: what they say of time is about one job.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub fn server_program() -> Option<PathBuf> {
    let given = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let found = given.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file())
    });
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no nats-server is there; NATS_SERVER has its path");
        eprintln!("SKIPPED: no nats-server is there; NATS_SERVER has its path");
    }
    found
}

/// A process that is killed at the end of its test.
pub struct Process(pub Child);

impl Process {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server with its agents.
pub struct Place {
    folder: TempDir,
    program: PathBuf,
    config: Option<String>,
    pub port: u16,
    server: Option<Process>,
    pub agents: Vec<Process>,
    _alone: std::sync::MutexGuard<'static, ()>,
}

impl Place {
    /// A server; `None` where there is no program of one.
    pub fn new(config: Option<&str>) -> Option<Place> {
        let program = server_program()?;
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let config = config.map(str::to_string);
        let mut place = Place { folder, program, config, port: 0, server: None, agents: Vec::new(), _alone: alone };
        place.start_server();
        Some(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The server answers when this returns; at the port of the one before, if there was one.
    pub fn start_server(&mut self) {
        let mut command = Command::new(&self.program);
        let port = if self.port == 0 { "-1".to_string() } else { self.port.to_string() };
        command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(self.path("store"));
        command.arg("--ports_file_dir").arg(self.folder.path());
        if let Some(config) = &self.config {
            fs::write(self.path("server.conf"), config).unwrap();
            command.arg("-c").arg(self.path("server.conf"));
        }
        command.env("MULTICORE_MASTER_PASSWORD", "of-masters").env("MULTICORE_AGENT_PASSWORD", "of-agents");
        let log = fs::OpenOptions::new().append(true).create(true).open(self.path("server.log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let server = Process(child);
        let stem = self.program.file_name().unwrap().to_str().unwrap();
        let ports = self.path(&format!("{stem}_{}.ports", server.pid()));
        wait_for("the server's ports", || {
            let text = fs::read_to_string(&ports).unwrap_or_default();
            let port = text.split("://127.0.0.1:").nth(1).and_then(|rest| {
                rest.split(|char: char| !char.is_ascii_digit()).next().and_then(|port| port.parse().ok())
            });
            self.port = port.unwrap_or(self.port);
            port.is_some()
        });
        self.server = Some(server);
        let port = self.port;
        wait_for("the server answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    pub fn kill_server(&mut self) {
        self.server.as_mut().unwrap().kill();
    }

    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("MULTICORE")) {
                command.env_remove(name);
            }
        }
        command.env("MULTICORE_HOSTS", format!("127.0.0.1:{}", self.port));
        command.env("HOSTS_LOG", self.path("starts"));
        command.stdin(Stdio::null());
        command
    }

    /// An agent of one worker. Its output goes to `agent-N.log`.
    pub fn start_agent_of(&mut self, program: &Path, variables: &[(&str, &str)]) {
        let number = self.agents.len();
        let log = fs::File::create(self.path(&format!("agent-{number}.log"))).unwrap();
        let mut command = self.command(program);
        command.env("MULTICORE_AGENT", "1").env("MULTICORE_WORKERS", "1");
        command.envs(variables.iter().copied());
        command.env("HOSTS_PID_FILE", self.path(&format!("agent-{number}.pid")));
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        fs::write(self.path(&format!("agent-{number}.pid")), child.id().to_string()).unwrap();
        self.agents.push(Process(child));
    }

    /// The pieces that have begun, one for each start.
    pub fn starts(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.path("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[track_caller]
    pub fn wait_for_starts(&self, count: usize) {
        wait_for(&format!("{count} starts"), || self.starts().len() >= count);
    }
}
