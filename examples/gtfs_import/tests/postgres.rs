//! The import into PostgreSQL: the same rows as in SQLite, each once, whatever is killed meanwhile.
//!
//! The tests start a server of their own, in a folder of their own and with a socket there alone, where one is installed.
#![cfg(feature = "postgres")]

mod server;
mod support;

use postgres::types::Type;
use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use server::{PASSWORD, Server};
use std::fmt::Write;
use std::fs;
use std::time::Duration;
use support::{
    DEADLINE, Outcome, Place, Run, STOPS, TRIPS, big_feed, files, kill_after, kill_some_workers, kill_while_writing,
    open, program, record_ends, rows, wait_until,
};

const POOL: &[&str] = &["--workers", "2"];
const SERIAL: &[&str] = &["--serial"];

/// A schema of a server, for one import.
struct Schema<'test> {
    server: &'test Server,
    place: &'test Place,
    name: &'test str,
}

impl<'test> Schema<'test> {
    fn new(server: &'test Server, place: &'test Place, name: &'test str) -> Schema<'test> {
        server.client().batch_execute(&format!("CREATE SCHEMA {name}")).unwrap();
        Schema { server, place, name }
    }

    fn url(&self) -> String {
        format!("{}&options=-csearch_path%3D{}", self.server.url(), self.name)
    }

    fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).unwrap()
    }

    fn journal(&self) -> String {
        self.place.path(&format!("{}.journal", self.name)).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let feed = self.place.path("feed");
        let begin = [feed.to_str().unwrap(), &self.url(), "--journal", &self.journal()].map(str::to_owned);
        support::run(begin.into_iter().chain(arguments.iter().map(|argument| argument.to_string())))
    }

    fn start(&self, arguments: &[&str]) -> Run {
        self.place.start(self.url(), &[&["--journal", &self.journal()], arguments].concat())
    }

    /// The pieces of `stop_times.txt` in the database, if more than a number.
    fn committed_beyond(&self, client: &mut Client, number: i64) -> Option<i64> {
        let query = "SELECT committed FROM import_files WHERE file = 'stop_times.txt'";
        let committed = client.query_opt(query, &[]).ok()??.get(0);
        (committed > number).then_some(committed)
    }

    /// All that stands in the tables, as `of_file` gives it.
    fn content(&self) -> Vec<String> {
        let mut client = self.client();
        let query =
            "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
            ORDER BY relname COLLATE \"C\"";
        let tables: Vec<String> = client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect();
        let mut content = Vec::new();
        for table in tables {
            content.push(table.clone());
            for row in client.query(&format!("SELECT * FROM {table} ORDER BY {}", key(&table)), &[]).unwrap() {
                let values = row.columns().iter().enumerate().map(|(place, column)| match *column.type_() {
                    Type::INT8 => row.get::<_, Option<i64>>(place).map(|number| number.to_string()),
                    Type::FLOAT8 => row.get::<_, Option<f64>>(place).map(|number| format!("{number:?}")),
                    _ => row.get(place),
                });
                let values = values.map(|value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned()));
                content.push(values.collect::<Vec<_>>().join("|"));
            }
        }
        content
    }
}

/// All that stands in the tables of an SQLite database.
fn of_file(place: &Place, name: &str) -> Vec<String> {
    let database = open(&place.path(name));
    let mut content = Vec::new();
    for table in rows(&database, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
        let number = if table.starts_with("import_") { "" } else { "rowid, " };
        content.push(table.clone());
        content.extend(rows(&database, &format!("SELECT {number}* FROM {table} ORDER BY {}", key(&table))));
    }
    content
}

/// What a table is ordered by. In both databases, so that no table's order depends on the language of the server.
fn key(table: &str) -> &'static str {
    match table {
        "import_state" => "key",
        "import_files" => "file",
        "import_rejected" => "file, \"row\"",
        _ => "rowid",
    }
}

/// Stops and equal keys that only all rows show as wrong, distances that are partly given, and an agency without id.
fn odd_feed() -> Place {
    let mut stops =
        String::from("stop_id,stop_name,parent_station\nS1,\"Müller, \"\"Ecke\"\"\",\nS2,x,S1\nS1,second,S2\n");
    for number in 0..500 {
        writeln!(stops, "C{number},,C{}", number - 1).unwrap();
    }
    let shapes = "shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence,shape_dist_traveled\n\
        A,0,2,30,\nB,0,0,1,\nA,0,0,10,0\nB,1,0,2,7.25\nA,0,1,20,\nA,0,1,20,5\n";
    let transfers = "from_stop_id,to_stop_id,from_trip_id,transfer_type\nS1,S2,,0\nS1,S2,T1,1\nS1,S2,,2\n";
    Place::of(&files(&[
        ("stops.txt", Some(stops.as_bytes())),
        ("shapes.txt", Some(shapes.as_bytes())),
        ("transfers.txt", Some(transfers.as_bytes())),
        ("levels.txt", Some(b"level_id,level_index\nL,-0.5\nM,1e300\nN,\n")),
    ]))
}

