//! Feeds, runs of the program, and what stands in a database.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const AGENCY: &str =
    "agency_id,agency_name,agency_url,agency_timezone\nA,Trams,https://example.com,Europe/Vienna\n";
pub const STOPS: &str = "stop_id,stop_name,stop_lat,stop_lon\nS1,Main St,48.1,16.1\nS2,Zoo,48.2,16.2\n";
pub const ROUTES: &str = "route_id,agency_id,route_short_name,route_type\nR1,A,7,3\n";
pub const CALENDAR: &str = "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n\
    W,1,1,1,1,1,0,0,20260101,20261231\n";
pub const TRIPS: &str = "route_id,service_id,trip_id\nR1,W,T1\nR1,W,T2\n";
pub const STOP_TIMES: &str = "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n\
    T1,08:00:00,08:00:30,S1,1\nT1,08:10:00,08:10:00,S2,2\nT2,25:00:00,25:00:00,S1,1\n";

/// A file of a feed: its name, and what stands in it.
pub type Text = (&'static str, Vec<u8>);

/// The files of a small feed. Some are replaced or, if `None`, left out.
pub fn files(changes: &[(&'static str, Option<&[u8]>)]) -> Vec<Text> {
    let mut files: Vec<Text> = [
        ("agency.txt", AGENCY),
        ("stops.txt", STOPS),
        ("routes.txt", ROUTES),
        ("calendar.txt", CALENDAR),
        ("trips.txt", TRIPS),
        ("stop_times.txt", STOP_TIMES),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .into();
    for (name, text) in changes {
        files.retain(|(other, _)| other != name);
        files.extend(text.map(|text| (*name, text.to_vec())));
    }
    files
}

/// A folder for a feed, its database and its journal.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn of(files: &[Text]) -> Place {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("feed")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join("feed").join(name), text).unwrap();
        }
        Place { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program on the feed and `out.db`.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_on("feed", "out.db", arguments)
    }

    pub fn run_on(&self, feed: &str, database: &str, arguments: &[&str]) -> Outcome {
        let paths = [self.path(feed), self.path(database)];
        run(paths.iter().map(|path| path.as_os_str()).chain(arguments.iter().map(OsStr::new)))
    }

    /// Starts the program on the feed and a database.
    pub fn start(&self, database: impl AsRef<OsStr>, arguments: &[&str]) -> Run {
        let mut command = program();
        command.arg(self.path("feed")).arg(database).args(arguments);
        Run(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// The names of what lies beside the feed.
    pub fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("feed"));
        names.sort();
        names
    }

    /// The rows that a query finds in `out.db`.
    pub fn query(&self, query: &str) -> Vec<String> {
        rows(&open(&self.path("out.db")), query)
    }
}

pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Checks that it failed, with one line and nothing else, and gives that line without the program's name.
    #[track_caller]
    pub fn refusal(&self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        let line = self.stderr.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "one line: {line}");
        line.strip_prefix("gtfs_import: ").unwrap().to_owned()
    }

    /// The number of `N rejected`. The last two lines have their form.
    #[track_caller]
    pub fn rejected(&self) -> u64 {
        let lines: Vec<_> = self.stdout.lines().collect();
        let [.., rejected, summary] = &lines[..] else { panic!("two lines: {}{}", self.stdout, self.stderr) };
        let (rows, rest) = summary.split_once(" rows in ").unwrap();
        let (seconds, percent) = rest.split_once(" s, writer busy ").unwrap();
        assert!(rows.parse::<u64>().is_ok() && seconds.parse::<f64>().is_ok(), "{summary}");
        assert!((0..=100).contains(&percent.strip_suffix(" %").unwrap().parse::<i32>().unwrap()), "{summary}");
        rejected.strip_suffix(" rejected").unwrap().parse().unwrap()
    }

    /// What was told, without the program's name, which stands before all but what is told of rejected rows.
    #[track_caller]
    pub fn told(&self) -> Vec<&str> {
        let is_of_rows = |line: &str| {
            let (_, rest) = line.split_once(".txt:").unwrap_or_default();
            rest.trim_start().starts_with(|char: char| char.is_ascii_digit())
        };
        let told = self.stderr.lines().map(|line| match line.strip_prefix("gtfs_import: ") {
            None => (line, is_of_rows(line)),
            Some(line) => (line, !is_of_rows(line)),
        });
        told.map(|(line, is_well)| if is_well { line } else { panic!("{line}") }).collect()
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gtfs_import"));
    command.stdin(Stdio::null());
    command
}

pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Outcome {
    let output = program().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// The rows that a query finds, with `|` between the values.
pub fn rows(database: &Connection, query: &str) -> Vec<String> {
    let mut query = database.prepare(query).unwrap();
    let columns = query.column_count();
    let row = query.query_map([], |row| {
        let values = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => format!("{number:?}"),
                ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                ValueRef::Blob(_) => panic!("there are no blobs"),
            })
        });
        Ok(values.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    row.unwrap().map(Result::unwrap).collect()
}

/// All that stands in a database: its definitions, and the rows of each table with their numbers.
pub fn dump(path: &Path) -> Vec<String> {
    let database = open(path);
    let mut dump = rows(&database, "SELECT type, name, sql FROM sqlite_master ORDER BY name");
    for table in rows(&database, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
        // Only the program's own tables have no numbers.
        let number = if table.starts_with("import_") { "" } else { "rowid, " };
        dump.push(table.clone());
        dump.extend(rows(&database, &format!("SELECT {number}* FROM {table}")));
    }
    dump
}

/// True if two databases are one byte for byte.
pub fn is_identical(one: &Path, other: &Path) -> bool {
    fs::read(one).unwrap() == fs::read(other).unwrap()
}

/// A run that takes longer hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A feed whose stop times and shapes are several pieces and transactions each, with rows of each kind that is rejected.
pub fn big_feed() -> Place {
    let mut trips = String::from("route_id,service_id,trip_id,shape_id\n");
    let mut times = String::from("trip_id,arrival_time,departure_time,stop_id,stop_sequence,stop_headsign\n");
    let mut shapes = String::from("shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\n");
    // A long text makes many pieces of few rows.
    let headsign = "towards a stop far away, ".repeat(8);
    for trip in 0..4_000 {
        writeln!(trips, "R{},W,trip-{trip:06},H{}", 1 + (trip % 500 == 7) as u32, trip % 40).unwrap();
        for stop in 0..20 {
            let time = format!("{:02}:{:02}:00", 5 + trip % 40, stop * 2);
            let stop_id = if trip % 300 == 5 && stop == 3 { 9 } else { 1 + (trip + stop) % 2 };
            let sequence = if trip % 200 == 11 && stop == 9 { 1 } else { stop };
            writeln!(times, "trip-{trip:06},{time},{time},S{stop_id},{sequence},\"{headsign}\"").unwrap();
        }
    }
    for point in 0..30_000 {
        let (shape, sequence) = (point % 40, point / 40);
        let latitude = if point % 7_000 == 3 { "x".to_owned() } else { format!("48.{:05}", point * 31 % 100_000) };
        writeln!(shapes, "H{shape},{latitude},16.{:05},{sequence}", point * 17 % 100_000).unwrap();
    }
    Place::of(&files(&[
        ("stops.txt", Some(STOPS.as_bytes())),
        ("calendar.txt", Some(CALENDAR.as_bytes())),
        ("trips.txt", Some(trips.as_bytes())),
        ("stop_times.txt", Some(times.as_bytes())),
        ("shapes.txt", Some(shapes.as_bytes())),
    ]))
}

/// A run that is killed at the latest when the test ends.
pub struct Run(pub Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ended_before = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Lets a run go on for some time, and kills it. True if it had ended before.
pub fn kill_after(mut run: Run, time: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < time {
        if let Some(status) = run.0.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    run.0.kill().unwrap();
    run.0.wait().unwrap().signal() != Some(9)
}

/// Kills runs, each some time after it has committed what no run before it has, for as long as there is something to commit. `committed`
/// gives the number of pieces in the database once it has tables. Gives the number of kills.
///
/// Kills at parts of the whole time came before the first table each: until then a run reads the whole feed.
pub fn kill_while_writing(start: impl Fn() -> Run, mut committed: impl FnMut() -> Option<u64>) -> usize {
    let mut seen = 0;
    for kills in 0..8 {
        let mut run = start();
        let more = wait_until(|| match committed().filter(|now| *now > seen) {
            None => run.0.try_wait().unwrap().map(|status| assert_eq!(status.code(), Some(0))).map(|()| None),
            more => Some(more),
        });
        let Some(more) = more else { return kills };
        seen = more;
        // The golden section spreads the times evenly, in any number of them.
        if kill_after(run, Duration::from_millis(80).mul_f64((kills as f64 * 0.618).fract())) {
            return kills;
        }
    }
    8
}

pub fn wait_until<T>(mut fact: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Kills the workers of a run, three times. A piece may be lost three times.
pub fn kill_some_workers(place: &Place) {
    let mut killed = Vec::new();
    for _kill in 0..3 {
        let alive = wait_until(|| Some(workers(place, &killed)).filter(|workers| !workers.is_empty()));
        for worker in &alive {
            let _gone_already = kill_process(*worker, Signal::KILL);
        }
        killed.extend(alive);
    }
}

/// The workers of the imports of a feed, besides those that are known: processes whose parent is one with the same arguments. The
/// fork server's parent is another one.
fn workers(place: &Place, known: &[Pid]) -> Vec<Pid> {
    let feed = place.path("feed");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let arguments = fs::read(path.join("cmdline")).ok()?;
        let is_own = arguments.split(|byte| *byte == 0).any(|argument| argument == feed.as_os_str().as_bytes());
        let stat = fs::read_to_string(path.join("stat")).ok().filter(|_| is_own)?;
        // Behind the name, in brackets: the state, and the parent.
        let parent: i32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        Some((Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)?, parent))
    });
    let processes: Vec<_> = processes.collect();
    let has_own_parent = |parent: i32| processes.iter().any(|(pid, _)| pid.as_raw_nonzero().get() == parent);
    let workers = processes.iter().filter(|(pid, parent)| has_own_parent(*parent) && !known.contains(pid));
    workers.map(|(pid, _)| *pid).collect()
}

/// Where the records of a journal end.
pub fn record_ends(path: &Path) -> Vec<u64> {
    multicore::journal::read(path).unwrap().map(|record| record.unwrap().range().end).collect()
}

pub fn zip_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
