//! What the workers of a running program do, as rows for people and as an object for other programs.

use multicore::status::{PoolPhase, PoolStatus, WorkerStatus};
use serde_json::{Value, json};
use std::time::Duration;

/// The heads of the columns.
pub const HEADS: [&str; 9] = ["WORKER", "PID", "STATE", "AGE", "PIECE", "MEMORY", "DONE", "RESTARTS", "FUNCTION"];

/// The column of the function, which is as wide as there is room.
pub const LAST: usize = HEADS.len() - 1;

/// What is marked beside a state, and what that means.
pub const TORN: &str = "*: the program was stopped while it wrote this; shown as last read";

/// The line above the workers of a pool.
pub fn heading(pool: &PoolStatus) -> String {
    let count = |wanted: fn(&WorkerStatus) -> bool| pool.workers.iter().filter(|worker| wanted(worker)).count();
    let busy = count(|worker| worker.piece.is_some());
    let phase = match pool.phase {
        PoolPhase::Open => String::new(),
        phase => format!(", {phase}"),
    };
    let workers = pool.workers.len();
    format!("pool {}: {workers} workers, {busy} with pieces{phase}", pool.pool)
}

/// A worker's columns.
pub fn row(worker: &WorkerStatus) -> [String; HEADS.len()] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    let function = worker.piece.as_ref().map(|piece| match &piece.function {
        Some(function) => function.clone(),
        None => format!("{:+#x}", piece.offset),
    });
    let restarts = match (worker.restarts, why(worker)) {
        (0, _) | (_, None) => worker.restarts.to_string(),
        (restarts, Some(why)) => format!("{restarts} ({why})"),
    };
    [
        worker.worker.to_string(),
        or_none(worker.pid.map(|pid| pid.to_string())),
        format!("{}{}", worker.doing, if worker.is_torn { "*" } else { "" }),
        age(worker.age),
        or_none(worker.piece.as_ref().map(|piece| piece.number.to_string())),
        or_none(worker.memory.map(mebibytes)),
        worker.pieces_done.to_string(),
        restarts,
        or_none(function),
    ]
}

/// Why the worker before it was replaced.
fn why(worker: &WorkerStatus) -> Option<String> {
    let last = worker.last_replaced?;
    Some(match &worker.cause {
        Some(cause) => format!("{last}: {cause}"),
        None => last.to_string(),
    })
}

/// A process whose pools have ended, or that has executed another program, may make new ones.
pub fn no_pool(process: u32) -> String {
    format!("process {process} has no pool now")
}

/// All pools as a table.
pub fn table(process: u32, pools: &[PoolStatus]) -> String {
    if pools.is_empty() {
        return format!("{}\n", no_pool(process));
    }
    let mut text = String::new();
    for pool in pools {
        let rows: Vec<_> = pool.workers.iter().map(row).collect();
        let heads = HEADS.map(str::to_string);
        let widths = widths(std::iter::once(&heads).chain(&rows));
        text += &format!("{}\n", heading(pool));
        for row in std::iter::once(&heads).chain(&rows) {
            text += &line(row, &widths);
            text.push('\n');
        }
    }
    if pools.iter().flat_map(|pool| &pool.workers).any(|worker| worker.is_torn) {
        text += &format!("{TORN}\n");
    }
    text
}

/// The width of each column.
pub fn widths<'a>(rows: impl Iterator<Item = &'a [String; HEADS.len()]>) -> [usize; HEADS.len()] {
    rows.fold([0; HEADS.len()], |widths, row| {
        std::array::from_fn(|column| widths[column].max(row[column].chars().count()))
    })
}

/// Numbers stand at the right, texts at the left.
pub fn is_number(column: usize) -> bool {
    !matches!(column, 2 | 7 | LAST)
}

fn line(row: &[String; HEADS.len()], widths: &[usize; HEADS.len()]) -> String {
    let cell = |(column, (text, width)): (usize, (&String, &usize))| match is_number(column) {
        true => format!("{text:>width$}"),
        false => format!("{text:<width$}"),
    };
    row.iter().zip(widths).enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_string()
}

/// All pools of a process, for other programs.
pub fn object(process: u32, pools: &[PoolStatus]) -> Value {
    let of_worker = |worker: &WorkerStatus| {
        json!({
            "worker": worker.worker,
            "pid": worker.pid,
            "state": worker.doing.to_string(),
            "age": worker.age.as_secs_f64(),
            "piece": worker.piece.as_ref().map(|piece| piece.number),
            "function": worker.piece.as_ref().and_then(|piece| piece.function.clone()),
            "offset": worker.piece.as_ref().map(|piece| piece.offset),
            "begun": worker.piece.as_ref().map(|piece| piece.has_begun),
            "pieces_held": worker.pieces_held,
            "pieces_done": worker.pieces_done,
            "memory": worker.memory,
            "restarts": worker.restarts,
            "last_replaced": worker.last_replaced.map(|last| last.to_string()),
            "cause": worker.cause,
            "torn": worker.is_torn,
        })
    };
    let of_pool = |pool: &PoolStatus| {
        let workers: Vec<Value> = pool.workers.iter().map(of_worker).collect();
        json!({ "pool": pool.pool, "phase": pool.phase.to_string(), "workers": workers })
    };
    json!({ "process": process, "pools": pools.iter().map(of_pool).collect::<Vec<_>>() })
}

fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", age.as_secs_f64()),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}M", bytes as f64 / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        for (milliseconds, expected) in [
            (0, "0.0s"),
            (1_250, "1.2s"),
            (59_900, "59.9s"),
            (60_000, "1m 00s"),
            (3_599_999, "59m 59s"),
            (3_660_000, "1h 01m"),
            (90_000_000, "1d 01h"),
        ] {
            assert_eq!(age(Duration::from_millis(milliseconds)), expected);
        }
    }
}