#[test]
fn the_rows_are_those_of_serial_and_of_sqlite() {
    let Some(server) = server::shared() else { return };
    for (name, place) in [("big", big_feed()), ("odd", odd_feed())] {
        let file = place.run_on("feed", "out.db", &["--serial", "--verify"]);
        assert_eq!(file.code, Some(0), "{}", file.stderr);
        let expected = of_file(&place, "out.db");
        assert!(file.rejected() >= 4 && expected.len() > 20, "{name}: {}", file.stdout);
        for (kind, arguments) in [("pool", POOL), ("serial", SERIAL)] {
            let schema = format!("{name}_{kind}");
            let schema = Schema::new(&server, &place, &schema);
            let outcome = schema.run(&[arguments, &["--verify"]].concat());
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), file.stderr.as_str()), "{name} {kind}");
            assert!(outcome.stdout.starts_with("verified: "), "{}", outcome.stdout);
            assert!(schema.content() == expected, "{name} {kind}");
            let again = schema.run(arguments);
            assert!(again.stdout.starts_with("the database has this feed already\n"), "{}", again.stdout);
            assert_eq!((again.code, again.rejected()), (Some(0), file.rejected()));
            assert!(schema.content() == expected, "{name} {kind}, again");
        }
    }
}

#[test]
fn what_postgresql_cannot_hold_is_rejected_by_row() {
    let Some(server) = server::shared() else { return };
    let stops = format!("{STOPS}S3,a\0b,1,1\nS4,,no\0rth,1\nS\0,,1,1\n{},,1,1\nS5,,1,1\n", "k".repeat(2601));
    let times = "trip_id,stop_id,stop_sequence\nT1,S5,1\nT1,S\0,2\nT2,S3,1\n";
    let place = Place::of(&files(&[("stops.txt", Some(stops.as_bytes())), ("stop_times.txt", Some(times.as_bytes()))]));
    for (name, arguments) in [("held_pool", POOL), ("held_serial", SERIAL)] {
        let schema = Schema::new(&server, &place, name);
        let outcome = schema.run(&[arguments, &["--verify"]].concat());
        assert_eq!((outcome.code, outcome.rejected()), (Some(0), 6), "{}", outcome.stderr);
        let zero = "the text has a zero byte, which PostgreSQL cannot hold";
        let long = "stop_id has 2601 bytes, and the database's index 2600 at most";
        let told = ["stops.txt:4", "stops.txt:5", "stops.txt:6"].map(|line| format!("{line}: {zero}"));
        let of_times =
            [format!("stop_times.txt:3: {zero}"), "stop_times.txt:4: stop_id \"S3\" is not in stops.txt".to_owned()];
        let told = [&told[..], &[format!("stops.txt:7: {long}")], &of_times[..]].concat();
        assert_eq!(outcome.told(), told);
    }
}

#[test]
fn kills_at_any_time_end_in_the_same_rows_each_once() {
    let Some(server) = server::shared() else { return };
    let place = big_feed();
    assert_eq!(place.run_on("feed", "out.db", SERIAL).code, Some(0));
    let expected = of_file(&place, "out.db");
    for (name, arguments) in [("kills_pool", POOL), ("kills_serial", SERIAL)] {
        let schema = Schema::new(&server, &place, name);
        let mut client = schema.client();
        let committed = || {
            let row = client.query_one("SELECT sum(committed)::bigint FROM import_files", &[]).ok()?;
            row.get::<_, i64>(0).try_into().ok()
        };
        let kills = kill_while_writing(|| schema.start(arguments), committed);
        assert!(kills >= 2, "killed {kills} times");
        let last = schema.run(&[arguments, &["--verify"]].concat());
        assert_eq!(last.code, Some(0), "{}", last.stderr);
        assert!(schema.content() == expected, "{name} after {kills} kills");
    }
}

