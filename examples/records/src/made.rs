//! A file to try it with. It is the same on every machine: all numbers come from a small generator with a fixed seed.

use crate::problem::{Problem, Result};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const HEADSIGNS: [&str; 8] = [
    "Main St",
    "\"Depot, Gate 2\"",
    "Kärntner Straße",
    "Rue de l’Église",
    "\"opposite \"\"The Oak\"\"\"",
    "",
    "Náměstí Míru",
    "Rynek Główny",
];

/// The columns; the last one is not read.
const COLUMNS: &str =
    "trip_id,arrival_time,departure_time,stop_id,stop_sequence,stop_headsign,shape_dist_traveled,timepoint";

/// Writes a table of stop times with this number of records.
///
/// # Errors
/// The file cannot be written.
pub fn make_file(path: &Path, records: u64) -> Result<()> {
    write(path, records).map_err(|error| Problem::system("write", path, &error))
}

fn write(path: &Path, records: u64) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut chance = Chance(20_240_229);
    writeln!(file, "{COLUMNS}")?;
    let (mut trip, mut stop, mut stops, mut time, mut metres) = (0, 0, 0, 0, 0);
    let mut headsign = HEADSIGNS[0];
    for _ in 0..records {
        if stop == stops {
            (trip, stop, stops) = (trip + 1, 0, 20 + chance.below(21));
            (time, metres) = (4 * 3600 + chance.below(20 * 3600), 0);
            headsign = HEADSIGNS[chance.below(8) as usize];
        }
        stop += 1;
        time += 30 + chance.below(300);
        metres += 150 + chance.below(2000);
        let (hours, minutes, seconds) = (time / 3600, time / 60 % 60, time % 60);
        let (leaves, number) = (seconds + chance.below(60 - seconds), chance.below(20_000));
        write!(
            file,
            "T{trip:07},{hours:02}:{minutes:02}:{seconds:02},{hours:02}:{minutes:02}:{leaves:02},S{number:05},"
        )?;
        writeln!(file, "{stop},{headsign},{}.{:03},1", metres / 1000, metres % 1000)?;
    }
    file.flush()
}

/// Numbers that look random: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
