//! What is done when all rows of a table are there: rows that only all of them show as wrong are rejected, distances are filled in,
//! and the indexes are made.
//!
//! Invariant: it is one transaction for each table, and its last step marks the table as finished. So it is done once, and
//! begins with the same rows in each run.

use crate::feed::FeedFile;
use crate::piece::{UNKNOWN_DISTANCE, not_there};
use crate::problem::{Problem, Result};
use crate::schema::{Column, DISTANCE, Key, SHAPES, Table};
use crate::shapes::{Point, fill};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

/// Finishes a table whose rows are all there.
pub fn finish(database: &mut Connection, file: &FeedFile) -> Result<()> {
    let table = file.table;
    let transaction = database.transaction()?;
    if let Some(column) = table.self_reference() {
        reject_dangling(&transaction, file, column)?;
    }
    make_key(&transaction, file)?;
    if table.name == SHAPES {
        fill_distances(&transaction)?;
    }
    make_indexes(&transaction, table)?;
    transaction.execute("UPDATE import_files SET finished = 1 WHERE file = ?1", [table.file])?;
    Ok(transaction.commit()?)
}

/// Makes the indexes of a table without a file.
pub fn finish_empty(database: &mut Connection, table: &Table) -> Result<()> {
    let transaction = database.transaction()?;
    if let Some(definition) = key_definition(table) {
        transaction.execute(&definition, [])?;
    }
    make_indexes(&transaction, table)?;
    Ok(transaction.commit()?)
}

fn make_indexes(database: &Connection, table: &Table) -> Result<()> {
    for column in table.indexed {
        let name = table.name;
        database.execute(&format!("CREATE INDEX IF NOT EXISTS {name}_{column} ON {name} ({column})"), [])?;
    }
    Ok(())
}

/// The parts of a table's key as SQL.
fn key_parts(table: &Table) -> Vec<String> {
    match table.key {
        Key::Columns(columns) => columns.iter().map(|column| column.to_string()).collect(),
        Key::WithMissing(columns) => columns.iter().map(|column| format!("ifnull({column}, '')")).collect(),
        Key::None => Vec::new(),
    }
}

fn key_definition(table: &Table) -> Option<String> {
    let (name, parts) = (table.name, key_parts(table));
    let parts = (!parts.is_empty()).then(|| parts.join(", "))?;
    Some(format!("CREATE UNIQUE INDEX IF NOT EXISTS {name}_key ON {name} ({parts})"))
}