/// As if the kill had come between a commit and its confirmations: the journal loses its end, or is lost.
#[test]
fn what_was_committed_and_not_confirmed_is_there_once() {
    let Some(server) = server::shared() else { return };
    let place = big_feed();
    assert_eq!(place.run_on("feed", "out.db", SERIAL).code, Some(0));
    let expected = of_file(&place, "out.db");
    for (name, lost) in [("lost_end", Some(3)), ("lost_all", None)] {
        let schema = Schema::new(&server, &place, name);
        let run = schema.start(POOL);
        let mut client = schema.client();
        wait_until(|| schema.committed_beyond(&mut client, 8));
        assert!(!kill_after(run, Duration::ZERO));
        let ends = record_ends(schema.journal().as_ref());
        let end = lost.map_or(0, |lost| ends[ends.len() - lost]);
        fs::File::options().write(true).open(schema.journal()).unwrap().set_len(end).unwrap();
        client.batch_execute("UPDATE stop_times SET stop_headsign = 'marked' WHERE rowid = 1").unwrap();
        assert_eq!(schema.run(&[POOL, &["--verify"]].concat()).code, Some(0));
        let marked: i64 = client
            .query_one("SELECT rowid FROM stop_times WHERE stop_headsign = 'marked'", &[])
            .expect("it is not written again")
            .get(0);
        let rest = "UPDATE stop_times SET stop_headsign = (SELECT stop_headsign FROM stop_times WHERE rowid = 2) WHERE rowid = 1";
        client.batch_execute(rest).unwrap();
        assert!(marked == 1 && schema.content() == expected, "{name}");
    }
}

#[test]
fn a_killed_worker_costs_only_time() {
    let Some(server) = server::shared() else { return };
    let place = big_feed();
    assert_eq!(place.run_on("feed", "out.db", SERIAL).code, Some(0));
    let schema = Schema::new(&server, &place, "workers");
    let run = schema.start(POOL);
    let mut client = schema.client();
    wait_until(|| schema.committed_beyond(&mut client, 0));
    kill_some_workers(&place);
    assert!(kill_after(run, DEADLINE), "it ends well");
    assert!(schema.content() == of_file(&place, "out.db"));
}

