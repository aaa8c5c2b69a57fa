//! Cuts a file of the feed into pieces of whole records, in one pass, before any value is read.
//!
//! A line end inside quotes ends no record, and only a reader of the whole file knows which ones are inside quotes. So this pass
//! finds where records end, counts them and their lines, and takes the checksum by which a feed is recognised.
//!
//! Invariant: pieces depend on the file alone, not on the number of workers, so a later run cuts the same ones.

use crate::problem::{Problem, Result};
use crate::records::{Fault, Record, lines_in};
use memchr::memchr;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The length from which on a piece ends with the next record. Its rows take about as much again on their way to the writer: so
/// a worker stays small, and a core's cache holds all.
const PIECE_BYTES: u64 = 512 << 10;
/// The longest record that is accepted. A quotation mark that is not closed would make the rest of the file one record.
const LONGEST_RECORD_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 2 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A part of a file that has whole records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: u64,
    pub end: u64,
    /// The number of its first record, from 1.
    pub row: u64,
    /// The line at its start, from 1.
    pub line: u64,
    /// The checksum of its bytes. What reads it later can tell that the file has been changed.
    pub crc32: u32,
}

/// What the pass found.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The names of the columns. Empty if the file has no line with anything in it.
    pub header: Vec<String>,
    /// In file order, without gaps.
    pub spans: Vec<Span>,
    /// The number of records behind the header, without blank lines.
    pub rows: u64,
    pub bytes: u64,
    pub crc32: u32,
}

/// Reads the whole file. `name` is for messages.
pub fn scan(file: &File, name: &str) -> Result<Layout> {
    let mut scan = Scan::new(name);
    let mut checksum = crc32fast::Hasher::new();
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut is_whole = false;
    while !is_whole {
        let kept = buffer.len();
        buffer.resize(BUFFER_BYTES, 0);
        let read = read_at(file, &mut buffer[kept..], scan.position + kept as u64)
            .map_err(|error| Problem::new(format_args!("cannot read {name}: {error}")))?;
        is_whole = read < BUFFER_BYTES - kept;
        buffer.truncate(kept + read);
        checksum.update(&buffer[kept..]);
        let used = scan.take(&buffer, is_whole)?;
        buffer.drain(..used);
    }
    scan.end_span();
    Ok(Layout { bytes: scan.position, crc32: checksum.finalize(), ..scan.layout })
}

/// Reads a part of a file, which must have the bytes that the pass found there. `name` is for messages.
pub fn read_span(file: &File, span: &Span, text: &mut Vec<u8>, name: &str) -> Result<()> {
    let bytes = usize::try_from(span.end - span.start).map_err(Problem::new)?;
    text.resize(bytes, 0);
    let read = read_at(file, text, span.start)
        .map_err(|error| Problem::new(format_args!("cannot read {name} at byte {}: {error}", span.start)))?;
    match read == bytes && crc32fast::hash(text) == span.crc32 {
        true => Ok(()),
        false => Err(changed(name)),
    }
}

/// The problem of a file that is another one than at the begin. No row of the other one is in the database.
pub fn changed(name: &str) -> Problem {
    Problem::new(format_args!(
        "{name} was changed while it was imported; bring the old one back, or remove the database and its journal, and start again"
    ))
}

/// Reads at a place until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], place: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], place + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Scan<'name> {
    name: &'name str,
    /// Of the next record in the file.
    position: u64,
    line: u64,
    layout: Layout,
    /// Of the last span, as far as it was read.
    checksum: crc32fast::Hasher,
}

