//! A progress bar, for a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of rows on stderr, hidden if that is no terminal.
pub struct Bar(ProgressBar);

impl Bar {
    pub fn new(rows: u64) -> Bar {
        let bar = ProgressBar::new(rows);
        Bar(match ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} rows, {elapsed}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Shows how many rows of the feed are in the database.
    pub fn set(&self, rows: u64) {
        self.0.set_position(rows);
    }

    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