#[test]
fn a_server_that_restarts_ends_the_run_and_the_next_goes_on() {
    let Some(mut server) = Server::start() else { return };
    let place = big_feed();
    assert_eq!(place.run_on("feed", "out.db", SERIAL).code, Some(0));
    let expected = of_file(&place, "out.db");
    for (name, signal, arguments) in
        [("fast", "INT", POOL), ("immediate", "QUIT", POOL), ("fast_serial", "INT", SERIAL)]
    {
        let schema = Schema::new(&server, &place, name);
        let errors = fs::File::create(place.path("errors")).unwrap();
        let mut command = program();
        command.arg(place.path("feed")).args([&schema.url(), "--journal", &schema.journal()]).args(arguments);
        let mut run = Run(command.stdout(std::process::Stdio::null()).stderr(errors).spawn().unwrap());
        let mut client = schema.client();
        wait_until(|| schema.committed_beyond(&mut client, 0));
        let (journal, url) = (schema.journal(), schema.url());
        server.restart(signal);
        assert_eq!(run.0.wait().unwrap().code(), Some(1));
        let errors = fs::read_to_string(place.path("errors")).unwrap();
        assert!(errors.lines().count() == 1 && errors.contains("the connection to schema"), "{errors}");
        assert!(errors.contains("start the same command again") && !errors.contains(PASSWORD), "{errors}");
        let feed = place.path("feed");
        let again = [feed.to_str().unwrap(), &url, "--journal", &journal, "--verify"];
        let outcome = support::run(again.iter().chain(arguments));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(Schema { server: &server, place: &place, name }.content() == expected, "{name}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_in_one_line_and_stays_as_it_was() {
    let Some(server) = server::shared() else { return };
    let place = Place::of(&files(&[]));
    let of = |name, definition: &str| {
        let schema = Schema::new(&server, &place, name);
        schema.client().batch_execute(definition).unwrap();
        schema.url()
    };
    let table = of("foreign_table", "CREATE TABLE stops (stop_id text)");
    let view = of("foreign_view", "CREATE VIEW mine AS SELECT 1");
    let version =
        of("other_version", "CREATE TABLE import_state (key text, value text); CREATE TABLE import_files (file text)");
    let other = Place::of(&files(&[("trips.txt", Some(format!("{TRIPS}R1,W,T3\n").as_bytes()))]));
    let of_other = Schema::new(&server, &other, "other_feed");
    assert_eq!(of_other.run(SERIAL).code, Some(0));
    let url = server.url();
    server.client().batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").unwrap();
    let cases = [
        (table, "it has tables that are not of this program; name another database, or an empty schema of it"),
        (view, "it has tables that are not of this program"),
        (version, "it was made by another version of this program"),
        (of_other.url(), "trips.txt differs"),
        (format!("{url}&options=-csearch_path%3Dnowhere"), "no schema of its search_path is there"),
        (url.replace("/postgres?", "/nothing?"), "database \"nothing\" does not exist"),
        (url.replace("/postgres?", "/latin?"), "its encoding is LATIN1"),
        (url.replace(PASSWORD, "wrong"), "password authentication failed for user \"owner\""),
        (url.replace(&format!(":{PASSWORD}"), ""), "PGPASSWORD"),
        (format!("{url}&port=1"), "is the server there?"),
        (format!("postgres://owner:{PASSWORD}@{}/x", "no.such.host.invalid"), "is the server there?"),
        (format!("postgres://owner:{PASSWORD}@h@h/x"), "write an @ or a / inside a part as %40 or %2F"),
    ];
    for (url, message) in &cases {
        for arguments in [POOL, SERIAL] {
            let journal = place.path("out.journal");
            let feed = place.path("feed");
            let begin = [feed.to_str().unwrap(), url, "--journal", journal.to_str().unwrap()];
            let refusal = support::run(begin.iter().chain(arguments)).refusal();
            assert!(refusal.contains(message), "{refusal:?} should contain {message:?}");
            assert!(!refusal.contains(PASSWORD), "{refusal}");
            assert!(place.left().is_empty(), "{:?}", place.left());
        }
    }
    let mut client = server.client();
    let left = "SELECT string_agg(relname, ' ' ORDER BY relname)::text FROM pg_class
        WHERE relnamespace IN ('foreign_table'::regnamespace, 'foreign_view'::regnamespace, 'other_version'::regnamespace)";
    let left: String = client.query_one(left, &[]).unwrap().get(0);
    assert_eq!(left, "import_files import_state mine stops");
}

#[test]
fn the_journal_has_the_name_of_the_database_and_the_password_may_be_in_the_environment() {
    let Some(server) = server::shared() else { return };
    let place = Place::of(&files(&[]));
    let url = Schema::new(&server, &place, "by_name").url().replace(&format!(":{PASSWORD}"), "");
    let run = || {
        let mut command = program();
        command.args(["feed", &url]).current_dir(place.folder.path()).env("PGPASSWORD", PASSWORD);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run();
    assert_eq!(place.left(), ["postgres.journal"]);
    assert!(!fs::read(place.path("postgres.journal")).unwrap().is_empty());
    run();
}

#[test]
fn of_two_imports_into_one_schema_the_second_is_refused() {
    let Some(server) = server::shared() else { return };
    let place = big_feed();
    let schema = Schema::new(&server, &place, "two_imports");
    let first = schema.start(POOL);
    let mut client = schema.client();
    wait_until(|| schema.committed_beyond(&mut client, 0));
    // Stopped, so that it cannot end before the second one has looked.
    kill_process(Pid::from_child(&first.0), Signal::STOP).unwrap();
    let refusal = schema.run(SERIAL).refusal();
    assert!(refusal.ends_with("another import writes it at the moment; wait for its end"), "{refusal}");
    // Another program that counts pieces, and so writes them: nothing is committed twice.
    client.batch_execute("UPDATE import_files SET committed = committed + 1 WHERE file = 'stop_times.txt'").unwrap();
    kill_process(Pid::from_child(&first.0), Signal::CONT).unwrap();
    let mut first = first;
    assert_eq!(first.0.wait().unwrap().code(), Some(1));
}

#[test]
fn verify_finds_rows_that_were_lost_or_refer_to_nothing() {
    let Some(server) = server::shared() else { return };
    let place = Place::of(&files(&[]));
    for (name, damage, message) in [
        (
            "damage_row",
            "DELETE FROM stop_times WHERE rowid = 2",
            "stop_times.txt has 3 rows, and the database 2 of them and 0 rejected ones",
        ),
        (
            "damage_stop",
            "UPDATE stop_times SET stop_id = 'S9' WHERE rowid = 2",
            "stop_times: 1 rows: stop_id is not in stops.txt",
        ),
    ] {
        let schema = Schema::new(&server, &place, name);
        assert_eq!(schema.run(&["--verify"]).code, Some(0));
        schema.client().batch_execute(damage).unwrap();
        let outcome = schema.run(&["--verify"]);
        assert_eq!(outcome.code, Some(1), "{damage}");
        assert!(outcome.told().contains(&message), "{}", outcome.stderr);
    }
}
