//! The values of a column to which rows of other tables refer: is a value there?
//!
//! Invariant: it takes memory for a limited number of values. Those of a column with more are looked up in the database.

use crate::problem::{Problem, Result};
use rusqlite::{Connection, OptionalExtension};
use std::cell::RefCell;
use std::collections::HashSet;

/// The most values of a column that are kept. Each takes some 80 bytes with its place in the set, so all take 20 MB.
const MAX_KEPT: usize = 250_000;

pub struct Keys {
    /// All values, or none if there are too many.
    kept: HashSet<Box<str>>,
    /// How a value is looked up if they are not kept.
    query: Option<String>,
    /// The last value that was looked up and is there. The next row often has it, too: the stop times of a trip stand together.
    last: RefCell<String>,
}

impl Keys {
    /// Reads the values of a column, whose table is complete. The column has an index.
    pub fn load(database: &Connection, table: &str, column: &str) -> Result<Keys> {
        Keys::load_at_most(database, table, column, MAX_KEPT)
    }

    fn load_at_most(database: &Connection, table: &str, column: &str, max_kept: usize) -> Result<Keys> {
        let mut keys = Keys { kept: HashSet::new(), query: None, last: RefCell::default() };
        let mut query =
            database.prepare(&format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL"))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            if keys.kept.len() == max_kept {
                keys.kept = HashSet::new();
                keys.query = Some(format!("SELECT 1 FROM {table} WHERE {column} = ?1 LIMIT 1"));
                break;
            }
            keys.kept.insert(row.get_ref(0)?.as_str().map_err(Problem::new)?.into());
        }
        Ok(keys)
    }

    pub fn contains(&self, database: &Connection, text: &str) -> Result<bool> {
        let Some(query) = &self.query else {
            return Ok(self.kept.contains(text));
        };
        let mut last = self.last.borrow_mut();
        if *last == text {
            return Ok(true);
        }
        let found = database.prepare_cached(query)?.query_row([text], |_row| Ok(())).optional()?;
        if found.is_some() {
            text.clone_into(&mut last);
        }
        Ok(found.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_whether_they_are_kept_or_looked_up() {
        let database = Connection::open_in_memory().unwrap();
        database
            .execute_batch("CREATE TABLE trips (trip_id TEXT); INSERT INTO trips VALUES ('T1'), ('T2'), (NULL), ('T2')")
            .unwrap();
        for (max_kept, kept) in [(2, 2), (3, 2), (1, 0)] {
            let keys = Keys::load_at_most(&database, "trips", "trip_id", max_kept).unwrap();
            assert_eq!(keys.kept.len(), kept);
            for (text, is_there) in [("T1", true), ("T1", true), ("T3", false), ("T2", true), ("", false), ("T1", true)]
            {
                assert_eq!(keys.contains(&database, text).unwrap(), is_there, "{text} with {max_kept}");
            }
        }
    }
}