/// Makes the index of a table's key. If that finds equal keys, all rows but the first of each are rejected.
fn make_key(database: &Connection, file: &FeedFile) -> Result<()> {
    let Some(definition) = key_definition(file.table) else {
        return Ok(());
    };
    match database.execute(&definition, []) {
        Ok(_) => return Ok(()),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {}
        Err(error) => return Err(error.into()),
    }
    let parts = key_parts(file.table);
    let there = parts.iter().map(|part| format!("{part} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
    let value = parts.iter().map(|part| format!("ifnull({part}, '')")).collect::<Vec<_>>().join(" || ', ' || ");
    let (name, key) = (file.table.name, parts.join(", "));
    database.execute_batch(&format!(
        "{MAKE_REFUSED};
         INSERT INTO temp.refused (number, value)
             SELECT number, value FROM (SELECT rowid AS number, {value} AS value,
                 row_number() OVER (PARTITION BY {key} ORDER BY rowid) AS place FROM {name} WHERE {there})
             WHERE place > 1;"
    ))?;
    let (Key::Columns(columns) | Key::WithMissing(columns)) = file.table.key else {
        return Ok(());
    };
    reject(database, file, &columns.join(", "), "is there already")?;
    database.execute(&definition, [])?;
    Ok(())
}

/// The rows that `reject` takes out of a table. In a temporary table, which SQLite keeps in a file: a feed may have each row twice.
const MAKE_REFUSED: &str =
    "CREATE TEMP TABLE refused (place INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE, value TEXT)";

/// Rejects the rows of a table that name a row of it that is not there, and then those that name the rejected ones.
///
/// It comes before the key is made: of two rows with one key, the first that is not rejected for another reason is the one that stays.
fn reject_dangling(database: &Connection, file: &FeedFile, column: &Column) -> Result<()> {
    let (table, name) = (file.table.name, column.name);
    let [(_, key)] = column.refers else {
        return Ok(());
    };
    database.execute_batch(&format!(
        "{MAKE_REFUSED};
         CREATE TEMP TABLE named AS SELECT rowid AS number, {key} AS key, {name} AS parent FROM {table};
         CREATE INDEX temp.named_number ON named (number);
         CREATE INDEX temp.named_key ON named (key);
         CREATE INDEX temp.named_parent ON named (parent);
         INSERT INTO temp.refused (number, value) SELECT number, parent FROM named WHERE parent IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM named AS other WHERE other.key = named.parent);"
    ))?;
    // Each refused row may leave others without the row that they name: they are added behind it, and come in turn.
    let mut next = database.prepare("SELECT key FROM temp.refused JOIN named USING (number) WHERE place = ?1")?;
    let mut add = database.prepare(
        "INSERT OR IGNORE INTO temp.refused (number, value) SELECT number, parent FROM named WHERE parent = ?1
             AND NOT EXISTS (SELECT 1 FROM named AS other WHERE other.key = ?1
                 AND NOT EXISTS (SELECT 1 FROM temp.refused WHERE refused.number = other.number))",
    )?;
    for place in 1.. {
        let Some(key) = next.query_row([place], |row| row.get::<_, Option<String>>(0)).optional()? else {
            break;
        };
        add.execute([key])?;
    }
    drop((next, add));
    database.execute("DROP TABLE temp.named", [])?;
    reject(database, file, name, &not_there(column.refers))
}

/// Takes the rows of the table `refused` out of a table, and drops the former.
fn reject(database: &Connection, file: &FeedFile, column: &str, reason: &str) -> Result<()> {
    let mut refused = database
        .prepare("SELECT number, value FROM temp.refused WHERE number >= ?1 AND number < ?2 ORDER BY number")?;
    let mut delete = database.prepare(&format!("DELETE FROM {} WHERE rowid = ?1", file.table.name))?;
    let mut insert = database.prepare("INSERT INTO import_rejected VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (number, span) in file.layout.spans.iter().enumerate() {
        let end = file.layout.spans.get(number + 1).map_or(file.layout.rows + 1, |next| next.row);
        let rows = refused.query_map([span.row, end], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(u64, String)> = rows.collect::<rusqlite::Result<_>>()?;
        if rows.is_empty() {
            continue;
        }
        let lines = file.lines(span, rows.iter().map(|(row, _)| *row))?;
        for ((row, value), line) in rows.iter().zip(lines) {
            delete.execute([row])?;
            insert.execute(params![file.table.file, row, line, column, value, reason])?;
        }
    }
    drop(refused);
    database.execute("DROP TABLE temp.refused", [])?;
    Ok(())
}

/// Fills in the distances that the feed lacks, shape by shape.
fn fill_distances(database: &Connection) -> Result<()> {
    let mut query = database.prepare(&format!(
        "SELECT rowid, shape_id, shape_pt_lat, shape_pt_lon, {DISTANCE} FROM shapes ORDER BY shape_id, shape_pt_sequence"
    ))?;
    let mut update = database.prepare(&format!("UPDATE shapes SET {DISTANCE} = ?2 WHERE rowid = ?1"))?;
    let mut write = |points: &mut Vec<Point>| -> Result<()> {
        for (row, metres) in fill(points) {
            update.execute(params![row, metres])?;
        }
        points.clear();
        Ok(())
    };
    let (mut shape, mut points) = (String::new(), Vec::new());
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(1)?.as_str().map_err(Problem::new)?;
        if id != shape {
            write(&mut points)?;
            id.clone_into(&mut shape);
        }
        let metres = Some(row.get(4)?).filter(|metres| *metres != UNKNOWN_DISTANCE);
        points.push(Point { row: row.get(0)?, latitude: row.get(2)?, longitude: row.get(3)?, metres });
    }
    write(&mut points)
}
