//! Finds where the rows of a table begin, in one pass over the file, before any row is parsed.
//!
//! A line end inside quotes does not end a row, and only a reader of the whole file can know which line ends are inside quotes.
//! So this pass cuts the file into the ranges for the pieces. It also warms the file cache. It refuses everything about which
//! two readers could disagree where a row ends: misplaced quotation marks, a carriage return alone, and a row without end.
//!
//! Invariant: the memory in use is one buffer and one row, whatever the size of the file.

use crate::problem::{Problem, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest row that is accepted. A quotation mark that is never closed would make the rest of the file one row. The limit
/// turns that into an error that names the line, and keeps every process small.
const LONGEST_ROW_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A table cut into ranges of whole rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first byte of each range and the byte after its last, in file order, without gaps. No range is empty.
    pub ranges: Vec<(u64, u64)>,
    /// The number of rows, without the header and empty lines.
    pub rows: u64,
}

/// Cuts a table's rows into ranges. `split` gets the number of bytes after the header and returns the wanted beginnings of the
/// ranges. Each range then begins at the next row.
pub fn cut<R>(table: &Path, split: impl FnOnce(usize) -> R) -> Result<Layout>
where
    R: Iterator<Item = (usize, usize)>,
{
    let mut spans = Spans::open(table)?;
    if !spans.advance()? {
        return Err(Problem::in_line(table, 1, "there is no line with the names of the columns"));
    }
    let first_row = spans.end;
    let file_bytes = spans.file.get_ref().metadata().map_err(|error| Problem::with_path("read", table, error))?.len();
    let row_bytes = usize::try_from(file_bytes.saturating_sub(first_row)).map_err(Problem::new)?;
    let mut wished = split(row_bytes).map(|(start, _)| first_row + start as u64).peekable();

    let mut layout = Layout { ranges: Vec::new(), rows: 0 };
    while spans.advance()? {
        layout.rows += 1;
        let mut begins = layout.ranges.is_empty();
        while wished.next_if(|wish| *wish <= spans.start).is_some() {
            begins = true;
        }
        match layout.ranges.last_mut() {
            Some(last) if !begins => last.1 = spans.end,
            _ => layout.ranges.push((spans.start, spans.end)),
        }
    }
    // Each range begins with a row, so empty lines before it would leave a gap. They become part of the range before.
    for next in 1..layout.ranges.len() {
        layout.ranges[next - 1].1 = layout.ranges[next].0;
    }
    Ok(layout)
}

/// The line, counted from 1, of the row at `offset`, or of the next row after empty lines. It reads the file from its start,
/// which is necessary only for a broken row.
pub fn line_at(table: &Path, offset: u64) -> std::io::Result<u64> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(table)?);
    let mut line = 1;
    let mut position = 0;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(line);
        }
        for byte in buffer {
            if position >= offset && !matches!(byte, b'\r' | b'\n') {
                return Ok(line);
            }
            line += u64::from(*byte == b'\n');
            position += 1;
        }
        let read = buffer.len();
        file.consume(read);
    }
}

/// The positions of the rows of a file, one after the other, without empty lines.
struct Spans {
    file: BufReader<File>,
    path: PathBuf,
    /// The bytes of the last physical line that was read.
    line: Vec<u8>,
    /// The number of physical lines that were read.
    lines: u64,
    start: u64,
    end: u64,
}

impl Spans {
    fn open(table: &Path) -> Result<Spans> {
        let file = File::open(table).map_err(|error| Problem::with_path("open", table, error))?;
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Spans { file, path: table.to_owned(), line: Vec::new(), lines: 0, start: 0, end: 0 })
    }

    /// Moves `start` and `end` to the next row. False at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        let mut first_line = 0;
        let mut inside_quotes = false;
        loop {
            self.line.clear();
            let left =
                if inside_quotes { LONGEST_ROW_BYTES.saturating_sub(self.end - self.start) } else { LONGEST_ROW_BYTES };
            let read = (&mut self.file).take(left).read_until(b'\n', &mut self.line);
            let read = read.map_err(|error| Problem::with_path("read", &self.path, error))? as u64;
            self.lines += 1;
            if !inside_quotes {
                self.start = self.end;
                first_line = self.lines;
            }
            self.end += read;

            let problem = |what: &str| Problem::in_line(&self.path, first_line, what);
            if read == left && !self.line.ends_with(b"\n") {
                return Err(problem("the row is longer than 1 MiB; is a quotation mark not closed?"));
            }
            if read == 0 {
                return if inside_quotes { Err(problem("a quotation mark is not closed")) } else { Ok(false) };
            }
            let line = if self.lines == 1 {
                self.line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.line)
            } else {
                &self.line
            };
            if !inside_quotes && matches!(line, b"\n" | b"\r\n" | b"") {
                continue;
            }
            inside_quotes = ends_inside_quotes(line, inside_quotes).map_err(problem)?;
            if !inside_quotes {
                return Ok(true);
            }
        }
    }
}

