//! The records, and the pieces that write them as JSON.
//!
//! Invariant: the pieces of a list, one after the other, are its JSON, in whatever process each was written.

use serde::Serialize;
use std::io::{self, Write};

/// The number of records in a piece. One takes a worker about half a millisecond: enough that handing it out does not count, and
/// little that is done again when a worker is lost, or that another request waits for.
pub const RECORDS_A_PIECE: usize = 1000;

/// The longest list that a client gets: a tenth of the pieces that may wait by default, so that a client which does not read fills a small
/// part of the gate, and not all of it.
pub const MAX_COUNT: usize = 200_000;

/// Enough for a record as JSON, with what separates it from the next.
pub const RECORD_BYTES: usize = 256;

/// A list that a client asked for: its length, and the number of a record that cannot be read, to see how an error ends.
pub type List = (usize, Option<usize>);

/// A customer, as a database would give it.
#[derive(Serialize)]
struct Record {
    id: usize,
    name: String,
    email: String,
    city: &'static str,
    balance: f64,
    active: bool,
    tags: [&'static str; 2],
    last_orders: [u32; 4],
}

const NAMES: [&str; 8] = ["Ada", "Bjarne", "Chen", "Dolores", "Émile", "Farida", "Grace", "Hedy"];
const CITIES: [&str; 5] = ["Vienna", "Zürich", "Lagos", "Osaka", "São Paulo"];
const TAGS: [&str; 4] = ["new", "wholesale", "\"quoted\"", "late payer"];

/// Reads a record. The numbers in it are made of its own, so that any process makes the same one.
fn record(id: usize) -> Record {
    let mixed = (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = |shift: u32, end: usize| (mixed >> shift) as usize % end;
    let name = format!("{} {}", NAMES[part(8, NAMES.len())], part(12, 100_000));
    Record {
        id,
        email: format!("customer{id}@example.com"),
        name,
        city: CITIES[part(30, CITIES.len())],
        balance: part(20, 10_000_000) as f64 / 100.0,
        active: part(40, 3) > 0,
        tags: [TAGS[part(41, TAGS.len())], TAGS[part(43, TAGS.len())]],
        last_orders: [16, 24, 32, 40].map(|shift| part(shift, 1_000_000) as u32),
    }
}

/// Cuts a list into the ranges of its pieces. An empty one has a piece, too.
pub fn ranges(count: usize) -> impl ExactSizeIterator<Item = (usize, usize)> {
    let pieces = count.div_ceil(RECORDS_A_PIECE).max(1);
    (0..pieces).map(move |piece| (piece * RECORDS_A_PIECE, ((piece + 1) * RECORDS_A_PIECE).min(count)))
}

/// Writes a piece of a list as JSON: the first one with the bracket that opens it, the last one with the bracket that closes it.
pub fn write(list: List, (start, end): (usize, usize), writer: &mut impl Write) -> io::Result<()> {
    let (count, unreadable) = list;
    if start == 0 {
        writer.write_all(b"[")?;
    }
    for id in start..end {
        if Some(id) == unreadable {
            return Err(io::Error::other(format!("record {id} cannot be read")));
        }
        if id > 0 {
            writer.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut *writer, &record(id))?;
    }
    if end == count {
        writer.write_all(b"]")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_list_are_its_json() {
        for count in [0, 1, RECORDS_A_PIECE - 1, RECORDS_A_PIECE, RECORDS_A_PIECE + 1, 3 * RECORDS_A_PIECE] {
            let mut json = Vec::new();
            ranges(count).for_each(|range| write((count, None), range, &mut json).unwrap());
            let list: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
            assert!(list.iter().enumerate().all(|(id, record)| record["id"] == id), "{count} records");
            assert_eq!(list.len(), count);
            assert!(json.len() <= 2 + count * RECORD_BYTES, "{} bytes for {count} records", json.len());
        }
    }
}
