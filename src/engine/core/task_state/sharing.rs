//! What the arguments of pieces share with others: kept until the piece has its outcome.
//!
//! Pieces in a row that share the same have one entry: there may be millions of them.
//!
//! Invariant: a piece that has no outcome keeps its tables. They are dropped without the scheduler's lock, since the last handle of
//! a table gives its memory back.

use super::TaskState;
use crate::codec::tables::table::Tables;
use crate::engine::core::trash::Trash;
use std::collections::VecDeque;

/// Pieces in a row that share the same.
#[derive(Debug)]
struct Run {
    first: usize,
    /// The number behind the last of them.
    end: usize,
    /// How many of them have no outcome.
    open: usize,
    tables: Tables,
}

/// Of a task that has such pieces.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// In order, each with a piece that is open.
    runs: VecDeque<Run>,
    /// Of pieces that have an outcome.
    released: Vec<Tables>,
    /// The same of a task that has ended: there may be as many as it had pieces.
    ended: VecDeque<Run>,
}

impl Sharing {
    /// The index of the run of a piece.
    fn run_of(&self, number: usize) -> Option<usize> {
        let index = self.runs.partition_point(|run| run.end <= number);
        self.runs.get(index).filter(|run| run.first <= number).map(|_| index)
    }
}

impl TaskState {
    /// True if the last piece shares the same and has no outcome: then these tables are known.
    pub(crate) fn shares_already(&self, tables: &Tables) -> bool {
        let last = self.sharing.as_ref().and_then(|sharing| sharing.runs.back());
        last.is_some_and(|run| run.end == self.pieces.len() && is_same(&run.tables, tables))
    }

    /// The next piece that comes keeps these tables.
    pub(crate) fn share_with_next(&mut self, tables: Tables) {
        let number = self.pieces.len();
        let goes_on = self.shares_already(&tables);
        let sharing = self.sharing.get_or_insert_default();
        match sharing.runs.back_mut() {
            Some(run) if goes_on => {
                (run.end, run.open) = (number + 1, run.open + 1);
                // The run keeps the same: this is not the last handle.
                drop(tables);
            }
            _ => sharing.runs.push_back(Run { first: number, end: number + 1, open: 1, tables }),
        }
        // Its result takes the way on which it lets go of them.
        self.settles_late = true;
    }

    /// What a piece shares.
    #[inline]
    pub(crate) fn tables_of(&self, number: usize) -> Option<&Tables> {
        let sharing = self.sharing.as_ref()?;
        sharing.run_of(number).map(|index| &sharing.runs[index].tables)
    }

    /// A piece has its outcome. [`drop_released`](Self::drop_released) follows.
    #[inline]
    pub(crate) fn release(&mut self, number: usize) {
        if let Some(sharing) = &mut self.sharing
            && let Some(index) = sharing.run_of(number)
        {
            let run = &mut sharing.runs[index];
            run.open -= 1;
            if run.open == 0 {
                sharing.released.extend(sharing.runs.remove(index).map(|run| run.tables));
            }
        }
    }

    /// All pieces have one but those in `last`.
    pub(super) fn release_ended(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        if self.last.is_empty() {
            sharing.ended = std::mem::take(&mut sharing.runs);
        } else {
            for mut run in std::mem::take(&mut sharing.runs) {
                run.open = self.last.range(run.first..run.end).count();
                if run.open == 0 {
                    sharing.released.push(run.tables);
                } else {
                    sharing.runs.push_back(run);
                }
            }
        }
    }

    /// Drops what nobody keeps any more.
    #[inline]
    pub(crate) fn drop_released(&mut self, trash: &mut Trash) {
        if let Some(sharing) = &mut self.sharing
            && !(sharing.released.is_empty() && sharing.ended.is_empty())
        {
            trash.add_rest((std::mem::take(&mut sharing.released), std::mem::take(&mut sharing.ended)));
        }
    }

    /// Nobody takes its outcomes, and somebody must hear of them: the end of its pieces gives memory back, or one that fails is to be told.
    pub(crate) fn is_heard_though_detached(&self) -> bool {
        let shares = || self.sharing.as_ref().is_some_and(|sharing| !sharing.runs.is_empty());
        #[cfg(feature = "tracing")]
        if self.is_detached && self.settings().traced.hears_of_pieces {
            return true;
        }
        self.is_detached && (cfg!(feature = "log") || shares())
    }
}

fn is_same(one: &Tables, other: &Tables) -> bool {
    one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| one.id() == other.id())
}
