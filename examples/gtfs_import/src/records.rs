//! Records of comma-separated values: where each ends, and its values.
//!
//! The reading of one record is the same function for the pass that cuts a file into pieces and for the pieces, so both agree where
//! a record ends. It is not the `csv` crate's, because feeds have blanks around quotation marks, which that crate takes for
//! a part of the value: a comma inside would end it.
//!
//! Invariant: values are trimmed, and borrow from the text unless a quotation mark is written twice in them.

use memchr::memchr;
use std::borrow::Cow;

/// The values of one record.
#[derive(Debug, Default)]
pub struct Record<'text> {
    pub values: Vec<Cow<'text, [u8]>>,
    /// What is wrong with its quotation marks.
    pub fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The text ends inside quotes.
    NotClosed,
    TextAfterQuote,
}

/// Where a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Behind its line end, or at the end of the text.
    pub at: usize,
    /// True if a line end ended it.
    pub has_line_end: bool,
}

impl<'text> Record<'text> {
    /// Reads the record at `start`.
    pub fn read(&mut self, text: &'text [u8], start: usize) -> End {
        self.values.clear();
        self.fault = None;
        let mut at = start;
        loop {
            while let Some(b' ' | b'\t') = text.get(at) {
                at += 1;
            }
            if text.get(at) == Some(&b'"') {
                at = self.read_quoted(text, at + 1);
            } else {
                let end = value_end(text, at);
                self.values.push(Cow::Borrowed(text[at..end].trim_ascii()));
                at = end;
            }
            match text.get(at) {
                Some(b',') => at += 1,
                Some(_line_end) => return End { at: at + 1, has_line_end: true },
                None => return End { at, has_line_end: false },
            }
        }
    }

    /// Reads a value behind its opening quotation mark, and what follows up to the next comma or line end.
    fn read_quoted(&mut self, text: &'text [u8], start: usize) -> usize {
        let mut doubled: Option<Vec<u8>> = None;
        let mut part = start;
        let closing = loop {
            let Some(quote) = memchr(b'"', &text[part..]).map(|offset| part + offset) else {
                self.fault = Some(Fault::NotClosed);
                break text.len();
            };
            if text.get(quote + 1) != Some(&b'"') {
                break quote;
            }
            doubled.get_or_insert_default().extend_from_slice(&text[part..=quote]);
            part = quote + 2;
        };
        let last = &text[part..closing];
        self.values.push(match doubled {
            None => Cow::Borrowed(last.trim_ascii()),
            Some(mut value) => {
                value.extend_from_slice(last);
                Cow::Owned(value.trim_ascii().to_vec())
            }
        });
        let behind = (closing + 1).min(text.len());
        let end = value_end(text, behind);
        if !text[behind..end].trim_ascii().is_empty() {
            self.fault.get_or_insert(Fault::TextAfterQuote);
        }
        end
    }

    /// True for a line that has nothing but blanks, or nothing between quotation marks.
    pub fn is_blank(&self) -> bool {
        self.fault.is_none() && matches!(&self.values[..], [Cow::Borrowed([])])
    }
}

fn value_end(text: &[u8], start: usize) -> usize {
    let length = text[start..].iter().position(|byte| matches!(byte, b',' | b'\n'));
    length.map_or(text.len(), |length| start + length)
}

/// The number of lines that a part of a file has.
pub fn lines_in(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Vec<String>> {
        let (mut at, mut rows, mut record) = (0, Vec::new(), Record::default());
        while at < text.len() {
            at = record.read(text.as_bytes(), at).at;
            let mut row: Vec<_> =
                record.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect();
            row.extend(record.fault.map(|fault| format!("{fault:?}")));
            rows.push(row);
        }
        rows
    }

    #[test]
    fn values_are_trimmed_and_quotes_are_undone() {
        for (text, expected) in [
            ("a,b\n", &[&["a", "b"][..]][..]),
            ("a,b\r\nc", &[&["a", "b"], &["c"]]),
            (" a ,\tb\t\r\n", &[&["a", "b"]]),
            (",\n\n", &[&["", ""], &[""]]),
            ("\"a,\nb\",c\n", &[&["a,\nb", "c"]]),
            ("\"\"\"a\"\" b\"\n", &[&["\"a\" b"]]),
            ("x, \"a, b\" ,c\r\n", &[&["x", "a, b", "c"]]),
            ("\" a \"\r\n", &[&["a"]]),
            ("a\"b\",c\n", &[&["a\"b\"", "c"]]),
            ("\"\",\"\"\n", &[&["", ""]]),
            ("\"a\"b,c\nd\n", &[&["a", "c", "TextAfterQuote"], &["d"]]),
            ("a,\"b\nc\n", &[&["a", "b\nc", "NotClosed"]]),
            ("a,\"", &[&["a", "", "NotClosed"]]),
        ] {
            assert_eq!(all(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_blank_line_has_no_value_and_no_quotes() {
        for (text, is_blank) in [
            ("\n", true),
            (" \t\r\n", true),
            ("", true),
            (",\n", false),
            ("\"\"\"\"\n", false),
            ("\"\" x\n", false),
            ("a\n", false),
        ] {
            let mut record = Record::default();
            record.read(text.as_bytes(), 0);
            assert_eq!(record.is_blank(), is_blank, "{text:?}");
        }
    }
}
