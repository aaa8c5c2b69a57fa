//! The tables of GTFS, as its reference has them, in the order in which they are imported: each refers only to those before it,
//! and to itself.
//!
//! Left out are the files of fares in their second version, of areas, networks, booking rules and location groups: few feeds have them. A feed's files
//! and columns that do not stand here are left out of the database, and named.

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Real,
    /// Seconds since the start of the service day.
    Time,
    /// `YYYYMMDD`, as text.
    Date,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// A feed whose file lacks the column is refused.
    pub is_required: bool,
    /// A row without a value is refused.
    pub is_filled: bool,
    /// The tables and columns one of which has the value.
    pub refers: &'static [(&'static str, &'static str)],
}

impl Column {
    const fn required(mut self) -> Column {
        self.is_required = true;
        self
    }

    /// Required, and never empty.
    const fn filled(mut self) -> Column {
        self.is_filled = true;
        self.required()
    }

    const fn of(mut self, refers: &'static [(&'static str, &'static str)]) -> Column {
        self.refers = refers;
        self
    }
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_required: false, is_filled: false, refers: &[] }
}

const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

const fn integer(name: &'static str) -> Column {
    column(name, Kind::Integer)
}

const fn real(name: &'static str) -> Column {
    column(name, Kind::Real)
}

const fn time(name: &'static str) -> Column {
    column(name, Kind::Time)
}

const fn date(name: &'static str) -> Column {
    column(name, Kind::Date)
}

/// What no two rows of a table share.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// Rows that lack one of these values are all different.
    Columns(&'static [&'static str]),
    /// Missing values are equal.
    WithMissing(&'static [&'static str]),
    None,
}

impl Key {
    pub fn columns(&self) -> &'static [&'static str] {
        match self {
            Key::Columns(columns) | Key::WithMissing(columns) => columns,
            Key::None => &[],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Required,
    /// At least one of these files must be there.
    OneOfCalendars,
    Optional,
}

/// A table, and a file of the feed.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub file: &'static str,
    pub presence: Presence,
    pub key: Key,
    pub columns: &'static [Column],
    /// Columns with an index of their own: those by which others look for rows.
    pub indexed: &'static [&'static str],
}

impl Table {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The column that refers to this same table.
    pub fn self_reference(&self) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.refers.iter().any(|(table, _)| *table == self.name))
    }
}

/// The columns of a table that its file has, in the file's order.
pub fn present<'columns>(
    table: &'static Table,
    columns: &'columns [Option<usize>],
) -> impl Iterator<Item = &'static Column> + 'columns {
    columns.iter().flatten().map(|column| &table.columns[*column])
}

pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

pub const STOP_TIMES: &str = "stop_times";
pub const SHAPES: &str = "shapes";
/// Of a shape's point: the metres from the shape's begin.
pub const DISTANCE: &str = "shape_dist_traveled";
/// Columns of `stop_times` that can stand for `stop_id`.
pub const AREAS: [&str; 2] = ["location_group_id", "location_id"];

const AGENCY_ID: &[(&str, &str)] = &[("agency", "agency_id")];
const STOP_ID: &[(&str, &str)] = &[("stops", "stop_id")];
const ROUTE_ID: &[(&str, &str)] = &[("routes", "route_id")];
const SERVICE_ID: &[(&str, &str)] = &[("calendar", "service_id"), ("calendar_dates", "service_id")];
const SHAPE_ID: &[(&str, &str)] = &[("shapes", "shape_id")];
const TRIP_ID: &[(&str, &str)] = &[("trips", "trip_id")];

