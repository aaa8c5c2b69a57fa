//! How far a run is: `--bar` and `--eta`, a line on standard error.

use crate::summary::Summary;
use crate::tell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const WIDTH: u64 = 30;

/// On a terminal the line is drawn anew at most that often; elsewhere each line stays.
const REDRAW: Duration = Duration::from_millis(100);
const LINES: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Bar {
    bar: bool,
    eta: bool,
    total: Option<u64>,
    is_terminal: bool,
    is_drawn: bool,
    last: Option<Instant>,
    started: Instant,
}

impl Bar {
    pub fn new(bar: bool, eta: bool, total: Option<u64>) -> Bar {
        let is_terminal = std::io::stderr().is_terminal();
        Bar { bar, eta, total, is_terminal, is_drawn: false, last: None, started: Instant::now() }
    }

    /// True if it is to be drawn anew also while nothing ends.
    pub fn is_live(&self) -> bool {
        self.is_terminal && (self.bar || self.eta)
    }

    /// Takes the line away, since something else is printed.
    pub fn clear(&mut self) {
        if self.is_drawn {
            tell::write("\r\x1b[K");
            self.is_drawn = false;
        }
    }

    pub fn draw(&mut self, summary: &Summary) {
        if !self.bar && !self.eta {
            return;
        }
        let (now, each) = (Instant::now(), if self.is_terminal { REDRAW } else { LINES });
        if self.last.is_some_and(|last| now - last < each) {
            return;
        }
        self.last = Some(now);
        let line = line(self.bar, self.eta, summary, self.total, now - self.started);
        if self.is_terminal {
            tell::write(&format!("\r\x1b[K{line}"));
            self.is_drawn = true;
        } else {
            tell::write(&format!("{line}\n"));
        }
    }
}

fn line(bar: bool, eta: bool, summary: &Summary, total: Option<u64>, elapsed: Duration) -> String {
    let ran = summary.done + summary.failed;
    let ended = ran + summary.skipped;
    let mut parts = Vec::new();
    match total {
        Some(total) if total > 0 => {
            if bar {
                let full = (ended.min(total) * WIDTH / total) as usize;
                parts.push(format!("[{}{}]", "#".repeat(full), ".".repeat(WIDTH as usize - full)));
            }
            parts.push(format!("{ended}/{total}"));
        }
        _ => parts.push(format!("{ended} ended")),
    }
    if summary.failed > 0 {
        parts.push(format!("{} failed", summary.failed));
    }
    if let Some(total) = total.filter(|_| eta && ran > 0) {
        let left = elapsed.as_secs_f64() / ran as f64 * total.saturating_sub(ended) as f64;
        parts.push(format!("{} left", duration(left)));
    }
    parts.join(" ")
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, line};
    use crate::summary::Summary;
    use std::time::Duration;

    #[test]
    fn a_line_tells_what_is_known() {
        let mut summary = Summary::default();
        (summary.done, summary.failed, summary.skipped) = (8, 2, 5);
        for (bar, eta, total, expected) in [
            (true, false, Some(30), "[###############...............] 15/30 2 failed"),
            (false, true, Some(30), "15/30 2 failed 15 s left"),
            (true, true, None, "15 ended 2 failed"),
            (true, false, Some(0), "15 ended 2 failed"),
        ] {
            assert_eq!(line(bar, eta, &summary, total, Duration::from_secs(10)), expected);
        }
    }

    #[test]
    fn times_have_units_for_people() {
        for (seconds, expected) in [(0.2, "1 s"), (59.0, "59 s"), (61.0, "1 min 1 s"), (7300.0, "2 h 1 min")] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
