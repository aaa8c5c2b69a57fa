//! A feed of a city's size. It is made if no feed is given, and kept in the target folder for the next run.
//!
//! It is the same on every machine: all random numbers come from a small generator with a fixed seed. It is written to a
//! temporary folder that is renamed when it is complete, so an interrupted run leaves no partial feed behind.

use crate::feed::{ROUTES, STOP_TIMES, STOPS, TRIPS};
use crate::leftovers::Temporary;
use crate::output::progress_bar;
use crate::problem::{Problem, Result};
use csv::Writer;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The folder of the made feed. The feed is made if the folder does not exist.
pub fn feed(rows: u64) -> Result<PathBuf> {
    let target = target_folder()?;
    let folder = target.join(format!("gtfs-{rows}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    eprintln!("gtfs_json: making a feed of {rows} stop times in {folder:?}");
    fs::create_dir_all(&target).map_err(|error| Problem::with_path("make the folder", &target, error))?;
    let temporary = Temporary::folder_in(&target)?;
    write_feed(temporary.path(), rows).map_err(|error| Problem::with_path("make the feed", &folder, error))?;
    match temporary.rename(&folder) {
        // Another run may have made the same feed meanwhile, which is as good.
        Err(error) if !folder.is_dir() => Err(Problem::with_path("make the feed", &folder, error)),
        _ => Ok(folder),
    }
}

/// Cargo's target folder: an example is built in `target/PROFILE/examples`. A copy of the program elsewhere uses `target` in
/// the current directory.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(Problem::new)?;
    let examples = program.parent().filter(|folder| folder.ends_with("examples"));
    let target = examples.and_then(Path::parent).and_then(Path::parent);
    Ok(target.unwrap_or(Path::new("target")).to_owned())
}

const STREETS: [&str; 24] = [
    "Main St",
    "Station Rd",
    "Church Lane",
    "Market Square",
    "Kärntner Straße",
    "Rue de l’Église",
    "Plaça d'Espanya",
    "Harbour Quay",
    "5th Ave",
    "Oak Park",
    "Náměstí Míru",
    "University",
    "General Hospital",
    "Mill Bridge",
    "Øster Allé",
    "King George V Ave",
    "Old Town",
    "Ferry Landing",
    "Rynek Główny",
    "City Hall",
    "Zoo",
    "West Gate",
    "Industrial Estate",
    "Praça do Comércio",
];
const PLACES: [&str; 8] = [
    "North",
    "South",
    "Depot, Gate 2",
    "opposite \"The Oak\"",
    "Platform A",
    "Platform B",
    "Terminal, Arrivals",
    "Loop",
];

/// The stops, and the routes that serve them.
struct City {
    stop_names: Vec<String>,
    /// The stops of each route, in the outbound direction.
    routes: Vec<Vec<usize>>,
}

impl City {
    fn of(rows: u64, chance: &mut Chance) -> City {
        let stops = (rows / 600).clamp(40, 20_000);
        let stop_names = (0..stops).map(|_| match chance.below(4) {
            0 => format!("{}, {}", chance.pick(&STREETS), chance.pick(&PLACES)),
            1 => format!("{} {}", chance.pick(&STREETS), chance.pick(&PLACES)),
            _ => format!("{} / {}", chance.pick(&STREETS), chance.pick(&STREETS)),
        });
        let stop_names = stop_names.collect();
        let routes = (0..(rows / 15_000).clamp(4, 400)).map(|_| {
            let length = 20 + chance.below(21);
            (0..length).map(|_| chance.below(stops) as usize).collect()
        });
        City { stop_names, routes: routes.collect() }
    }

    fn last_stop(&self, route: usize, inward: bool) -> &str {
        let stops = &self.routes[route];
        &self.stop_names[stops[if inward { 0 } else { stops.len() - 1 }]]
    }
}

fn write_feed(folder: &Path, rows: u64) -> std::result::Result<(), csv::Error> {
    let mut chance = Chance { state: 20_240_229 };
    let city = City::of(rows, &mut chance);
    write_fixed(folder)?;
    write_stops(&mut table(folder, STOPS)?, &city, &mut chance)?;
    write_routes(&mut table(folder, ROUTES)?, &city)?;
    write_trips(folder, rows, &city, &mut chance)
}

fn table(folder: &Path, name: &str) -> std::result::Result<Writer<File>, csv::Error> {
    csv::WriterBuilder::new().buffer_capacity(256 << 10).from_path(folder.join(name))
}

/// Writes the tables that the reference requires and the join does not read.
fn write_fixed(folder: &Path) -> std::result::Result<(), csv::Error> {
    let mut agency = table(folder, "agency.txt")?;
    agency.write_record(["agency_id", "agency_name", "agency_url", "agency_timezone"])?;
    agency.write_record(["1", "City Transport", "https://example.com/", "Europe/Vienna"])?;
    agency.flush()?;
    let mut calendar = table(folder, "calendar.txt")?;
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    calendar.write_record(["service_id"].iter().chain(&days).chain(&["start_date", "end_date"]))?;
    calendar.write_record(["DAILY", "1", "1", "1", "1", "1", "1", "1", "20240101", "20241231"])?;
    calendar.flush()?;
    Ok(())
}

fn write_stops(table: &mut Writer<File>, city: &City, chance: &mut Chance) -> std::result::Result<(), csv::Error> {
    table.write_record(["stop_id", "stop_code", "stop_name", "stop_lat", "stop_lon", "wheelchair_boarding"])?;
    for (stop, name) in city.stop_names.iter().enumerate() {
        let latitude = format!("48.{:06}", chance.below(1_000_000));
        let longitude = format!("16.{:06}", chance.below(1_000_000));
        let wheelchair = chance.below(3).to_string();
        table.write_record([
            &stop_id(stop),
            &format!("{}", 10_000 + stop),
            name,
            &latitude,
            &longitude,
            &wheelchair,
        ])?;
    }
    table.flush()?;
    Ok(())
}

fn write_routes(table: &mut Writer<File>, city: &City) -> std::result::Result<(), csv::Error> {
    table.write_record(["route_id", "agency_id", "route_short_name", "route_long_name", "route_type"])?;
    for route in 0..city.routes.len() {
        let (short_name, kind) = match route % 10 {
            0 => (format!("U{}", route / 10 + 1), "1"),
            1 | 2 => (format!("{}", route / 5 + 1), "0"),
            _ => (format!("{route}A"), "3"),
        };
        let long_name = format!("{} – {}", city.last_stop(route, true), city.last_stop(route, false));
        table.write_record([&format!("R{route}"), "1", &short_name, &long_name, kind])?;
    }
    table.flush()?;
    Ok(())
}

/// Writes trips and their stop times, until there are `rows` stop times.
fn write_trips(folder: &Path, rows: u64, city: &City, chance: &mut Chance) -> std::result::Result<(), csv::Error> {
    let mut trips = table(folder, TRIPS)?;
    trips.write_record(["route_id", "service_id", "trip_id", "trip_headsign", "direction_id"])?;
    let mut stop_times = table(folder, STOP_TIMES)?;
    stop_times.write_record([
        "trip_id",
        "arrival_time",
        "departure_time",
        "stop_id",
        "stop_sequence",
        "stop_headsign",
        "pickup_type",
        "drop_off_type",
        "shape_dist_traveled",
        "timepoint",
    ])?;
    let bar = progress_bar("making", rows);
    let (mut arrival, mut departure, mut sequence, mut distance_text) =
        (String::new(), String::new(), String::new(), String::new());
    let mut written = 0;
    for trip in 0.. {
        if written == rows {
            break;
        }
        let route = trip % city.routes.len();
        let inward = chance.below(2) == 1;
        let trip_id = format!("R{route}-{}-{trip}", u8::from(inward));
        let direction = if inward { "1" } else { "0" };
        trips.write_record([
            format!("R{route}").as_str(),
            "DAILY",
            &trip_id,
            city.last_stop(route, inward),
            direction,
        ])?;

        let stops = &city.routes[route];
        let mut seconds = 4 * 3600 + chance.below(20 * 3600);
        let mut metres = 0;
        let count = stops.len().min((rows - written) as usize);
        for place in 0..count {
            let stop_id = stop_id(stops[if inward { stops.len() - 1 - place } else { place }]);
            set_time(&mut arrival, seconds);
            seconds += chance.below(3) * 10;
            set_time(&mut departure, seconds);
            set(&mut sequence, format_args!("{}", place + 1));
            set(&mut distance_text, format_args!("{}.{}", metres, chance.below(10)));
            // A short trip has a headsign at the stop: it ends before the stop that the trip's headsign names.
            let headsign = if trip % 16 == 0 && place > 0 { city.stop_names[stops[place - 1]].as_str() } else { "" };
            let last = u8::from(place + 1 == count);
            let (pickup, drop_off) = ([b'0' + last], [b'0' + u8::from(place == 0)]);
            let texts = [&trip_id, &arrival, &departure, &stop_id, &sequence, headsign].map(str::as_bytes);
            stop_times.write_record(texts.into_iter().chain([
                &pickup[..],
                &drop_off,
                distance_text.as_bytes(),
                b"1",
            ]))?;
            seconds += 60 + chance.below(120);
            metres += 200 + chance.below(600);
        }
        written += count as u64;
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    trips.flush()?;
    stop_times.flush()?;
    Ok(())
}

fn stop_id(stop: usize) -> String {
    format!("S{stop:04}")
}

fn set(text: &mut String, value: std::fmt::Arguments<'_>) {
    text.clear();
    // Writing to a `String` cannot fail.
    let _ = text.write_fmt(value);
}

fn set_time(text: &mut String, seconds: u64) {
    set(text, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
}

/// The splitmix64 generator.
struct Chance {
    state: u64,
}

impl Chance {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'items>(&mut self, items: &[&'items str]) -> &'items str {
        items[self.below(items.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::render;
    use crate::rows;

    #[test]
    fn a_made_feed_has_the_rows_asked_for_and_is_always_the_same() {
        for rows in [1, 2, 1000] {
            let [first, second] = [(), ()].map(|()| {
                let folder = tempfile::tempdir().unwrap();
                write_feed(folder.path(), rows).unwrap();
                folder
            });
            for name in [STOPS, ROUTES, TRIPS, STOP_TIMES, "agency.txt", "calendar.txt"] {
                let text = |folder: &tempfile::TempDir| fs::read_to_string(folder.path().join(name)).unwrap();
                assert_eq!(text(&first), text(&second), "{name}");
            }
            let stop_times = first.path().join(STOP_TIMES);
            assert_eq!(rows::cut(&stop_times, |_| std::iter::empty()).unwrap().rows, rows);
            let header = fs::read_to_string(&stop_times).unwrap().find('\n').unwrap() as u64 + 1;
            let mut json = String::new();
            render(first.path().as_os_str(), header, u64::MAX, &mut json).unwrap();
            assert_eq!(json.lines().count() as u64, rows);
            assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        }
    }

    #[test]
    fn a_made_feed_has_what_makes_csv_and_json_hard() {
        let folder = tempfile::tempdir().unwrap();
        write_feed(folder.path(), 3000).unwrap();
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        for (name, part) in [
            (STOPS, "\"\"The Oak\"\"\""),
            (STOPS, ", Gate 2\""),
            (TRIPS, "Straße"),
            (STOP_TIMES, ", "),
            (STOP_TIMES, ",24:"),
        ] {
            assert!(text(name).contains(part), "{name} should contain {part:?}");
        }
    }
}
