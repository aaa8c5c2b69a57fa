//! A task's progress on standard error: a bar on a terminal, a line now and then elsewhere. Or in a bar of the program's own.
//!
//! Invariant: a bar stands at the pieces that have ended, also when its task has ended before them.

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
            let mut shown = Shown { bar, is_whole: false };
            return self.progress(move |progress| {
                shown.bar.set_message(rest_of_line(progress));
                shown.show(progress);
            });
        }
        let mut lines = Lines { name, written: Instant::now(), last: None };
        self.progress(move |progress| lines.tell(*progress))
    }

    /// Shows how far the task has come in a bar of your own: of your style, or in a [`MultiProgress`](indicatif::MultiProgress).
    ///
    /// The bar's length is the number of pieces that were handed out, and its position that of those that have ended, read or not; so
    /// its rate and its time left are those of the work. Failed ones and those of an earlier run are among them. Prefix, message and style are
    /// yours. At the end it is [finished](indicatif::ProgressBar::finish_using_style) in its own way, or, if pieces are left that have not
    /// ended, [abandoned](indicatif::ProgressBar::abandon) where it stands. It is a [`progress`](Self::progress) callback, and replaces one. With the
    /// feature `indicatif`.
    ///
    /// ```
    /// use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
    ///
    /// let bars = MultiProgress::new();
    /// let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {eta}").unwrap();
    /// let bar = bars.add(ProgressBar::new(0).with_style(style).with_prefix("squares"));
    /// let task = multicore::Task::<u64>::new_or_inline().bar_with(bar.clone());
    /// task.run_all(|a: u64, _: ()| a * a, (0..100).map(|a| (a, ())));
    /// assert_eq!(task.get().unwrap()[99], 9801);
    /// assert_eq!((bar.position(), bar.is_finished()), (100, true));
    /// ```
    pub fn bar_with(self, bar: ProgressBar) -> Self
    where
        R: Value,
    {
        let mut shown = Shown { bar, is_whole: false };
        self.progress(move |progress| shown.show(progress))
    }
}

/// A bar, until the task has ended.
struct Shown {
    bar: ProgressBar,
    /// All that was handed out has ended.
    is_whole: bool,
}

impl Shown {
    fn show(&mut self, progress: &Progress) {
        let ended = progress.done() + progress.failed();
        self.is_whole = ended == progress.total();
        self.bar.set_length(progress.total() as u64);
        self.bar.set_position(ended as u64);
    }
}

impl Drop for Shown {
    /// The last call was made.
    fn drop(&mut self) {
        // To finish it is to move it to its length.
        if self.is_whole { self.bar.finish_using_style() } else { self.bar.abandon() }
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
