//! The names of an observed process's functions, read from the files of its objects; each once.
//!
//! Invariant: a name is shown as it is: no sign in it steers what shows it, and it has an end.

use crate::sys::observed::{Place, Process};
use std::collections::BTreeMap;

/// No program has more functions that run as pieces: names beyond are those of one that tells others in each look, and are read anew.
const MOST_NAMES: usize = 1 << 16;

/// A longer name is cut.
const MOST_CHARS: usize = 1000;

/// What is known of a process's objects, by the addresses of the crate's entries in them.
#[derive(Debug, Default)]
pub(super) struct Names {
    objects: BTreeMap<u64, Object>,
}

#[derive(Debug, Default)]
struct Object {
    /// `None` where its file was not found.
    place: Option<Place>,
    /// By the distances from the entry. `None` for a function that has none.
    names: BTreeMap<i32, Option<String>>,
}

impl Names {
    /// Learns those that are not known, by one reading of the file.
    pub(super) fn learn(&mut self, process: &Process, anchor: u64, offsets: impl Iterator<Item = i32>) {
        let object = self.objects.entry(anchor).or_default();
        if object.names.len() > MOST_NAMES {
            object.names.clear();
        }
        let mut unknown: Vec<i32> = offsets.filter(|offset| !object.names.contains_key(offset)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return;
        }
        if object.place.is_none() {
            object.place = process.place_of(anchor);
        }
        // It may be found in the next look.
        let Some(place) = &object.place else { return };
        let distances: Vec<i64> = unknown.iter().map(|offset| i64::from(*offset)).collect();
        let names = place.names_at(&distances).unwrap_or_else(|| vec![None; unknown.len()]);
        let names = names.into_iter().map(|name| Some(plain(&name?)));
        object.names.extend(unknown.into_iter().zip(names));
    }

    pub(super) fn of(&self, anchor: u64, offset: i32) -> Option<String> {
        self.objects.get(&anchor)?.names.get(&offset)?.clone()
    }
}

/// A name comes from another program's file. What could steer a terminal, or turn around what stands beside it, is left out.
fn plain(name: &str) -> String {
    let is_unseen = |char: char| {
        let turns =
            matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        char.is_control() || turns
    };
    name.chars().take(MOST_CHARS).map(|char| if is_unseen(char) { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_steers_no_terminal() {
        for (name, expected) in [
            ("app::f<&str>::{{closure}}", "app::f<&str>::{{closure}}"),
            ("a\x1b[2Jb\u{9b}31mc\n", "a?[2Jb?31mc?"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{2028}e\u{61c}", "a?b?c?d?e?"),
            ("größe::日本", "größe::日本"),
        ] {
            assert_eq!(plain(name), expected);
        }
        assert_eq!(plain(&"ü".repeat(100_000)).chars().count(), MOST_CHARS);
    }
}
