//! What is told at the end: rejected rows, and whether the database holds what the feed has.

use crate::database::Database;
use crate::feed::Feed;
use crate::piece::not_there;
use crate::problem::Result;
use crate::schema::TABLES;
use crate::values::Value;

/// The most rows that are told one by one of each file and reason.
const TOLD_ROWS: u64 = 20;

/// Tells the rejected rows to `tell`, a line each, in the order of the files, and gives their number.
pub fn rejected(database: &mut dyn Database, mut tell: impl FnMut(&str)) -> Result<u64> {
    let mut all = 0;
    for table in &TABLES {
        for Reason { column, reason, count } in reasons(database, table.file)? {
            let (of_column, of_reason) = (Value::text(column.as_deref()), Value::Text(&reason));
            let query = "SELECT line, value FROM import_rejected
                 WHERE file = $1 AND \"column\" IS NOT DISTINCT FROM $2 AND reason = $3 ORDER BY \"row\" LIMIT $4";
            let told = [Value::Text(table.file), of_column, of_reason, Value::number(TOLD_ROWS)];
            database.visit(query, &told, &mut |row| {
                let (line, value) = (row[0].as_number().unwrap_or_default(), row[1].as_text());
                tell(&format!("{}:{line}: {}", table.file, why(column.as_deref(), value, &reason)));
                Ok(())
            })?;
            if let Some(more) = count.checked_sub(TOLD_ROWS).filter(|more| *more > 0) {
                tell(&format!("{}: {more} more: {}", table.file, why(column.as_deref(), None, &reason)));
            }
            all += count;
        }
    }
    Ok(all)
}

/// Why some rows of a file are rejected, and how many.
struct Reason {
    column: Option<String>,
    reason: String,
    count: u64,
}

fn reasons(database: &mut dyn Database, file: &str) -> Result<Vec<Reason>> {
    let query =
        "SELECT \"column\", reason, count(*) FROM import_rejected WHERE file = $1 GROUP BY 1, 2 ORDER BY min(\"row\")";
    let mut reasons = Vec::new();
    database.visit(query, &[Value::Text(file)], &mut |row| {
        reasons.push(Reason {
            column: row[0].as_text().map(str::to_owned),
            reason: row[1].as_text().unwrap_or_default().to_owned(),
            count: row[2].as_number().unwrap_or_default(),
        });
        Ok(())
    })?;
    Ok(reasons)
}

fn why(column: Option<&str>, value: Option<&str>, reason: &str) -> String {
    let column = column.map(|column| format!("{column} ")).unwrap_or_default();
    let value = value.map(|value| format!("{value:?} ")).unwrap_or_default();
    format!("{column}{value}{reason}")
}

/// Tells what differs between the database and the feed: numbers of rows, and references to what is not there.
pub fn verify(database: &mut dyn Database, feed: &Feed) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for table in &TABLES {
        let file = feed.files.iter().find(|file| file.table.name == table.name);
        let expected = file.map_or(0, |file| file.layout.rows);
        let there = database.number(&format!("SELECT count(*) FROM {}", table.name), &[])?;
        let rejected = "SELECT count(*) FROM import_rejected WHERE file = $1";
        let rejected = database.number(rejected, &[Value::Text(table.file)])?;
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
            let query = format!("SELECT count(*) FROM {name} WHERE {own} IS NOT NULL{known}");
            let dangling = database.number(&query, &[])?;
            if dangling > 0 {
                findings.push(format!("{name}: {dangling} rows: {own} {}", not_there(column.refers)));
            }
        }
    }
    for (table, parent) in database.broken_references()? {
        findings.push(format!("{table} refers to rows that {parent} has not, by PRAGMA foreign_key_check"));
    }
    Ok(findings)
}
