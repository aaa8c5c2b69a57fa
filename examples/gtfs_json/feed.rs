//! A feed's small tables in memory, ready to be joined. What a stop and a trip add to a row is turned into JSON once, when the
//! feed is loaded, and only copied afterwards.

use crate::json::{push_integer, push_text_or_null};
use crate::problem::{Problem, Result};
use crate::table::{Row, Table};
use crate::tables::{Ids, Inserted, Texts};
use std::path::Path;

pub const STOP_TIMES: &str = "stop_times.txt";
pub const STOPS: &str = "stops.txt";
pub const ROUTES: &str = "routes.txt";
pub const TRIPS: &str = "trips.txt";
/// All tables of a feed that are read.
pub const TABLES: [&str; 4] = [STOP_TIMES, TRIPS, ROUTES, STOPS];

/// The keys that the join adds, in their order at the end of each line.
pub const JOINED: [&str; 4] = ["stop_name", "route_short_name", "route_type", "trip_headsign"];

/// Stops, routes and trips of one feed.
pub struct Feed {
    stop_ids: Ids,
    stop_names: Texts,
    trip_ids: Ids,
    /// The numbers of each trip's route and headsign.
    trips: Vec<(u32, u32)>,
    routes: Texts,
    headsigns: Ids,
}

impl Feed {
    pub fn load(folder: &Path) -> Result<Feed> {
        let (stop_ids, stop_names) = load_stops(&folder.join(STOPS))?;
        let (route_ids, routes) = load_routes(&folder.join(ROUTES))?;
        let mut feed = Feed {
            stop_ids,
            stop_names,
            trip_ids: Ids::default(),
            trips: Vec::new(),
            routes,
            headsigns: Ids::default(),
        };
        feed.load_trips(&folder.join(TRIPS), &route_ids)?;
        Ok(feed)
    }

    /// What a stop adds to the end of a line: `,"stop_name":"…"`.
    #[inline]
    pub fn stop(&self, stop_id: &str) -> Option<&str> {
        self.stop_ids.find(stop_id).map(|stop| self.stop_names.get(stop))
    }

    /// The two parts that a trip adds to the end of a line: `,"route_short_name":"…","route_type":…` and
    /// `,"trip_headsign":"…"`.
    pub fn trip(&self, trip_id: &str) -> Option<[&str; 2]> {
        let (route, headsign) = self.trips[self.trip_ids.find(trip_id)? as usize];
        Some([self.routes.get(route), self.headsigns.get(headsign)])
    }

    fn load_trips(&mut self, path: &Path, route_ids: &Ids) -> Result<()> {
        let mut table = Table::open(path)?;
        let id = table.required_column("trip_id")?;
        let route_id = table.required_column("route_id")?;
        let headsign = table.column("trip_headsign");
        let mut row = Row::new();
        let mut json = String::new();
        while table.read_whole(&mut row)? {
            insert_new(&mut self.trip_ids, &table, &row, id)?;
            let Some(route) = route_ids.find(&row[route_id]) else {
                return Err(table.problem(&row, format_args!("{ROUTES} has no route_id {:?}", &row[route_id])));
            };
            json.clear();
            json.push_str(",\"trip_headsign\":");
            push_text_or_null(&mut json, headsign.map_or("", |headsign| &row[headsign]));
            // Thousands of trips share a headsign.
            let (Inserted::New(headsign) | Inserted::Known(headsign)) = self.headsigns.insert(&json) else {
                return Err(too_large(&table, &row));
            };
            self.trips.push((route, headsign));
        }
        Ok(())
    }
}

fn load_stops(path: &Path) -> Result<(Ids, Texts)> {
    let mut table = Table::open(path)?;
    let id = table.required_column("stop_id")?;
    let name = table.column("stop_name");
    let (mut ids, mut names) = (Ids::default(), Texts::default());
    let mut row = Row::new();
    let mut json = String::new();
    while table.read_whole(&mut row)? {
        insert_new(&mut ids, &table, &row, id)?;
        json.clear();
        json.push_str(",\"stop_name\":");
        push_text_or_null(&mut json, name.map_or("", |name| &row[name]));
        names.push(&json).ok_or_else(|| too_large(&table, &row))?;
    }
    Ok((ids, names))
}

fn load_routes(path: &Path) -> Result<(Ids, Texts)> {
    let mut table = Table::open(path)?;
    let id = table.required_column("route_id")?;
    let kind = table.required_column("route_type")?;
    let short_name = table.column("route_short_name");
    let (mut ids, mut routes) = (Ids::default(), Texts::default());
    let mut row = Row::new();
    let mut json = String::new();
    while table.read_whole(&mut row)? {
        insert_new(&mut ids, &table, &row, id)?;
        json.clear();
        json.push_str(",\"route_short_name\":");
        push_text_or_null(&mut json, short_name.map_or("", |short_name| &row[short_name]));
        json.push_str(",\"route_type\":");
        if !push_integer(&mut json, &row[kind]) {
            return Err(table.problem(&row, format_args!("route_type {:?} is not a whole number", &row[kind])));
        }
        routes.push(&json).ok_or_else(|| too_large(&table, &row))?;
    }
    Ok((ids, routes))
}

