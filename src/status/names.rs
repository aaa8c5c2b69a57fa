//! The names of an observed process's functions, read from the files of its objects; each once.

use crate::sys::observed::{Place, Process};
use std::collections::BTreeMap;

/// What is known of a process's objects, by the addresses of the crate's entries in them.
#[derive(Debug, Default)]
pub(super) struct Names {
    objects: BTreeMap<u64, Object>,
}

#[derive(Debug)]
struct Object {
    /// `None` where its file cannot be found.
    place: Option<Place>,
    /// By the distances from the entry. `None` for a function that has none.
    names: BTreeMap<i32, Option<String>>,
}

impl Names {
    /// Learns those that are not known, by one reading of the file.
    pub(super) fn learn(&mut self, process: &Process, anchor: u64, offsets: impl Iterator<Item = i32>) {
        let new = || Object { place: process.place_of(anchor), names: BTreeMap::new() };
        let object = self.objects.entry(anchor).or_insert_with(new);
        let mut unknown: Vec<i32> = offsets.filter(|offset| !object.names.contains_key(offset)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return;
        }
        let distances: Vec<i64> = unknown.iter().map(|offset| i64::from(*offset)).collect();
        let names = object.place.as_ref().and_then(|place| place.names_at(&distances));
        let names = names.unwrap_or_else(|| vec![None; unknown.len()]);
        object.names.extend(unknown.into_iter().zip(names));
    }

    pub(super) fn of(&self, anchor: u64, offset: i32) -> Option<String> {
        self.objects.get(&anchor)?.names.get(&offset)?.clone()
    }
}
