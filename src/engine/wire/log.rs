//! The payload of a record of the log: two words, then target, module, file and text.
//!
//! | word | bits            | meaning                                             |
//! |------|-----------------|-----------------------------------------------------|
//! | 0    | all             | the line and 1, or 0 if that is not known           |
//! | 1    | 0 to 15         | the bytes of the target                             |
//! | 1    | 16 to 31, 32 to 47 | those of module and file and 1, or 0 without one |
//!
//! Invariant: what [`Lead::from_words`] gives fits into the payload, and no part is longer than its limit.

/// A text is cut there.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Target, module and file are cut there: paths are shorter, and a record must not be much longer than its text.
pub(crate) const MAX_NAME_BYTES: usize = 1024;

/// The longest payload.
pub(crate) const MAX_BYTES: usize = LEAD_BYTES + 3 * MAX_NAME_BYTES + MAX_TEXT_BYTES;

const LEAD_BYTES: usize = 16;

/// What comes before the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) line: Option<u32>,
    pub(crate) target: usize,
    pub(crate) module: Option<usize>,
    pub(crate) file: Option<usize>,
}

/// The names and the text of a record, as bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) target: &'a [u8],
    pub(crate) module: Option<&'a [u8]>,
    pub(crate) file: Option<&'a [u8]>,
    pub(crate) text: &'a [u8],
}

impl Lead {
    pub(crate) fn to_words(self) -> [u64; 2] {
        let or_none = |length: Option<usize>| length.map_or(0, |length| length as u64 + 1);
        let line = self.line.map_or(0, |line| u64::from(line) + 1);
        [line, self.target as u64 | or_none(self.module) << 16 | or_none(self.file) << 32]
    }

    /// `None` if no worker writes such words, or what they tell of is longer than these bytes of text and names.
    pub(crate) fn from_words([line, lengths]: [u64; 2], bytes: usize) -> Option<Lead> {
        let length = |shift: u32| (lengths >> shift & 0xffff) as usize;
        let line = match line.checked_sub(1) {
            Some(line) => Some(u32::try_from(line).ok()?),
            None => None,
        };
        let (target, module, file) = (length(0), length(16).checked_sub(1), length(32).checked_sub(1));
        let lead = Lead { line, target, module, file };
        let names = [target, module.unwrap_or(0), file.unwrap_or(0)];
        let text = bytes.checked_sub(names.iter().sum())?;
        let are_short = names.iter().all(|&name| name <= MAX_NAME_BYTES) && text <= MAX_TEXT_BYTES;
        (are_short && lengths >> 48 == 0).then_some(lead)
    }

    /// The parts of these bytes, which this lead was checked against.
    pub(crate) fn split<'a>(&self, bytes: &'a [u8]) -> Parts<'a> {
        let mut rest = bytes;
        let mut next = |length: usize| {
            let (part, others) = rest.split_at(length.min(rest.len()));
            rest = others;
            part
        };
        let (target, module, file) = (next(self.target), self.module.map(&mut next), self.file.map(&mut next));
        Parts { target, module, file, text: rest }
    }
}

/// The longest beginning of a text that has at most this many bytes.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_comes_back_as_it_was() {
        for (line, target, module, file) in
            [(None, 0, None, None), (Some(0), 3, Some(0), Some(7)), (Some(u32::MAX), 1024, Some(1024), Some(1024))]
        {
            let lead = Lead { line, target, module, file };
            let bytes = target + module.unwrap_or(0) + file.unwrap_or(0);
            assert_eq!(Lead::from_words(lead.to_words(), bytes), Some(lead));
            assert_eq!(Lead::from_words(lead.to_words(), bytes + MAX_TEXT_BYTES), Some(lead));
            assert_eq!(Lead::from_words(lead.to_words(), bytes + MAX_TEXT_BYTES + 1), None, "{lead:?}");
            assert!(bytes == 0 || Lead::from_words(lead.to_words(), bytes - 1).is_none(), "{lead:?}");
        }
    }

    #[test]
    fn what_no_worker_writes_is_refused() {
        for words in [[0, 1 << 48], [0, u64::MAX], [u64::MAX, 0], [(1 << 32) + 1, 0], [0, 1025], [0, 1026 << 16]] {
            assert_eq!(Lead::from_words(words, 5000), None, "{words:x?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, most, cut_text) in
            [("abc", 3, "abc"), ("abc", 2, "ab"), ("a\u{e4}b", 2, "a"), ("\u{1f600}", 3, ""), ("", 0, "")]
        {
            assert_eq!(cut(text, most), cut_text);
        }
    }

    #[test]
    fn names_and_text_lie_one_behind_the_other() {
        let lead = Lead { line: None, target: 3, module: None, file: Some(2) };
        let expected = Parts { target: b"app", module: None, file: Some(b"io"), text: b"a text" };
        assert_eq!(lead.split(b"appioa text"), expected);
    }
}
