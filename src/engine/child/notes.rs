//! Notes of the piece that runs: one of its words goes where the parent finds it, however this worker dies.
//!
//! Invariant: a note is told with the number of the piece that runs, or of one before it, which is answered.

use crate::codec::note;
use crate::engine::wire::pair::Pair;
use crate::protocol::told;
use crate::sys::process;
use crate::sys::raw::Published;
use std::sync::atomic::{AtomicU32, Ordering};

/// The piece that runs. Threads of the piece read it.
static PIECE: AtomicU32 = AtomicU32::new(0);

/// The worker's pair, and its process: a child that a piece forks has no *back*.
static PAIR: Published<(&'static Pair, process::Number)> = Published::new();

/// Pieces may note from now on.
pub(super) fn begin_notes(pair: &'static Pair) {
    PAIR.publish(None, (pair, process::number()));
    note::note_by(tell);
}

#[inline(always)]
pub(super) fn piece_begins(sequence: u32) {
    PIECE.store(sequence, Ordering::Relaxed);
}

#[inline(always)]
pub(super) fn piece() -> u32 {
    PIECE.load(Ordering::Relaxed)
}

fn tell(number: u64) {
    if let Some((pair, own)) = PAIR.get()
        && process::is_current(*own)
    {
        told::tell_note(pair.noted(), pair.noted_in(), piece(), number);
    }
}
