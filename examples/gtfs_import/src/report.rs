//! What is told at the end: rejected rows, and whether the database holds what the feed has.

use crate::feed::Feed;
use crate::piece::not_there;
use crate::problem::Result;
use crate::schema::TABLES;
use rusqlite::{Connection, Row, params};

/// The most rows that are told one by one of each file and reason.
const TOLD_ROWS: usize = 20;

/// Tells the rejected rows to `tell`, a line each, in the order of the files, and gives their number.
pub fn rejected(database: &Connection, mut tell: impl FnMut(&str)) -> Result<u64> {
    let mut reasons = database.prepare(
        "SELECT \"column\", reason, count(*) FROM import_rejected WHERE file = ?1 GROUP BY 1, 2 ORDER BY min(\"row\")",
    )?;
    let mut rows = database.prepare(
        "SELECT line, value FROM import_rejected WHERE file = ?1 AND \"column\" IS ?2 AND reason = ?3 ORDER BY \"row\" LIMIT ?4",
    )?;
    let mut all = 0;
    for table in &TABLES {
        let read =
            |row: &Row<'_>| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?, row.get::<_, u64>(2)?));
        for group in reasons.query_map([table.file], read)? {
            let (column, reason, count) = group?;
            let read = |row: &Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, Option<String>>(1)?));
            for row in rows.query_map(params![table.file, column, reason, TOLD_ROWS], read)? {
                let (line, value) = row?;
                tell(&format!("{}:{line}: {}", table.file, why(column.as_deref(), value.as_deref(), &reason)));
            }
            if let Some(more) = count.checked_sub(TOLD_ROWS as u64).filter(|more| *more > 0) {
                tell(&format!("{}: {more} more: {}", table.file, why(column.as_deref(), None, &reason)));
            }
            all += count;
        }
    }
    Ok(all)
}

fn why(column: Option<&str>, value: Option<&str>, reason: &str) -> String {
    let column = column.map(|column| format!("{column} ")).unwrap_or_default();
    let value = value.map(|value| format!("{value:?} ")).unwrap_or_default();
    format!("{column}{value}{reason}")
}

/// Tells what differs between the database and the feed: numbers of rows, and references to what is not there.
pub fn verify(database: &Connection, feed: &Feed) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let count = |query: &str, file: &str| -> Result<u64> { Ok(database.query_row(query, [file], |row| row.get(0))?) };
    for table in &TABLES {
        let file = feed.files.iter().find(|file| file.table.name == table.name);
        let expected = file.map_or(0, |file| file.layout.rows);
        let there = count(&format!("SELECT count(*) FROM {} WHERE ?1 = ?1", table.name), table.file)?;
        let rejected = count("SELECT count(*) FROM import_rejected WHERE file = ?1", table.file)?;
        if there + rejected != expected {
            findings.push(format!(
                "{} has {expected} rows, and the database {there} of them and {rejected} rejected ones",
                table.file
            ));
        }
        for column in table.columns.iter().filter(|column| !column.refers.is_empty()) {
            let (name, own) = (table.name, column.name);
            let known = column.refers.iter().map(|(other, key)| {
                format!(" AND NOT EXISTS (SELECT 1 FROM {other} AS other WHERE other.{key} = {name}.{own})")
            });
            let known: String = known.collect();
            let query = format!("SELECT count(*) FROM {name} WHERE ?1 = ?1 AND {own} IS NOT NULL{known}");
            let dangling = count(&query, table.file)?;
            if dangling > 0 {
                findings.push(format!("{name}: {dangling} rows: {own} {}", not_there(column.refers)));
            }
        }
    }
    let mut broken = database.prepare("SELECT DISTINCT \"table\", parent FROM pragma_foreign_key_check")?;
    for row in broken.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))? {
        let (table, parent) = row?;
        findings.push(format!("{table} refers to rows that {parent} has not, by PRAGMA foreign_key_check"));
    }
    Ok(findings)
}