pub static TABLES: [Table; 17] = [
    Table {
        name: "agency",
        file: "agency.txt",
        presence: Presence::Required,
        key: Key::Columns(&["agency_id"]),
        columns: &[
            text("agency_id"),
            text("agency_name").required(),
            text("agency_url").required(),
            text("agency_timezone").required(),
            text("agency_lang"),
            text("agency_phone"),
            text("agency_fare_url"),
            text("agency_email"),
            integer("cemv_support"),
        ],
        indexed: &[],
    },
    Table {
        name: "levels",
        file: "levels.txt",
        presence: Presence::Optional,
        key: Key::Columns(&["level_id"]),
        columns: &[text("level_id").filled(), real("level_index").required(), text("level_name")],
        indexed: &[],
    },
    Table {
        name: "stops",
        file: "stops.txt",
        presence: Presence::Required,
        key: Key::Columns(&["stop_id"]),
        columns: &[
            text("stop_id").filled(),
            text("stop_code"),
            text("stop_name"),
            text("tts_stop_name"),
            text("stop_desc"),
            real("stop_lat"),
            real("stop_lon"),
            text("zone_id"),
            text("stop_url"),
            integer("location_type"),
            text("parent_station").of(STOP_ID),
            text("stop_timezone"),
            integer("wheelchair_boarding"),
            text("level_id").of(&[("levels", "level_id")]),
            text("platform_code"),
            integer("stop_access"),
        ],
        indexed: &[],
    },
    Table {
        name: "routes",
        file: "routes.txt",
        presence: Presence::Required,
        key: Key::Columns(&["route_id"]),
        columns: &[
            text("route_id").filled(),
            text("agency_id").of(AGENCY_ID),
            text("route_short_name"),
            text("route_long_name"),
            text("route_desc"),
            integer("route_type").required(),
            text("route_url"),
            text("route_color"),
            text("route_text_color"),
            integer("route_sort_order"),
            integer("continuous_pickup"),
            integer("continuous_drop_off"),
            text("network_id"),
            integer("cemv_support"),
        ],
        indexed: &[],
    },
    Table {
        name: "calendar",
        file: "calendar.txt",
        presence: Presence::OneOfCalendars,
        key: Key::Columns(&["service_id"]),
        columns: &[
            text("service_id").filled(),
            integer("monday").required(),
            integer("tuesday").required(),
            integer("wednesday").required(),
            integer("thursday").required(),
            integer("friday").required(),
            integer("saturday").required(),
            integer("sunday").required(),
            date("start_date").required(),
            date("end_date").required(),
        ],
        indexed: &[],
    },
    Table {
        name: "calendar_dates",
        file: "calendar_dates.txt",
        presence: Presence::OneOfCalendars,
        key: Key::Columns(&["service_id", "date"]),
        columns: &[text("service_id").filled(), date("date").filled(), integer("exception_type").required()],
        indexed: &[],
    },
    Table {
        name: SHAPES,
        file: "shapes.txt",
        presence: Presence::Optional,
        key: Key::Columns(&["shape_id", "shape_pt_sequence"]),
        columns: &[
            text("shape_id").filled(),
            real("shape_pt_lat").filled(),
            real("shape_pt_lon").filled(),
            integer("shape_pt_sequence").filled(),
            real(DISTANCE),
        ],
        indexed: &[],
    },
    Table {
        name: "trips",
        file: "trips.txt",
        presence: Presence::Required,
        key: Key::Columns(&["trip_id"]),
        columns: &[
            text("route_id").filled().of(ROUTE_ID),
            text("service_id").filled().of(SERVICE_ID),
            text("trip_id").filled(),
            text("trip_headsign"),
            text("trip_short_name"),
            integer("direction_id"),
            text("block_id"),
            text("shape_id").of(SHAPE_ID),
            integer("wheelchair_accessible"),
            integer("bikes_allowed"),
            integer("cars_allowed"),
        ],
        indexed: &["route_id"],
    },
    Table {
        name: STOP_TIMES,
        file: "stop_times.txt",
        presence: Presence::Required,
        key: Key::Columns(&["trip_id", "stop_sequence"]),
        columns: &[
            text("trip_id").filled().of(TRIP_ID),
            time("arrival_time"),
            time("departure_time"),
            text("stop_id").of(STOP_ID),
            text(AREAS[0]),
            text(AREAS[1]),
            integer("stop_sequence").filled(),
            text("stop_headsign"),
            time("start_pickup_drop_off_window"),
            time("end_pickup_drop_off_window"),
            integer("pickup_type"),
            integer("drop_off_type"),
            integer("continuous_pickup"),
            integer("continuous_drop_off"),
            real(DISTANCE),
            integer("timepoint"),
            text("pickup_booking_rule_id"),
            text("drop_off_booking_rule_id"),
        ],
        indexed: &["stop_id"],
    },
    Table {
        name: "frequencies",
        file: "frequencies.txt",
        presence: Presence::Optional,
        key: Key::Columns(&["trip_id", "start_time"]),
        columns: &[
            text("trip_id").filled().of(TRIP_ID),
            time("start_time").filled(),
            time("end_time").required(),
            integer("headway_secs").required(),
            integer("exact_times"),
        ],
        indexed: &[],
    },
    Table {
        name: "transfers",
        file: "transfers.txt",
        presence: Presence::Optional,
        key: Key::WithMissing(&[
            "from_stop_id",
            "to_stop_id",
            "from_route_id",
            "to_route_id",
            "from_trip_id",
            "to_trip_id",
        ]),
        columns: &[
            text("from_stop_id").of(STOP_ID),
            text("to_stop_id").of(STOP_ID),
            text("from_route_id").of(ROUTE_ID),
            text("to_route_id").of(ROUTE_ID),
            text("from_trip_id").of(TRIP_ID),
            text("to_trip_id").of(TRIP_ID),
            integer("transfer_type"),
            integer("min_transfer_time"),
        ],
        indexed: &[],
    },
    Table {
        name: "pathways",
        file: "pathways.txt",
        presence: Presence::Optional,
        key: Key::Columns(&["pathway_id"]),
        columns: &[
            text("pathway_id").filled(),
            text("from_stop_id").filled().of(STOP_ID),
            text("to_stop_id").filled().of(STOP_ID),
            integer("pathway_mode").required(),
            integer("is_bidirectional").required(),
            real("length"),
            integer("traversal_time"),
            integer("stair_count"),
            real("max_slope"),
            real("min_width"),
            text("signposted_as"),
            text("reversed_signposted_as"),
        ],
        indexed: &[],
    },
    Table {
        name: "fare_attributes",
        file: "fare_attributes.txt",
        presence: Presence::Optional,
        key: Key::Columns(&["fare_id"]),
        columns: &[
            text("fare_id").filled(),
            real("price").required(),
            text("currency_type").required(),
            integer("payment_method").required(),
            integer("transfers"),
            text("agency_id").of(AGENCY_ID),
            integer("transfer_duration"),
        ],
        indexed: &[],
    },
    Table {
        name: "fare_rules",
        file: "fare_rules.txt",
        presence: Presence::Optional,
        key: Key::WithMissing(&["fare_id", "route_id", "origin_id", "destination_id", "contains_id"]),
        columns: &[
            text("fare_id").filled().of(&[("fare_attributes", "fare_id")]),
            text("route_id").of(ROUTE_ID),
            text("origin_id"),
            text("destination_id"),
            text("contains_id"),
        ],
        indexed: &[],
    },
    Table {
        name: "feed_info",
        file: "feed_info.txt",
        presence: Presence::Optional,
        key: Key::None,
        columns: &[
            text("feed_publisher_name").required(),
            text("feed_publisher_url").required(),
            text("feed_lang").required(),
            text("default_lang"),
            date("feed_start_date"),
            date("feed_end_date"),
            text("feed_version"),
            text("feed_contact_email"),
            text("feed_contact_url"),
        ],
        indexed: &[],
    },
    Table {
        name: "translations",
        file: "translations.txt",
        presence: Presence::Optional,
        key: Key::WithMissing(&["table_name", "field_name", "language", "record_id", "record_sub_id", "field_value"]),
        columns: &[
            text("table_name").required(),
            text("field_name").required(),
            text("language").required(),
            text("translation").required(),
            text("record_id"),
            text("record_sub_id"),
            text("field_value"),
        ],
        indexed: &[],
    },
    Table {
        name: "attributions",
        file: "attributions.txt",
        presence: Presence::Optional,
        key: Key::Columns(&["attribution_id"]),
        columns: &[
            text("attribution_id"),
            text("agency_id").of(AGENCY_ID),
            text("route_id").of(ROUTE_ID),
            text("trip_id").of(TRIP_ID),
            text("organization_name").required(),
            integer("is_producer"),
            integer("is_operator"),
            integer("is_authority"),
            text("attribution_url"),
            text("attribution_email"),
            text("attribution_phone"),
        ],
        indexed: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_refers_to_tables_before_it_or_to_itself_by_their_keys() {
        for (place, own) in TABLES.iter().enumerate() {
            assert_eq!(own.file, format!("{}.txt", own.name));
            for column in own.columns {
                for (other, key) in column.refers {
                    let other_place = TABLES.iter().position(|table| table.name == *other).unwrap();
                    assert!(other_place <= place, "{}.{} refers to {other}", own.name, column.name);
                    assert!(TABLES[other_place].column(key).is_some(), "{other} has no {key}");
                }
            }
        }
    }

    #[test]
    fn keys_and_indexes_name_columns_that_are_there() {
        for table in &TABLES {
            for name in table.key.columns().iter().chain(table.indexed) {
                assert!(table.column(name).is_some(), "{} has no {name}", table.name);
            }
        }
    }
}
