//! Feeds as they are: with what the GTFS reference allows, and with what broke other importers.

mod support;

use support::{AGENCY, Place, ROUTES, STOP_TIMES, STOPS, TRIPS, dump, files, is_identical, zip_of};

/// Imports a small feed with changes, in a pool and serially, and checks what a query finds and which rows are told.
#[track_caller]
fn check(changes: &[(&'static str, Option<&[u8]>)], query: &str, expected: &[&str], told: &[&str]) {
    let place = Place::of(&files(changes));
    let outcome = place.run(&["--workers", "2", "--verify"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(place.query(query), expected, "{query}");
    assert_eq!(outcome.told(), told);
    let rejected = told.iter().filter(|line| {
        line.split_once(".txt:").is_some_and(|(_, rest)| rest.starts_with(|char: char| char.is_ascii_digit()))
    });
    assert_eq!(outcome.rejected(), rejected.count() as u64);
    let serially = place.run_on("feed", "serial.db", &["--serial"]);
    assert_eq!((serially.code, serially.stderr), (Some(0), outcome.stderr));
    assert!(is_identical(&place.path("out.db"), &place.path("serial.db")));
}

const TIMES: &str =
    "SELECT rowid, trip_id, arrival_time, departure_time, stop_id, stop_sequence FROM stop_times ORDER BY rowid";
const ALL_TIMES: [&str; 3] = ["1|T1|28800|28830|S1|1", "2|T1|29400|29400|S2|2", "3|T2|90000|90000|S1|1"];

#[test]
fn times_are_seconds_and_rows_have_the_numbers_of_their_records() {
    check(&[], TIMES, &ALL_TIMES, &[]);
}

#[test]
fn a_byte_order_mark_crlf_and_blank_lines_change_nothing() {
    for text in [
        format!("\u{feff}{STOP_TIMES}"),
        STOP_TIMES.replace('\n', "\r\n"),
        format!("\u{feff}{}", STOP_TIMES.replace('\n', "\r\n \t\r\n\n")),
        STOP_TIMES.trim_end().to_owned(),
        format!("\n{STOP_TIMES}\n\n"),
    ] {
        check(&[("stop_times.txt", Some(text.as_bytes()))], TIMES, &ALL_TIMES, &[]);
    }
}

#[test]
fn blanks_around_names_and_values_are_trimmed() {
    let text = b" trip_id, arrival_time ,departure_time,stop_id,stop_sequence \n T1 ,08:00:00, 08:00:30,\tS1 , 1 \n\
        T1,\" 08:10:00 \", \"08:10:00\" ,S2,2\nT2,25:00:00,25:00:00,S1,1  \n";
    check(&[("stop_times.txt", Some(text))], TIMES, &ALL_TIMES, &[]);
    let agency = AGENCY.replace("https", "  https");
    check(&[("agency.txt", Some(agency.as_bytes()))], "SELECT agency_url FROM agency", &["https://example.com"], &[]);
}

#[test]
fn hours_go_on_behind_midnight_and_times_may_be_missing() {
    let text = b"trip_id,arrival_time,departure_time,stop_id,stop_sequence\nT1,58:00:01,,S1,1\nT1,,,S2,2\nT1,8:00:00,108:00:00,S1,3\n";
    let expected = ["1|T1|208801|NULL|S1|1", "2|T1|NULL|NULL|S2|2", "3|T1|28800|388800|S1|3"];
    check(&[("stop_times.txt", Some(text))], TIMES, &expected, &[]);
}

#[test]
fn quoted_values_have_commas_quotation_marks_and_line_ends() {
    let text =
        "stop_id,stop_name,stop_lat,stop_lon\r\nS1,\"Gate \"\"B\"\",\r\nEast\",48.1,16.1\r\nS2,\"\",48.2,16.2\r\n";
    check(
        &[("stops.txt", Some(text.as_bytes()))],
        "SELECT stop_id, stop_name, stop_lat FROM stops",
        &["S1|Gate \"B\",\r\nEast|48.1", "S2|NULL|48.2"],
        &[],
    );
}

#[test]
fn lines_are_told_right_behind_quoted_line_ends_and_blank_lines() {
    let text = "stop_id,stop_name,stop_lat,stop_lon\r\nS1,\"Main\r\n\r\nSt\",48.1,16.1\r\n\r\nS2,Zoo,48.2,16.2\r\nS3,x,north,16\r\n";
    check(
        &[("stops.txt", Some(text.as_bytes()))],
        "SELECT rowid, stop_id FROM stops",
        &["1|S1", "2|S2"],
        &["stops.txt:7: stop_lat \"north\" is no number"],
    );
}

#[test]
fn short_rows_are_filled_with_null_and_long_ones_are_refused() {
    let text = b"stop_id,stop_name,stop_lat,stop_lon\nS1\nS2,Zoo,48.2,16.2,,\nS3,Oak, East,48.1,16.1\n";
    check(
        &[("stops.txt", Some(text))],
        "SELECT rowid, stop_id, stop_name, stop_lat, stop_lon FROM stops",
        &["1|S1|NULL|NULL|NULL", "2|S2|Zoo|48.2|16.2"],
        &["stops.txt:4: there are more values than columns: 5, not 4"],
    );
}

#[test]
fn unknown_columns_and_files_are_left_out_and_named_once() {
    let trips = TRIPS.replace("trip_id\n", "trip_id,peak,colour\n").replace("T1\n", "T1,1,red\n");
    check(
        &[("trips.txt", Some(trips.as_bytes())), ("vehicles.txt", Some(b"a\n")), ("README.md", Some(b"a\n"))],
        "SELECT count(*) FROM trips",
        &["2"],
        &[
            "trips.txt: left out, as GTFS has no such columns: peak, colour",
            "vehicles.txt is no table of this program and is left out",
        ],
    );
}

#[test]
fn tables_of_missing_files_are_empty_and_columns_in_any_order() {
    check(
        &[("stops.txt", Some(b"stop_lon,stop_id\n16,S1\n17,S2\n"))],
        "SELECT stop_id, stop_lon, stop_name, (SELECT count(*) FROM shapes), (SELECT count(*) FROM transfers),
            (SELECT count(*) FROM feed_info), (SELECT count(*) FROM frequencies) FROM stops",
        &["S1|16.0|NULL|0|0|0|0", "S2|17.0|NULL|0|0|0|0"],
        &[],
    );
}

#[test]
fn files_that_may_be_missing_may_be_empty_or_in_an_older_format() {
    check(
        &[
            ("transfers.txt", Some(b"")),
            ("calendar_dates.txt", Some(b"\n")),
            ("translations.txt", Some(b"trans_id,lang,translation\nZoo,de,Tiergarten\n")),
        ],
        "SELECT (SELECT count(*) FROM transfers), (SELECT count(*) FROM translations), count(*) FROM stop_times",
        &["0|0|3"],
        &[
            "calendar_dates.txt has no line with the names of its columns, and is left out",
            "transfers.txt has no line with the names of its columns, and is left out",
            "translations.txt is in an older format, and is left out",
        ],
    );
}

#[test]
fn columns_that_are_unknown_may_have_equal_names() {
    let agency = AGENCY.replace("_timezone\n", "_timezone,x,x\n");
    let note = "agency.txt: left out, as GTFS has no such columns: x, x";
    check(&[("agency.txt", Some(agency.as_bytes()))], "SELECT count(*) FROM agency", &["1"], &[note]);
}

#[test]
fn a_whole_number_may_have_zeros_behind_a_point() {
    let text = b"route_id,route_type\nR1,3.0\nR2,3.5\n";
    check(
        &[("routes.txt", Some(text))],
        "SELECT route_id, route_type FROM routes",
        &["R1|3"],
        &["routes.txt:3: route_type \"3.5\" is no whole number"],
    );
}

#[test]
fn empty_quotes_with_text_behind_are_no_blank_line() {
    check(
        &[("stops.txt", Some(b"stop_id,stop_lat\nS1,1\n\"\" x\nS2,2\n"))],
        "SELECT rowid, stop_id FROM stops",
        &["1|S1", "3|S2"],
        &["stops.txt:3: text follows a closing quotation mark"],
    );
}

#[test]
fn a_feed_without_calendar_has_its_days_in_calendar_dates() {
    check(
        &[("calendar.txt", None), ("calendar_dates.txt", Some(b"service_id,date,exception_type\nW,20260921,1\n"))],
        "SELECT service_id, date, exception_type FROM calendar_dates",
        &["W|20260921|1"],
        &[],
    );
}

#[test]
fn an_agency_without_id_is_one() {
    let (agency, routes) = (AGENCY.replace("agency_id,", "").replace("A,", ""), ROUTES.replace("A,", ","));
    check(
        &[("agency.txt", Some(agency.as_bytes())), ("routes.txt", Some(routes.as_bytes()))],
        "SELECT agency.agency_id, agency_name, routes.agency_id FROM agency, routes",
        &["NULL|Trams|NULL"],
        &[],
    );
}

#[test]
fn a_route_type_is_a_number_whichever_it_is() {
    let text = b"route_id,route_type\nR1,bus\nR2,1501\nR3,-7\nR4,99999\n";
    let trips = b"route_id,service_id,trip_id\nR2,W,T1\nR3,W,T2\n";
    check(
        &[("routes.txt", Some(text)), ("trips.txt", Some(trips))],
        "SELECT rowid, route_id, route_type FROM routes",
        &["2|R2|1501", "3|R3|-7", "4|R4|99999"],
        &["routes.txt:2: route_type \"bus\" is no number"],
    );
}

#[test]
fn the_first_of_a_key_wins_also_where_the_second_differs() {
    let stops = format!("{STOPS}S1,Other,1,1\nS3,x,north,1\nS3,y,1,1\n");
    let trips = format!("{TRIPS}R1,W,T1\n");
    let times = format!("{STOP_TIMES}T1,09:00:00,09:00:00,S1,2\n");
    check(
        &[
            ("stops.txt", Some(stops.as_bytes())),
            ("trips.txt", Some(trips.as_bytes())),
            ("stop_times.txt", Some(times.as_bytes())),
        ],
        "SELECT rowid, stop_id, stop_name FROM stops UNION ALL SELECT rowid, trip_id, '' FROM trips UNION ALL
            SELECT rowid, trip_id, stop_sequence FROM stop_times",
        // Of S3, the first is refused and so is not there.
        &["1|S1|Main St", "2|S2|Zoo", "5|S3|y", "1|T1|", "2|T2|", "1|T1|1", "2|T1|2", "3|T2|1"],
        &[
            "stops.txt:4: stop_id \"S1\" is there already",
            "stops.txt:5: stop_lat \"north\" is no number",
            "trips.txt:4: trip_id \"T1\" is there already",
            "stop_times.txt:5: trip_id, stop_sequence \"T1, 2\" is there already",
        ],
    );
}

#[test]
fn missing_values_of_a_key_are_equal_in_tables_of_pairs() {
    let text = b"from_stop_id,to_stop_id,from_trip_id,transfer_type\nS1,S2,,0\nS1,S2,T1,1\nS1,S2,,2\n";
    check(
        &[("transfers.txt", Some(text))],
        "SELECT rowid, transfer_type FROM transfers",
        &["1|0", "2|1"],
        &[
            "transfers.txt:4: from_stop_id, to_stop_id, from_route_id, to_route_id, from_trip_id, to_trip_id \"S1, S2, , , , \" is there already",
        ],
    );
}

#[test]
fn rows_that_name_what_is_not_there_are_refused_and_so_are_those_that_name_them() {
    let trips = b"route_id,service_id,trip_id,shape_id\nR9,W,T1,\nR1,W,T2,\nR1,X,T3,\nR1,W,T4,H\n,W,T5,\n";
    let times = b"trip_id,stop_id,stop_sequence\nT1,S1,1\nT2,S1,1\nT2,S9,2\nT2,,3\n,S1,4\nT2,S1,\n";
    check(
        &[("trips.txt", Some(trips)), ("stop_times.txt", Some(times))],
        "SELECT 'trip', rowid, trip_id FROM trips UNION ALL SELECT 'time', rowid, trip_id FROM stop_times",
        &["trip|2|T2", "time|2|T2"],
        &[
            "trips.txt:2: route_id \"R9\" is not in routes.txt",
            "trips.txt:4: service_id \"X\" is neither in calendar.txt nor in calendar_dates.txt",
            "trips.txt:5: shape_id \"H\" is not in shapes.txt",
            "trips.txt:6: route_id is empty",
            "stop_times.txt:2: trip_id \"T1\" is not in trips.txt",
            "stop_times.txt:4: stop_id \"S9\" is not in stops.txt",
            "stop_times.txt:5: stop_id is empty",
            "stop_times.txt:6: trip_id is empty",
            "stop_times.txt:7: stop_sequence is empty",
        ],
    );
}

#[test]
fn a_stop_may_name_a_later_one_and_goes_with_a_refused_one() {
    let text = b"stop_id,stop_lat,parent_station\nS1,1,P\nS2,1,\nP,1,\nX,1,Q\nQ,1,Z\n";
    check(
        &[("stops.txt", Some(text))],
        "SELECT stop_id, parent_station FROM stops",
        &["S1|P", "S2|NULL", "P|NULL"],
        &[
            "stops.txt:5: parent_station \"Q\" is not in stops.txt",
            "stops.txt:6: parent_station \"Z\" is not in stops.txt",
        ],
    );
}

/// The second one was rejected for its key, and then the first one for the row that it names.
#[test]
fn the_first_of_a_key_that_names_what_is_not_there_leaves_the_key_to_the_second() {
    let text = b"stop_id,parent_station\nS1,Z\nS2,\nS1,\nX,S1\nS1,S2\n";
    check(
        &[("stops.txt", Some(text))],
        "SELECT rowid, stop_id, parent_station FROM stops",
        &["2|S2|NULL", "3|S1|NULL", "4|X|S1"],
        &["stops.txt:2: parent_station \"Z\" is not in stops.txt", "stops.txt:6: stop_id \"S1\" is there already"],
    );
}

/// Each link of the chain took a pass over the table.
#[test]
fn a_long_chain_of_stops_goes_with_the_first_one() {
    let mut text = String::from("stop_id,parent_station\nS1,\nS2,\nC0,Z\n");
    for number in 1..30_000 {
        text += &format!("C{number},C{}\n", number - 1);
    }
    let place = Place::of(&files(&[("stops.txt", Some(text.as_bytes()))]));
    let outcome = place.run(&["--serial"]);
    assert_eq!((outcome.code, outcome.rejected()), (Some(0), 30_000), "{}", outcome.stderr);
    assert_eq!(place.query("SELECT stop_id FROM stops"), ["S1", "S2"]);
}

#[test]
fn a_file_that_stands_twice_in_itself_is_rejected_to_the_half() {
    let mut rows = String::new();
    for number in 0..40_000 {
        rows += &format!("T1,S1,{number}\n");
    }
    let text = format!("trip_id,stop_id,stop_sequence\n{rows}{rows}");
    let place = Place::of(&files(&[("stop_times.txt", Some(text.as_bytes()))]));
    let outcome = place.run(&["--workers", "2", "--verify"]);
    assert_eq!((outcome.code, outcome.rejected()), (Some(0), 40_000), "{}", outcome.stderr);
    assert_eq!(place.query("SELECT count(*), max(rowid) FROM stop_times"), ["40000|40000"]);
    let query = "SELECT count(*) FROM import_rejected WHERE line != \"row\" + 1";
    assert_eq!(place.query(query), ["0"]);
}

#[test]
fn bytes_of_another_encoding_are_refused_by_row() {
    let text = b"stop_id,stop_name\nS1,M\xfcnchen\nS2,M\xc3\xbcnchen\n";
    let times = b"trip_id,stop_id,stop_sequence\nT1,S2,1\n";
    check(
        &[("stops.txt", Some(text)), ("stop_times.txt", Some(times))],
        "SELECT rowid, stop_name FROM stops",
        &["2|München"],
        &["stops.txt:2: the text is no UTF-8"],
    );
}

#[test]
fn text_behind_quotes_is_refused_by_row() {
    let text = b"stop_id,stop_name\nS1,\"The \"Oak\"\"\nS2,\"Zoo\"\n";
    let times = b"trip_id,stop_id,stop_sequence\nT1,S2,1\n";
    check(
        &[("stops.txt", Some(text)), ("stop_times.txt", Some(times))],
        "SELECT rowid, stop_name FROM stops",
        &["2|Zoo"],
        &["stops.txt:2: text follows a closing quotation mark"],
    );
}

const SHAPES: &str = "SELECT rowid, shape_id, shape_pt_sequence, round(shape_dist_traveled) FROM shapes";

#[test]
fn distances_of_shapes_are_filled_in_by_sequence() {
    let text =
        b"shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence\nA,0,2,30\nB,0,0,1\nA,0,0,10\nB,1,0,2\nA,0,1,20\n";
    let expected = ["1|A|30|222390.0", "2|B|1|0.0", "3|A|10|0.0", "4|B|2|111195.0", "5|A|20|111195.0"];
    check(&[("shapes.txt", Some(text))], SHAPES, &expected, &[]);
}

#[test]
fn distances_that_the_feed_gives_stay() {
    let text = b"shape_id,shape_pt_lat,shape_pt_lon,shape_pt_sequence,shape_dist_traveled\nA,0,0,1,0\nA,0,1,2,7.5\nA,0,2,3,\nB,0,0,1,\nB,0,north,2,\n";
    check(
        &[("shapes.txt", Some(text))],
        SHAPES,
        &["1|A|1|0.0", "2|A|2|8.0", "3|A|3|111203.0", "4|B|1|0.0"],
        &["shapes.txt:6: shape_pt_lon \"north\" is no number"],
    );
}

#[test]
fn of_many_rows_with_one_reason_twenty_are_told_and_the_rest_counted() {
    let mut text = String::from("trip_id,stop_id,stop_sequence\n");
    for number in 0..50 {
        text += &format!("T1,S1,{number}\nX{number},S1,1\n");
    }
    let place = Place::of(&files(&[("stop_times.txt", Some(text.as_bytes()))]));
    let outcome = place.run(&[]);
    assert_eq!((outcome.code, outcome.rejected()), (Some(0), 50));
    let told = outcome.told();
    assert_eq!(told.len(), 21);
    assert_eq!(told[19], "stop_times.txt:41: trip_id \"X19\" is not in trips.txt");
    assert_eq!(told[20], "stop_times.txt: 30 more: trip_id is not in trips.txt");
}

#[test]
fn a_zip_is_read_also_with_its_files_in_a_folder_and_with_notes_of_macos() {
    let feed = files(&[]);
    let place = Place::of(&feed);
    let serial = place.run_on("feed", "folder.db", &["--serial"]);
    assert_eq!(serial.code, Some(0), "{}", serial.stderr);
    let inside =
        |prefix: &str| feed.iter().map(|(name, text)| (format!("{prefix}{name}"), text.clone())).collect::<Vec<_>>();
    let mut with_notes = inside("city/");
    with_notes.extend(feed.iter().map(|(name, _)| (format!("__MACOSX/city/._{name}"), b"notes".to_vec())));
    with_notes.extend(feed.iter().map(|(name, _)| (format!("__MACOSX/city/{name}"), b"notes".to_vec())));
    for (number, entries) in [inside(""), inside("city/2026/"), with_notes].iter().enumerate() {
        let (zip, database) = (format!("feed{number}.zip"), format!("zip{number}.db"));
        std::fs::write(place.path(&zip), zip_of(entries)).unwrap();
        let outcome = place.run_on(&zip, &database, &["--workers", "2"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        assert!(dump(&place.path(&database)) == dump(&place.path("folder.db")), "{zip}");
    }
}
