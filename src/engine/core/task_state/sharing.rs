//! What the arguments of pieces share with others: kept until the piece has its outcome.
//!
//! Invariant: a piece that has no outcome keeps its tables. They are dropped without the scheduler's lock, since the last handle of
//! a table gives its memory back.

use super::TaskState;
use crate::codec::tables::table::Tables;
use crate::engine::core::trash::Trash;
use std::collections::BTreeMap;

/// Of a task that has such pieces.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    tables: BTreeMap<usize, Tables>,
    /// Of pieces that have an outcome.
    released: Vec<Tables>,
}

impl TaskState {
    /// The next piece that comes keeps these tables.
    pub(crate) fn share_with_next(&mut self, tables: Tables) {
        let number = self.pieces.len();
        let sharing = self.sharing.get_or_insert_default();
        // Most pieces share what the one before does: then that list serves for both.
        let tables = match sharing.tables.last_key_value() {
            Some((_, last)) if is_same(last, &tables) => last.clone(),
            _ => tables,
        };
        sharing.tables.insert(number, tables);
        // Its result takes the way on which it lets go of them.
        self.settles_late = true;
    }

    /// What a piece shares.
    #[inline]
    pub(crate) fn tables_of(&self, number: usize) -> Option<&Tables> {
        self.sharing.as_ref()?.tables.get(&number)
    }

    /// A piece has its outcome.
    #[inline]
    pub(crate) fn release(&mut self, number: usize) {
        if let Some(sharing) = &mut self.sharing {
            sharing.released.extend(sharing.tables.remove(&number));
        }
    }

    /// All pieces have one but those in `last`.
    pub(super) fn release_ended(&mut self) {
        if let Some(sharing) = &mut self.sharing {
            let last = &self.last;
            let (kept, released) =
                std::mem::take(&mut sharing.tables).into_iter().partition(|(number, _)| last.contains(number));
            let released: BTreeMap<_, _> = released;
            sharing.tables = kept;
            sharing.released.extend(released.into_values());
        }
    }

    /// Drops what nobody keeps any more.
    #[inline]
    pub(crate) fn drop_released(&mut self, trash: &mut Trash) {
        if let Some(sharing) = &mut self.sharing
            && !sharing.released.is_empty()
        {
            trash.add_rest(std::mem::take(&mut sharing.released));
        }
    }
}

fn is_same(one: &Tables, other: &Tables) -> bool {
    one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| one.id() == other.id())
}