impl<'name> Scan<'name> {
    fn new(name: &'name str) -> Scan<'name> {
        let layout = Layout { header: Vec::new(), spans: Vec::new(), rows: 0, bytes: 0, crc32: 0 };
        Scan { name, position: 0, line: 1, layout, checksum: crc32fast::Hasher::new() }
    }

    /// Takes the whole records of a part of the file, and tells their length. The last part is taken to its end.
    fn take(&mut self, text: &[u8], is_last: bool) -> Result<usize> {
        let mut at = 0;
        if self.position == 0 && text.starts_with(BYTE_ORDER_MARK) {
            at = BYTE_ORDER_MARK.len();
            self.position = at as u64;
        }
        let mut quote = memchr(b'"', text).unwrap_or(text.len());
        let mut record = Record::default();
        // From here on, the text is not yet in the checksum of its span.
        let mut unsummed = at;
        while at < text.len() {
            let line_end = memchr(b'\n', &text[at..]).map(|length| at + length + 1);
            if quote < at {
                quote = memchr(b'"', &text[at..]).map_or(text.len(), |length| at + length);
            }
            // Nearly every record is a line without quotes, and has no value that is looked at here.
            let (end, is_blank, lines) = match line_end {
                Some(end) if quote >= end && !self.layout.header.is_empty() => {
                    (end, text[at..end].trim_ascii().is_empty(), 1)
                }
                _ => {
                    let end = record.read(text, at);
                    if !is_last && !end.has_line_end {
                        break;
                    }
                    if record.fault == Some(Fault::NotClosed) {
                        return Err(self.not_closed());
                    }
                    (end.at, record.is_blank(), lines_in(&text[at..end.at]))
                }
            };
            if !is_blank && self.layout.header.is_empty() {
                self.layout.header = self.header(&record)?;
            } else {
                self.layout.rows += u64::from(!is_blank);
                if self.begins_span(is_blank) {
                    self.sum(&text[unsummed..at]);
                    unsummed = at;
                    self.begin_span(is_blank);
                }
                if let Some(last) = self.layout.spans.last_mut() {
                    last.end += (end - at) as u64;
                }
            }
            self.line += lines;
            self.position += (end - at) as u64;
            at = end;
        }
        self.sum(&text[unsummed..at]);
        if text.len() - at > LONGEST_RECORD_BYTES {
            return Err(self.too_long(&record));
        }
        Ok(at)
    }

    /// True if the record at the position is not of the last span. Blank lines begin none before the first record.
    fn begins_span(&self, is_blank: bool) -> bool {
        self.layout.spans.last().map_or(!is_blank, |last| last.end - last.start >= PIECE_BYTES)
    }

    fn begin_span(&mut self, is_blank: bool) {
        self.end_span();
        let (start, line) = (self.position, self.line);
        // A span of blank lines has no record; the number is that of the next one.
        let row = self.layout.rows + u64::from(is_blank);
        self.layout.spans.push(Span { start, end: start, row, line, crc32: 0 });
    }

    fn end_span(&mut self) {
        let checksum = std::mem::take(&mut self.checksum);
        if let Some(last) = self.layout.spans.last_mut() {
            last.crc32 = checksum.finalize();
        }
    }

    fn sum(&mut self, text: &[u8]) {
        if !self.layout.spans.is_empty() {
            self.checksum.update(text);
        }
    }

    fn header(&self, record: &Record<'_>) -> Result<Vec<String>> {
        let names: Vec<_> = record.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        // All records of such a file would be taken for names of columns, and the table would be empty.
        match names.iter().any(|name| name.contains('\r')) {
            false => Ok(names),
            true => Err(Problem::new(format_args!(
                "{}:{}: a carriage return stands inside the name of a column; end the lines with a line feed",
                self.name, self.line
            ))),
        }
    }

    /// The problem of a record that is longer than any that is accepted.
    fn too_long(&self, record: &Record<'_>) -> Problem {
        if record.fault == Some(Fault::NotClosed) {
            return self.not_closed();
        }
        let (name, line) = (self.name, self.line);
        Problem::new(format_args!("{name}:{line}: the line is longer than {LONGEST_RECORD_BYTES} bytes"))
    }

    fn not_closed(&self) -> Problem {
        let (name, line) = (self.name, self.line);
        Problem::new(format_args!("{name}:{line}: a quotation mark is not closed, so the rows cannot be told apart"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn scan_text(text: &[u8]) -> Result<Layout> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        scan(&file, "stops.txt")
    }

    #[test]
    fn records_are_counted_and_blank_lines_are_not() {
        for (text, header, rows, span) in [
            ("a,b\n1,2\n3,4\n", &["a", "b"][..], 2, Some((4, 12, 2))),
            ("a,b\r\n1,2\r\n3,4", &["a", "b"], 2, Some((5, 13, 2))),
            ("\u{feff}a\n1\n", &["a"], 1, Some((5, 7, 2))),
            ("\n \t\r\n\" a\",b \n\n1\n\n \n2\n\n", &["a", "b"], 2, Some((14, 22, 5))),
            ("a\n\"1\n\n1\"\n2\n", &["a"], 2, Some((2, 11, 2))),
            ("a\n1\"\n2\n", &["a"], 2, Some((2, 7, 2))),
            ("a", &["a"], 0, None),
        ] {
            let layout = scan_text(text.as_bytes()).unwrap();
            assert_eq!(
                (&layout.header[..], layout.rows),
                (&header.iter().map(|name| name.to_string()).collect::<Vec<_>>()[..], rows),
                "{text:?}"
            );
            let spans: Vec<_> = layout.spans.iter().map(|span| (span.start, span.end, span.line)).collect();
            assert_eq!(spans, span.into_iter().collect::<Vec<_>>(), "{text:?}");
            assert_eq!((layout.bytes, layout.crc32), (text.len() as u64, crc32fast::hash(text.as_bytes())), "{text:?}");
        }
    }

    #[test]
    fn pieces_are_cut_at_records_also_where_these_cross_a_buffer() {
        let mut text = b"a\n".to_vec();
        for number in 0..60_000 {
            text.extend(match number % 3 {
                0 => format!("{number},\"{}\n\"\"\n\"\n", "x".repeat(number % 200)).into_bytes(),
                1 => format!("{number}\n").into_bytes(),
                _ => format!("\n{number},{}\r\n", "y".repeat(number % 70)).into_bytes(),
            });
        }
        assert!(text.len() > BUFFER_BYTES);
        let layout = scan_text(&text).unwrap();
        assert_eq!(layout.rows, 60_000);
        assert!(layout.spans.len() > 5);
        assert_eq!((layout.spans[0].start, layout.spans.last().unwrap().end), (2, text.len() as u64));
        for (before, span) in layout.spans.iter().zip(&layout.spans[1..]) {
            assert_eq!(before.end, span.start);
        }
        let mut record = Record::default();
        for span in &layout.spans {
            record.read(&text, span.start as usize);
            let number = String::from_utf8(record.values[0].to_vec()).unwrap();
            assert_eq!(number, (span.row - 1).to_string());
            assert_eq!(span.line, lines_in(&text[..span.start as usize]) + 1);
        }
    }

    #[test]
    fn a_span_is_read_only_as_it_was() {
        let mut text = b"a\n".to_vec();
        while text.len() < BUFFER_BYTES + 1000 {
            text.extend_from_slice(b"12345678\n\n");
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&text).unwrap();
        let layout = scan(&file, "stops.txt").unwrap();
        let mut read = Vec::new();
        for span in &layout.spans {
            read_span(&file, span, &mut read, "stops.txt").unwrap();
            assert_eq!(read, text[span.start as usize..span.end as usize]);
        }
        let last = layout.spans.last().unwrap();
        file.write_all_at(b"9", last.start).unwrap();
        assert_eq!(read_span(&file, last, &mut read, "stops.txt"), Err(changed("stops.txt")));
        read_span(&file, &layout.spans[0], &mut read, "stops.txt").unwrap();
        file.set_len(last.start).unwrap();
        assert_eq!(read_span(&file, last, &mut read, "stops.txt"), Err(changed("stops.txt")));
    }

    /// Blank lines went to the last piece, which had no limit then.
    #[test]
    fn blank_lines_are_cut_into_pieces_too() {
        let text = format!("a\n\n1\n{}2\n", "\n".repeat(3 * PIECE_BYTES as usize));
        let layout = scan_text(text.as_bytes()).unwrap();
        assert!(layout.spans.iter().all(|span| span.end - span.start <= PIECE_BYTES + 2), "{:?}", layout.spans);
        assert_eq!(layout.spans.iter().map(|span| span.row).collect::<Vec<_>>(), [1, 2, 2, 2]);
        assert_eq!((layout.rows, layout.spans[3].end), (2, text.len() as u64));
    }

    #[test]
    fn a_file_whose_rows_cannot_be_told_is_refused_with_its_line() {
        let long = format!("a\n1\n\"{}", "2\n".repeat(2_000_000));
        let wide = format!("a\n{}\n", "1\r".repeat(2_000_000));
        for (text, message) in [
            (
                "a,b\r1,2\r3,4\r",
                "stops.txt:1: a carriage return stands inside the name of a column; end the lines with a line feed",
            ),
            (&wide, "stops.txt:2: the line is longer than 1048576 bytes"),
            ("a\n1\n\"2\n", "stops.txt:3: a quotation mark is not closed, so the rows cannot be told apart"),
            (&long, "stops.txt:3: a quotation mark is not closed, so the rows cannot be told apart"),
        ] {
            assert_eq!(scan_text(text.as_bytes()).unwrap_err().to_string(), message);
        }
    }
}
