//! A task's progress on standard error: a bar on a terminal, a line now and then elsewhere.

use super::Task;
use crate::codec::value::Value;
use crate::task::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// In a log file, a line each 10 s tells enough.
const LINE_EACH: Duration = Duration::from_secs(10);

const STYLE: &str = "{prefix}{wide_bar} {pos}/{len}{msg}";

impl<R> Task<R> {
    /// Shows on standard error how far the task has come: as a bar where that is a terminal, else as a line each 10 s and a last one at the
    /// end. It is a [`progress`](Self::progress) callback, and replaces one. With the feature `indicatif`.
    ///
    /// ```
    /// let task = multicore::Task::<u64>::new_or_inline().name("squares").bar();
    /// task.run_all(|a: u64, _: ()| a * a, (0..100).map(|a| (a, ())));
    /// assert_eq!(task.get().unwrap()[99], 9801);
    /// ```
    pub fn bar(self) -> Self
    where
        R: Value,
    {
        let name = self.settings.name.as_deref().map_or(String::new(), |name| format!("{name}: "));
        if io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(STYLE).expect("the template is right");
            let bar = bar.with_style(style).with_prefix(name).with_finish(ProgressFinish::AndLeave);
            return self.progress(move |progress| {
                bar.set_length(progress.total() as u64);
                bar.set_position((progress.done() + progress.failed()) as u64);
                bar.set_message(rest_of_line(progress));
            });
        }
        let mut lines = Lines { name, written: Instant::now(), last: None };
        self.progress(move |progress| lines.tell(*progress))
    }
}

/// Lines for a log.
struct Lines {
    name: String,
    written: Instant,
    /// What was told last.
    last: Option<Progress>,
}

impl Lines {
    fn tell(&mut self, progress: Progress) {
        self.last = Some(progress);
        if self.written.elapsed() >= LINE_EACH {
            self.written = Instant::now();
            self.write(&progress);
        }
    }

    fn write(&self, progress: &Progress) {
        let ended = progress.done() + progress.failed();
        let line = format!("{}{ended}/{}{}", self.name, progress.total(), rest_of_line(progress));
        // Nobody reads it, then.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

impl Drop for Lines {
    /// The last call was made.
    fn drop(&mut self) {
        if let Some(progress) = self.last {
            self.write(&progress);
        }
    }
}

/// What follows the number of pieces that have ended.
fn rest_of_line(progress: &Progress) -> String {
    let mut text = String::new();
    for (count, what) in [(progress.failed(), "failed"), (progress.resumed(), "of an earlier run")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    let ended = progress.done() + progress.failed();
    if ended == progress.total() {
        let _ = write!(text, " in {:.1} s", progress.elapsed().as_secs_f64());
    } else if let Some(left) = progress.eta() {
        let _ = write!(text, ", {:.1}/s, {} s left", progress.rate(), left.as_secs());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Counts;

    #[test]
    fn a_line_tells_what_there_is_to_tell() {
        let none = Counts::default();
        for (counts, seconds, text) in [
            (none, 0, " in 0.0 s"),
            (Counts { total: 10, ..none }, 3, ""),
            (Counts { total: 10, done: 4, failed: 1, ..none }, 2, ", 1 failed, 2.5/s, 2 s left"),
            (Counts { total: 10, done: 6, resumed: 5, ..none }, 2, ", 5 of an earlier run, 0.5/s, 8 s left"),
            (Counts { total: 10, done: 10, ..none }, 2, " in 2.0 s"),
        ] {
            assert_eq!(rest_of_line(&Progress::of(counts, Duration::from_secs(seconds))), text);
        }
    }
}
