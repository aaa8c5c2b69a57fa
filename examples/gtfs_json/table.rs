//! A part of a table, read row by row with the `csv` crate, and the messages for broken rows.
//!
//! A reader may begin in the middle of a file, but only at the beginning of a row. `rows::cut` finds those positions.

use crate::problem::{Problem, Result};
use crate::rows;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

pub use csv::StringRecord as Row;

const BUFFER_BYTES: usize = 64 << 10;

pub struct Table {
    csv: csv::Reader<Take<File>>,
    path: PathBuf,
    start: u64,
    /// The names of the columns, if the reader began with them.
    columns: Row,
}

impl Table {
    /// Opens a whole table and reads the names of its columns.
    pub fn open(path: &Path) -> Result<Table> {
        let mut table = Table::open_range(path, 0, u64::MAX)?;
        let mut columns = Row::new();
        if !table.read(&mut columns)? {
            return Err(Problem::in_line(path, 1, "there is no line with the names of the columns"));
        }
        for (place, name) in columns.iter().enumerate() {
            if name.is_empty() {
                return Err(table.problem(&columns, format_args!("column {} has no name", place + 1)));
            }
            if columns.iter().take(place).any(|other| other == name) {
                return Err(table.problem(&columns, format_args!("there are two columns {name:?}")));
            }
        }
        table.columns = columns;
        Ok(table)
    }

    /// Opens the rows from byte `start` to byte `end`.
    pub fn open_range(path: &Path, start: u64, end: u64) -> Result<Table> {
        let part = |start| -> std::io::Result<Take<File>> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(start))?;
            Ok(file.take(end.saturating_sub(start)))
        };
        let file = part(start).map_err(|error| Problem::with_path("open", path, error))?;
        let mut builder = csv::ReaderBuilder::new();
        // Flexible: the number of values is checked where the rows are read, so that the message names the line.
        let csv = builder.has_headers(false).flexible(true).buffer_capacity(BUFFER_BYTES).from_reader(file);
        Ok(Table { csv, path: path.to_owned(), start, columns: Row::new() })
    }

    pub fn columns(&self) -> &Row {
        &self.columns
    }

    /// The position of a column, if the table has it.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The position of a column that a feed must have.
    pub fn required_column(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| self.problem(&self.columns, format_args!("there is no column {name:?}")))
    }

    /// Reads the next row into `row`. False at the end.
    pub fn read(&mut self, row: &mut Row) -> Result<bool> {
        self.csv.read_record(row).map_err(|error| match error.kind() {
            csv::ErrorKind::Utf8 { pos: Some(position), .. } => {
                self.problem_at(position.byte(), "the text is not UTF-8")
            }
            _ => Problem::with_path("read", &self.path, error),
        })
    }

    /// Reads the next row of a table that was opened as a whole. A row with more or fewer values than columns is broken.
    pub fn read_whole(&mut self, row: &mut Row) -> Result<bool> {
        if !self.read(row)? {
            return Ok(false);
        }
        self.check_length(row, self.columns.len())?;
        Ok(true)
    }

    #[inline]
    pub fn check_length(&self, row: &Row, columns: usize) -> Result<()> {
        if row.len() == columns {
            return Ok(());
        }
        Err(self.problem(row, format_args!("{} values where there are {columns} columns", row.len())))
    }

    /// A problem with a row that this table has read.
    #[cold]
    pub fn problem(&self, row: &Row, what: impl std::fmt::Display) -> Problem {
        self.problem_at(row.position().map_or(0, csv::Position::byte), what)
    }

    fn problem_at(&self, byte: u64, what: impl std::fmt::Display) -> Problem {
        match rows::line_at(&self.path, self.start + byte) {
            Ok(line) => Problem::in_line(&self.path, line, what),
            Err(error) => Problem::with_path("read", &self.path, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], start: u64) -> Result<Vec<Vec<String>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.txt");
        std::fs::write(&path, bytes).unwrap();
        let mut table = if start == 0 { Table::open(&path)? } else { Table::open_range(&path, start, u64::MAX)? };
        let mut rows = Vec::new();
        let mut row = Row::new();
        while table.read(&mut row)? {
            table.check_length(&row, 2)?;
            rows.push(row.iter().map(str::to_owned).collect());
        }
        Ok(rows)
    }

    #[test]
    fn rows_are_read_as_the_gtfs_reference_has_them() {
        let rows: [(&[u8], u64, &[[&str; 2]]); 7] = [
            (b"a,b\n1,2\n", 0, &[["1", "2"]]),
            (b"a,b\r\n1,2\r\n3,4", 0, &[["1", "2"], ["3", "4"]]),
            (b"\xef\xbb\xbfa,b\n\n\r\n1,2\n\n", 0, &[["1", "2"]]),
            (b"\"a\",b\n\"1\"\"\",\"2,\r\n\n\"\n", 0, &[["1\"", "2,\r\n\n"]]),
            (b"a,b\n,\n", 0, &[["", ""]]),
            (b"a,b\n1,2\n3,4\n", 8, &[["3", "4"]]),
            ("a,b\nZürich, x \n".as_bytes(), 0, &[["Zürich", " x "]]),
        ];
        for (bytes, start, expected) in rows {
            assert_eq!(read_all(bytes, start).unwrap(), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_broken_row_is_named_by_file_and_line() {
        let rows: [(&[u8], u64, &str); 8] = [
            (b"", 0, "table.txt line 1: there is no line with the names of the columns"),
            (b"a,\n", 0, "table.txt line 1: column 2 has no name"),
            (b"\na,a\n", 0, "table.txt line 2: there are two columns \"a\""),
            (b"a,b\n1,2\n3\n", 0, "table.txt line 3: 1 values where there are 2 columns"),
            (b"a,b\n1,2\n\"\n\",2\n\n3,4,5\n", 0, "table.txt line 6: 3 values where there are 2 columns"),
            (b"a,b\n1,2\n\"\n\",2\n\n3,4,5\n", 8, "table.txt line 6: 3 values where there are 2 columns"),
            (b"a,b\n1,2\n1,\xff\n", 0, "table.txt line 3: the text is not UTF-8"),
            (b"a,b\n1,2\n\n1,\xff\n", 8, "table.txt line 4: the text is not UTF-8"),
        ];
        for (bytes, start, message) in rows {
            assert_eq!(read_all(bytes, start).unwrap_err().to_string(), message);
        }
    }
}