/// Adds a row's id to those of its table. It must be new.
fn insert_new(ids: &mut Ids, table: &Table, row: &Row, column: usize) -> Result<()> {
    let id = &row[column];
    let name = &table.columns()[column];
    if id.is_empty() {
        return Err(table.problem(row, format_args!("{name} is empty")));
    }
    match ids.insert(id) {
        Inserted::New(_) => Ok(()),
        Inserted::Known(_) => Err(table.problem(row, format_args!("{name} {id:?} is there twice"))),
        Inserted::Full => Err(too_large(table, row)),
    }
}

fn too_large(table: &Table, row: &Row) -> Problem {
    table.problem(row, "the table is larger than this program can hold")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(stops: &str, routes: &str, trips: &str) -> Result<Feed> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [(STOPS, stops), (ROUTES, routes), (TRIPS, trips)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Feed::load(folder.path())
    }

    const S: &str = "stop_id,stop_name\nS1,\"The \"\"Oak\"\"\"\nS2,\n";
    const R: &str = "route_type,route_short_name,route_id\n3,1A,R1\n002,,R2\n";
    const T: &str = "route_id,trip_id,trip_headsign\nR1,T1,Zoo\nR2,T2,\nR1,T3,Zoo\n";

    #[test]
    fn what_a_stop_and_a_trip_add_is_json() {
        let feed = load(S, R, T).unwrap();
        assert_eq!(feed.stop("S1"), Some(r#","stop_name":"The \"Oak\"""#));
        assert_eq!(feed.stop("S2"), Some(r#","stop_name":null"#));
        assert_eq!(feed.stop("S3"), None);
        let first_route = r#","route_short_name":"1A","route_type":3"#;
        assert_eq!(feed.trip("T1"), Some([first_route, r#","trip_headsign":"Zoo""#]));
        assert_eq!(feed.trip("T2"), Some([r#","route_short_name":null,"route_type":2"#, r#","trip_headsign":null"#]));
        assert_eq!(feed.trip("T3"), feed.trip("T1"));
        assert_eq!(feed.trip("T4"), None);
    }

    #[test]
    fn optional_columns_may_be_missing_and_required_ones_not() {
        let feed = load("stop_id\nS1\n", "route_id,route_type\nR1,0\n", "trip_id,route_id\nT1,R1\n").unwrap();
        assert_eq!(feed.stop("S1"), Some(r#","stop_name":null"#));
        assert_eq!(feed.trip("T1"), Some([r#","route_short_name":null,"route_type":0"#, r#","trip_headsign":null"#]));
        let rows = [
            (load("stop_name\nx\n", R, T), r#"stops.txt line 1: there is no column "stop_id""#),
            (load(S, "route_id\nR1\n", T), r#"routes.txt line 1: there is no column "route_type""#),
            (load(S, "route_type\n1\n", T), r#"routes.txt line 1: there is no column "route_id""#),
            (load(S, R, "trip_id\nT1\n"), r#"trips.txt line 1: there is no column "route_id""#),
            (load(S, R, "route_id\nR1\n"), r#"trips.txt line 1: there is no column "trip_id""#),
        ];
        for (feed, message) in rows {
            assert_eq!(feed.err().unwrap().to_string(), message);
        }
    }

    #[test]
    fn a_broken_row_of_a_small_table_is_named_by_file_and_line() {
        let rows = [
            (load("stop_id,stop_name\nS1,a\n\nS1,b\n", R, T), r#"stops.txt line 4: stop_id "S1" is there twice"#),
            (load("stop_id,stop_name\n,a\n", R, T), "stops.txt line 2: stop_id is empty"),
            (load("stop_id,stop_name\nS1\n", R, T), "stops.txt line 2: 1 values where there are 2 columns"),
            (
                load(S, "route_id,route_type\nR1,bus\n", T),
                r#"routes.txt line 2: route_type "bus" is not a whole number"#,
            ),
            (load(S, "route_id,route_type\nR1,\n", T), r#"routes.txt line 2: route_type "" is not a whole number"#),
            (load(S, R, "route_id,trip_id\nR1,T1\nR9,T2\n"), r#"trips.txt line 3: routes.txt has no route_id "R9""#),
            (load(S, R, "route_id,trip_id\nR1,T1\nR1,T1\n"), r#"trips.txt line 3: trip_id "T1" is there twice"#),
        ];
        for (feed, message) in rows {
            assert_eq!(feed.err().unwrap().to_string(), message);
        }
    }
}
