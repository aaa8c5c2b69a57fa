//! The values of a column to which rows of other tables refer: is a value there?
//!
//! Invariant: it takes memory for a limited number of values. Those of a column with more are looked up in the database.

use crate::database::Database;
use crate::problem::Result;
use crate::values::Value;
use std::collections::HashSet;

/// The most values of a column that are kept. Each takes some 80 bytes with its place in the set, so all take 20 MB.
const MAX_KEPT: usize = 250_000;

pub struct Keys {
    /// All values, or none if there are too many.
    kept: HashSet<Box<str>>,
    /// How a value is looked up if they are not kept.
    query: Option<String>,
    /// The last value that was looked up and is there. The next row often has it, too: the stop times of a trip stand together.
    last: String,
}

impl Keys {
    /// Reads the values of a column, whose table is complete. The column has an index.
    pub fn load(database: &mut dyn Database, table: &str, column: &str) -> Result<Keys> {
        Keys::load_at_most(database, table, column, MAX_KEPT)
    }

    fn load_at_most(database: &mut dyn Database, table: &str, column: &str, max_kept: usize) -> Result<Keys> {
        let mut kept: HashSet<Box<str>> = HashSet::new();
        let limit = max_kept + 1;
        let query = format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {limit}");
        database.visit(&query, &[], &mut |row| {
            kept.extend(row[0].as_text().map(Box::from));
            Ok(())
        })?;
        let query = (kept.len() > max_kept).then(|| format!("SELECT 1 FROM {table} WHERE {column} = $1 LIMIT 1"));
        if query.is_some() {
            kept = HashSet::new();
        }
        Ok(Keys { kept, query, last: String::new() })
    }

    pub fn contains(&mut self, database: &mut dyn Database, text: &str) -> Result<bool> {
        let Some(query) = &self.query else {
            return Ok(self.kept.contains(text));
        };
        if self.last == text {
            return Ok(true);
        }
        let mut is_found = false;
        database.visit(query, &[Value::Text(text)], &mut |_row| {
            is_found = true;
            Ok(())
        })?;
        if is_found {
            text.clone_into(&mut self.last);
        }
        Ok(is_found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::open_to_read;
    use crate::target::Target;

    #[test]
    fn values_are_found_whether_they_are_kept_or_looked_up() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let made = rusqlite::Connection::open(file.path()).unwrap();
        made.execute_batch(
            "CREATE TABLE trips (trip_id TEXT); INSERT INTO trips VALUES ('T1'), ('T2'), (NULL), ('T2')",
        )
        .unwrap();
        let target = Target::File(file.path().to_owned());
        let mut database = open_to_read(&target).unwrap();
        for (max_kept, kept) in [(2, 2), (3, 2), (1, 0)] {
            let mut keys = Keys::load_at_most(&mut *database, "trips", "trip_id", max_kept).unwrap();
            assert_eq!(keys.kept.len(), kept);
            for (text, is_there) in [("T1", true), ("T1", true), ("T3", false), ("T2", true), ("", false), ("T1", true)]
            {
                assert_eq!(keys.contains(&mut *database, text).unwrap(), is_there, "{text} with {max_kept}");
            }
        }
    }
}