/// True if a line ends inside quotes, given whether it begins inside them. An error names what is wrong with its quotes.
fn ends_inside_quotes(line: &[u8], began_inside: bool) -> std::result::Result<bool, &'static str> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    // Nearly every line of a timetable has no quotes, and costs only these two searches.
    if !text.contains(&b'"') {
        return if !began_inside && text.contains(&b'\r') { Err(LONE_RETURN) } else { Ok(began_inside) };
    }
    let mut inside = began_inside;
    for (place, byte) in text.iter().enumerate() {
        let before = place.checked_sub(1).map(|place| text[place]);
        let after = text.get(place + 1);
        match byte {
            b'"' if inside && !matches!(after, None | Some(b',' | b'"')) => {
                return Err("text follows a closing quotation mark; a quotation mark inside quotes is written twice");
            }
            // The second of two quotation marks opens the quotes again, so the text stays inside them.
            b'"' if !inside && !matches!(before, None | Some(b',' | b'"')) => {
                return Err("a quotation mark stands in a value that is not in quotes");
            }
            b'"' => inside = !inside,
            b'\r' if !inside => return Err(LONE_RETURN),
            _ => {}
        }
    }
    Ok(inside)
}

const LONE_RETURN: &str = "a carriage return stands without a line feed; lines end in LF or CRLF";

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_text(text: &str, starts: &[usize]) -> Result<(Vec<String>, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table.txt");
        std::fs::write(&table, text).unwrap();
        let layout = cut(&table, |_| starts.iter().map(|start| (*start, 0)).collect::<Vec<_>>().into_iter())?;
        let part = |&(start, end): &(u64, u64)| text[start as usize..end as usize].to_owned();
        Ok((layout.ranges.iter().map(part).collect(), layout.rows))
    }

    #[test]
    fn each_range_begins_at_the_first_row_that_begins_at_its_wish_or_later() {
        let rows = [
            ("a\n1\n2\n3\n", &[0, 2, 4][..], &["1\n", "2\n", "3\n"][..], 3),
            ("a\n1\n2\n3\n", &[0, 1], &["1\n", "2\n3\n"], 3),
            ("a\n1\n2\n3", &[0, 5], &["1\n2\n3"], 3),
            ("a\n1\n2\n3", &[], &["1\n2\n3"], 3),
            ("a\n111\n222\n", &[0, 1, 2, 3], &["111\n", "222\n"], 2),
            ("a\r\n1\r\n2\r\n", &[0, 3], &["1\r\n", "2\r\n"], 2),
            ("\u{feff}\n\na\n\n1\n\n\r\n2\n\n", &[0, 2], &["1\n\n\r\n", "2\n"], 2),
            ("a\n\"1\n\n1\"\n2\n", &[0, 2], &["\"1\n\n1\"\n", "2\n"], 2),
            ("a\n\"1\"\"\n,\"\"\"\n2\n", &[0, 2], &["\"1\"\"\n,\"\"\"\n", "2\n"], 2),
            ("a,b\n\"\",\"\"\n2\n", &[0, 2], &["\"\",\"\"\n", "2\n"], 2),
            ("a\n", &[], &[], 0),
            ("a", &[], &[], 0),
        ];
        for (text, starts, ranges, count) in rows {
            assert_eq!(
                cut_text(text, starts).unwrap(),
                (ranges.iter().map(|range| range.to_string()).collect(), count),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused_with_its_line() {
        let long = format!("a\n\"{}", "1\n".repeat(600_000));
        let wide = format!("a\n1\n{}", "1".repeat(1_100_000));
        let rows = [
            ("", "table.txt line 1: there is no line with the names"),
            ("\n\r\n", "table.txt line 1: there is no line with the names"),
            ("a\n1\n2\"3\"\n", "table.txt line 3: a quotation mark stands in a value"),
            ("a\n1\n \"3\"\n", "table.txt line 3: a quotation mark stands in a value"),
            ("a\n\"1\n2\"3\n", "table.txt line 2: text follows a closing quotation mark"),
            ("a\n\"1\n2\n", "table.txt line 2: a quotation mark is not closed"),
            ("a\n1\r2\r", "table.txt line 2: a carriage return stands"),
            ("a\n1\n\"1\",\r2\n", "table.txt line 3: a carriage return stands"),
            (&long, "table.txt line 2: the row is longer than 1 MiB"),
            (&wide, "table.txt line 3: the row is longer than 1 MiB"),
        ];
        for (text, beginning) in rows {
            let message = cut_text(text, &[]).unwrap_err().to_string();
            assert!(message.starts_with(beginning), "{message:?} should start with {beginning:?}");
        }
    }

    #[test]
    fn the_line_of_a_row_is_counted_past_empty_lines_and_line_ends_in_quotes() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table.txt");
        std::fs::write(&table, "a\n\"1\n1\"\r\n\r\n\n2\n").unwrap();
        for (offset, line) in [(0, 1), (2, 2), (9, 6), (12, 6)] {
            assert_eq!(line_at(&table, offset).unwrap(), line, "offset {offset}");
        }
    }
}
