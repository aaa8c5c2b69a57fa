//! `multicore stats`: what the workers of a running program do at this moment.

use crate::look;
use multicore::status::Observer;
use std::io::{self, Write};

/// Prints it.
///
/// # Errors
/// A line for people: the process has no pool, may not be looked at, or has ended.
pub fn run(pid: u32, as_json: bool) -> Result<(), String> {
    let mut observer = Observer::of(pid).map_err(|error| error.to_string())?;
    let pools = observer.look().map_err(|error| error.to_string())?;
    let pools = pools.ok_or_else(|| format!("process {pid} has ended"))?;
    let text = match as_json {
        true => format!("{}\n", look::object(pid, &pools)),
        false => look::table(pid, &pools),
    };
    print(&text)?;
    note_unreadable(&observer);
    Ok(())
}

/// Writes at once what is to stand together. A reader that has seen enough is no error.
pub fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print it: {error}")),
        _ => Ok(()),
    }
}

/// Says that there are pools that are not shown.
pub fn note_unreadable(observer: &Observer) {
    if observer.unreadable() > 0 {
        let count = observer.unreadable();
        let pools = if count == 1 { "pool more tells its" } else { "pools more tell their" };
        crate::tell::tell!("multicore: {count} {pools} status in another version, which is not shown");
    }
}
