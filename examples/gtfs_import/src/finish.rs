//! What is done when all rows of a table are there: rows that only all of them show as wrong are rejected, distances are filled in,
//! and the indexes are made.
//!
//! Invariant: it is one transaction for each table, and its last step marks the table as finished. So it is done once, and
//! begins with the same rows in each run.

use crate::database::{Database, Rejected};
use crate::feed::FeedFile;
use crate::piece::not_there;
use crate::problem::Result;
use crate::schema::{Column, Key, SHAPES, Table};
use crate::values::Value;

/// Finishes a table whose rows are all there.
pub fn finish(database: &mut dyn Database, file: &FeedFile) -> Result<()> {
    let table = file.table;
    database.run("BEGIN")?;
    if let Some(column) = table.self_reference() {
        reject_dangling(database, file, column)?;
    }
    make_key(database, file)?;
    if table.name == SHAPES {
        database.fill_distances()?;
    }
    make_indexes(database, table)?;
    database.change("UPDATE import_files SET finished = 1 WHERE file = $1", &[Value::Text(table.file)])?;
    database.run("COMMIT")
}

/// Makes the indexes of a table without a file.
pub fn finish_empty(database: &mut dyn Database, table: &Table) -> Result<()> {
    database.run("BEGIN")?;
    if let Some(definition) = key_definition(table) {
        database.run(&definition)?;
    }
    make_indexes(database, table)?;
    database.run("COMMIT")
}

fn make_indexes(database: &mut dyn Database, table: &Table) -> Result<()> {
    for column in table.indexed {
        let name = table.name;
        database.run(&format!("CREATE INDEX IF NOT EXISTS {name}_{column} ON {name} ({column})"))?;
    }
    Ok(())
}

/// The parts of a table's key as SQL.
fn key_parts(table: &Table) -> Vec<String> {
    match table.key {
        Key::Columns(columns) => columns.iter().map(|column| column.to_string()).collect(),
        Key::WithMissing(columns) => columns.iter().map(|column| format!("coalesce({column}, '')")).collect(),
        Key::None => Vec::new(),
    }
}

fn key_definition(table: &Table) -> Option<String> {
    let (name, parts) = (table.name, key_parts(table));
    let parts = (!parts.is_empty()).then(|| parts.join(", "))?;
    Some(format!("CREATE UNIQUE INDEX IF NOT EXISTS {name}_key ON {name} ({parts})"))
}

/// Makes the index of a table's key. If that finds equal keys, all rows but the first of each are rejected.
fn make_key(database: &mut dyn Database, file: &FeedFile) -> Result<()> {
    let Some(definition) = key_definition(file.table) else {
        return Ok(());
    };
    if database.make_unique(&definition)? {
        return Ok(());
    }
    let parts = key_parts(file.table);
    let there = parts.iter().map(|part| format!("{part} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    let value = parts.iter().map(|part| format!("coalesce(CAST({part} AS TEXT), '')")).collect::<Vec<_>>();
    let (name, key, value) = (file.table.name, parts.join(", "), value.join(" || ', ' || "));
    make_refused(database)?;
    database.run(&format!(
        "INSERT INTO refused (number, value)
             SELECT number, value FROM (SELECT rowid AS number, {value} AS value,
                 row_number() OVER (PARTITION BY {key} ORDER BY rowid) AS place FROM {name} WHERE {there}) AS numbered
             WHERE place > 1;"
    ))?;
    reject(database, file, &file.table.key.columns().join(", "), "is there already")?;
    database.run(&definition)
}

/// Makes a table of the rows that `reject` takes out of another one. A temporary one, which SQLite keeps in a file: a feed may have each
/// row twice.
fn make_refused(database: &mut dyn Database) -> Result<()> {
    let key = database.serial_key();
    database.run(&format!("CREATE TEMP TABLE refused (place {key}, number BIGINT NOT NULL UNIQUE, value TEXT)"))
}

/// Rejects the rows of a table that name a row of it that is not there, and then those that name the rejected ones.
///
/// It comes before the key is made: of two rows with one key, the first that is not rejected for another reason is the one that stays.
fn reject_dangling(database: &mut dyn Database, file: &FeedFile, column: &Column) -> Result<()> {
    let (table, name) = (file.table.name, column.name);
    let [(_, key)] = column.refers else {
        return Ok(());
    };
    make_refused(database)?;
    database.run(&format!(
        "CREATE TEMP TABLE named AS SELECT rowid AS number, {key} AS key, {name} AS parent FROM {table};
         CREATE INDEX named_number ON named (number);
         CREATE INDEX named_key ON named (key);
         CREATE INDEX named_parent ON named (parent);
         INSERT INTO refused (number, value) SELECT number, parent FROM named WHERE parent IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM named AS other WHERE other.key = named.parent);"
    ))?;
    // Each refused row may leave others without the row that they name: they are added behind it, and come in turn. Places have gaps.
    let next = "SELECT place, key FROM refused JOIN named USING (number) WHERE place > $1 ORDER BY place LIMIT 1";
    let add = "INSERT INTO refused (number, value) SELECT number, parent FROM named WHERE parent = $1
             AND NOT EXISTS (SELECT 1 FROM named AS other WHERE other.key = $1
                 AND NOT EXISTS (SELECT 1 FROM refused WHERE refused.number = other.number))
         ON CONFLICT (number) DO NOTHING";
    let (mut place, mut is_more) = (0, true);
    while is_more {
        let mut key = None;
        is_more = false;
        database.visit(next, &[Value::number(place)], &mut |row| {
            is_more = true;
            place = row[0].as_number().unwrap_or(place);
            key = row[1].as_text().map(str::to_owned);
            Ok(())
        })?;
        if let Some(key) = key {
            database.change(add, &[Value::Text(&key)])?;
        }
    }
    database.run("DROP TABLE named")?;
    reject(database, file, name, &not_there(column.refers))
}

/// Takes the rows of the table `refused` out of a table, and drops the former.
fn reject(database: &mut dyn Database, file: &FeedFile, column: &str, reason: &str) -> Result<()> {
    let table = file.table.name;
    let query = "SELECT number, value FROM refused WHERE number >= $1 AND number < $2 ORDER BY number";
    for (number, span) in file.layout.spans.iter().enumerate() {
        let end = file.layout.spans.get(number + 1).map_or(file.layout.rows + 1, |next| next.row);
        let mut rows: Vec<(u64, Option<String>)> = Vec::new();
        database.visit(query, &[Value::number(span.row), Value::number(end)], &mut |row| {
            rows.extend(row[0].as_number().map(|number| (number, row[1].as_text().map(str::to_owned))));
            Ok(())
        })?;
        if rows.is_empty() {
            continue;
        }
        let lines = file.lines(span, rows.iter().map(|(row, _)| *row))?;
        let rejected = rows.iter().zip(lines).map(|((row, value), line)| Rejected {
            row: *row,
            line,
            column: Some(column),
            value: value.as_deref(),
            reason,
        });
        database.reject(file.table.file, &rejected.collect::<Vec<_>>())?;
    }
    database.run(&format!("DELETE FROM {table} WHERE rowid IN (SELECT number FROM refused); DROP TABLE refused"))
}
