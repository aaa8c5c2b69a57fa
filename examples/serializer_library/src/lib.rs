//! A library that serialises a long list in parallel inside somebody else's program.
//!
//! It knows nothing of `main` and needs no set-up call. If there are no workers (no pool can run, the program is a worker
//! itself, or a limit that it has set says that the machine is busy), the same function does the work in this process, with the same output.

use multicore::{Sink, Task};
use serde::Serialize;
use std::io::{self, Write};

/// A list of which each process of the program can load a part, for example from a file or a database.
pub trait Rows: 'static {
    /// An element of the list.
    type Row: Serialize;

    /// Loads rows `start` to `end`.
    fn load(start: usize, end: usize) -> Vec<Self::Row>;
}

/// The number of rows in a piece: enough that the cost of sending it to a worker is negligible.
const ROWS_A_PIECE: usize = 2000;

/// Writes `len` rows as one JSON array and returns its length in bytes.
///
/// # Errors
/// An error of the writer or of serialisation. A lost worker costs only time: its rows are serialised in this process.
pub fn write_json<L: Rows>(len: usize, writer: &mut impl Write) -> io::Result<u64> {
    let ranges = multicore::ranges(len).with_max_len(ROWS_A_PIECE);
    let task = if len > ROWS_A_PIECE { Task::<Vec<u8>>::new() } else { None };
    writer.write_all(b"[")?;
    let mut written = 2;
    let mut write = |json: &[u8]| {
        written += json.len() as u64;
        writer.write_all(json)
    };
    match task {
        Some(task) => {
            let task = task.name("serializer_library::piece");
            task.run_all_into(write_rows::<L>, ranges.clone());
            // Whole pieces: the rows of one that fails are serialised here, so nothing of it may be written.
            for (json, (start, end)) in task.iter().zip(ranges) {
                match json {
                    Ok(json) => write(&json)?,
                    Err(_) => write(&json_of::<L>(start, end)?)?,
                }
            }
        }
        None => ranges.into_iter().try_for_each(|(start, end)| write(&json_of::<L>(start, end)?))?,
    }
    writer.write_all(b"]")?;
    Ok(written)
}

/// The piece: it loads its own part of the list.
fn write_rows<L: Rows>(start: usize, end: usize, sink: &mut Sink) -> io::Result<()> {
    write_json_of::<L>(start, end, sink)
}

/// The same in this process.
fn json_of<L: Rows>(start: usize, end: usize) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    write_json_of::<L>(start, end, &mut json)?;
    Ok(json)
}

/// Some rows as JSON, with a comma before each row except the first one of the list.
fn write_json_of<L: Rows>(start: usize, end: usize, writer: &mut impl Write) -> io::Result<()> {
    for (number, row) in (start..end).zip(L::load(start, end)) {
        if number > 0 {
            writer.write_all(b",")?;
        }
        serde_json::to_writer(&mut *writer, &row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl Rows for Numbers {
        type Row = (usize, String);

        fn load(start: usize, end: usize) -> Vec<Self::Row> {
            (start..end).map(|number| (number, format!("\"{number}\""))).collect()
        }
    }

    #[test]
    fn the_output_is_the_list_as_json() {
        for len in [0, 1, 2, 1999, 2000, 2001, 25_000] {
            let mut json = Vec::new();
            let written = write_json::<Numbers>(len, &mut json).unwrap();
            assert_eq!(written, json.len() as u64, "{len} rows");
            assert_eq!(json, serde_json::to_vec(&Numbers::load(0, len)).unwrap(), "{len} rows");
        }
    }
}
