//! A PostgreSQL server for tests: in a folder of its own, with a socket in it and no port.
//!
//! A shell starts and ends it. It waits for the end of its input, whose other end only this process has: so the server and its folder
//! go however this process ends, also by a kill.

use postgres::{Client, NoTls};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

pub const PASSWORD: &str = "seven-secret-words";

/// Starts the server, and again after each line, which names the signal that ends it. At the end of the input it ends the server at
/// once and removes the folder.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null & server=$!
while read -r signal; do
    kill -"$signal" $server; wait $server
    "$@" >>"$folder/log" 2>&1 </dev/null & server=$!
done
kill -QUIT $server; wait $server
rm -rf "$folder"
"#;

/// A server that runs until this is dropped.
pub struct Server {
    keeper: Child,
    words: Option<ChildStdin>,
    folder: PathBuf,
}

/// The server that tests share which do not restart it. The last one that has it ends it.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

pub fn shared() -> Option<Arc<Server>> {
    let mut shared = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Server::start()?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

impl Server {
    /// None, and says so, where none is installed.
    pub fn start() -> Option<Server> {
        let found = program("postgres").zip(program("initdb")).zip(program("setpriv"));
        let Some(((postgres, initdb), setpriv)) = found else {
            // The harness keeps what the macros print.
            let _closed = writeln!(std::io::stderr(), "\n!!! SKIPPED: postgres, initdb or setpriv is not there\n");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("gtfs-postgres-").tempdir().unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let own = folder.join("server");
        fs::create_dir(&own).unwrap();
        fs::write(folder.join("password"), PASSWORD).unwrap();
        // A server does not run as root.
        let mut user: Vec<OsString> = vec![setpriv.into()];
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = user_of("postgres").or_else(|| user_of("nobody")).expect("a user besides root");
            std::os::unix::fs::chown(&own, Some(uid), Some(gid)).unwrap();
            user.extend(
                [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()].map(Into::into),
            );
        }
        let data = own.join("data");
        let made = Command::new(&user[0])
            .args(&user[1..])
            .arg("--")
            .arg(initdb)
            .arg("-D")
            .arg(&data)
            .args(["--no-sync", "-A", "scram-sha-256", "-U", "owner", "-E", "UTF8", "--locale=C", "--pwfile"])
            .arg(folder.join("password"))
            .current_dir("/")
            .output()
            .unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).args(&user).arg("--").arg(postgres).arg("-D").arg(&data);
        // Without a sync of each commit: what ends it here is no power cut.
        keeper.args(["-F", "-c", "listen_addresses=", "-c", "max_connections=60", "-k"]).arg(&own).current_dir("/");
        // A Ctrl-C at the terminal ends this process alone; the keeper has the folder to remove.
        let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().unwrap();
        let server = Server { words: keeper.stdin.take(), keeper, folder };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.wait_until_it_answers();
        Some(server)
    }

    /// Ends the server by a signal, and starts it anew.
    pub fn restart(&mut self, signal: &str) {
        let begun = self.started();
        writeln!(self.words.as_mut().unwrap(), "{signal}").unwrap();
        let begin = Instant::now();
        while self.started() == begun {
            assert!(begin.elapsed() < Duration::from_secs(60), "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.wait_until_it_answers();
    }

    /// The number of times that it has said that it is there.
    fn started(&self) -> usize {
        self.log().matches("ready to accept connections").count()
    }

    fn wait_until_it_answers(&self) {
        let begin = Instant::now();
        while Client::connect(&self.url(), NoTls).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn url(&self) -> String {
        format!("postgres://owner:{PASSWORD}@/postgres?host={}", self.folder.join("server").display())
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.words.take());
        let _status = self.keeper.wait();
        if !std::thread::panicking() {
            assert!(!self.folder.exists(), "{:?} is left", self.folder);
        }
    }
}

/// The path of a program. Debian has the server's beside the PATH, a folder for each version.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.extend(std::env::split_paths(&path));
    folders.iter().map(|folder| folder.join(name)).find(|program| Path::is_file(program))
}

fn user_of(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}
