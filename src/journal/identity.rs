//! What a piece is known by in a journal: its content, not its number, so inputs may be reordered, grown and shrunk.
//!
//! A key is the first 16 bytes of BLAKE3 over name, version, format, arguments and occurrence; what has no fixed length has it before
//! it. The *occurrence* counts the pieces before it in this run whose other parts are equal: equal pieces are counted, not merged.
//!
//! Invariant: a piece has the same key in each run in which it is the n-th of its content, and no two pieces of a run share one.

use super::format::Key;
use crate::codec::{Format, IS_POSTCARD};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The keys of one task's pieces.
#[derive(Debug)]
pub(super) struct Identities {
    /// What all pieces of the task share.
    task: blake3::Hasher,
    /// How many pieces of each content there were: by the key of the first of them.
    seen: HashMap<Key, u64>,
}

impl Identities {
    pub(super) fn new(name: &str, version: &str, format: Format) -> Identities {
        let mut task = blake3::Hasher::new();
        let format = number_of(format, IS_POSTCARD);
        for text in [name, version] {
            task.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        task.update(&format.to_le_bytes());
        Identities { task, seen: HashMap::new() }
    }

    /// The key of the next piece, with these encoded arguments.
    pub(super) fn next(&mut self, arguments: &[u8]) -> Key {
        let mut content = self.task.clone();
        content.update(&(arguments.len() as u64).to_le_bytes()).update(arguments);
        let first = key_of(&content, 0);
        match self.seen.entry(first) {
            Entry::Vacant(vacant) => {
                vacant.insert(1);
                first
            }
            Entry::Occupied(mut seen) => {
                let occurrence = *seen.get();
                *seen.get_mut() += 1;
                key_of(&content, occurrence)
            }
        }
    }
}

/// A number is never used for another format: the keys of old journals depend on it. With another binary format the same piece is another
/// one, whose outcome could not be read.
fn number_of(format: Format, is_postcard: bool) -> u64 {
    match (format, is_postcard) {
        (Format::Bincode, false) => 1,
        (Format::Json, _) => 2,
        (Format::Raw, false) => 3,
        (Format::Bincode, true) => 4,
        (Format::Raw, true) => 5,
    }
}

fn key_of(content: &blake3::Hasher, occurrence: u64) -> Key {
    let mut content = content.clone();
    let hash = content.update(&occurrence.to_le_bytes()).finalize();
    *hash.as_bytes().first_chunk().expect("it has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn keys(arguments: &[&[u8]]) -> Vec<Key> {
        let mut task = Identities::new("import", "1", Format::Bincode);
        arguments.iter().map(|arguments| task.next(arguments)).collect()
    }

    #[test]
    fn a_piece_is_known_by_its_content_wherever_it_stands() {
        let (a, b, c) = (&b"a"[..], &b"b"[..], &b"c"[..]);
        let before = keys(&[a, b, c]);
        assert_eq!(keys(&[c, a, b]), [before[2], before[0], before[1]]);
        assert_eq!(keys(&[b]), [before[1]]);
        // Three equal pieces are three; a fourth is new.
        let equal = keys(&[a, b, a, a]);
        assert_eq!(equal[..2], before[..2]);
        assert_eq!(keys(&[a, a, a, a])[..3], [equal[0], equal[2], equal[3]]);
        assert_eq!(BTreeSet::from_iter(keys(&[a, a, a, a, b, c, b""])).len(), 7);
    }

    /// Each part counts, and none runs into the next one.
    #[test]
    fn pieces_of_other_tasks_have_other_keys() {
        let all = [
            ("ab", "c", Format::Bincode, &b"x"[..]),
            ("a", "bc", Format::Bincode, b"x"),
            ("abc", "", Format::Bincode, b"x"),
            ("", "abc", Format::Bincode, b"x"),
            ("ab", "c", Format::Json, b"x"),
            ("ab", "c", Format::Raw, b"x"),
            ("ab", "c", Format::Bincode, b""),
            ("ab", "c", Format::Bincode, b"x\0\0\0\0\0\0\0\0"),
        ];
        let keys = all.map(|(name, version, format, arguments)| Identities::new(name, version, format).next(arguments));
        assert_eq!(BTreeSet::from(keys).len(), all.len());
    }

    /// Journals of earlier versions of the crate are found again.
    #[test]
    fn keys_never_change() {
        let mut task = Identities::new("import", "1", Format::Bincode);
        let keys =
            [task.next(&[1, 2, 3]), task.next(&[1, 2, 3])].map(|key| key.map(|byte| format!("{byte:02x}")).concat());
        assert_eq!(
            keys,
            match IS_POSTCARD {
                false => ["28b5f592465918c988d90acf81251214", "aa08b2f1ae159f97f7668fb6418641dc"],
                true => ["1846fcd27e899d76cba1ba29d22ab37b", "2e477f070c0305748d0bdebc2b584cb3"],
            }
        );
    }

    /// JSON is the same in both builds.
    #[test]
    fn the_two_binary_formats_have_other_keys() {
        let numbers = [Format::Bincode, Format::Raw, Format::Json]
            .map(|format| [false, true].map(|is_postcard| number_of(format, is_postcard)));
        assert_eq!(numbers, [[1, 4], [3, 5], [2, 2]]);
    }
}
