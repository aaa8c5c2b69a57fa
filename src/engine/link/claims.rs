//! Whose a piece is: what the state words in *back* say, and what the parent remembers of that.
//!
//! | [`Held`]    | the parent knows                                            | what ends it                      |
//! |-------------|-------------------------------------------------------------|-----------------------------------|
//! | `Given`     | nothing: the worker may have claimed it since the last look | a look that finds another state   |
//! | `Begun`     | the claim was seen, or the word is damaged                  | the answer, or the worker's death |
//! | `Withdrawn` | the parent has revoked it, and leaves it with a worker that is killed | the worker's death      |
//!
//! Invariant: what was seen once stays, whatever the worker writes later. So a piece that runs and resets its word is taken
//! back only if no look came between its claim and the reset; and a word that neither side writes, or a claim that comes before that
//! of an older piece, takes its worker's trust.

use super::Link;
use super::ledger::InFlight;
use crate::protocol::claim::{self, Standing};
use crate::protocol::sync::AtomicU32;

/// Whose a piece in flight is, as far as the parent has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Given,
    Begun,
    Withdrawn,
}

impl InFlight {
    /// Looks at the piece's word, and remembers a claim. True if the word is damaged; then the piece counts as begun.
    pub(super) fn look(&mut self, states: &[AtomicU32]) -> bool {
        let is_sound = match (self.held, claim::standing(states, self.sequence)) {
            (Held::Begun, _) | (Held::Given, Standing::Undecided) | (Held::Withdrawn, Standing::Revoked) => {
                return false;
            }
            (Held::Given, Standing::Claimed) => true,
            _ => false,
        };
        self.held = Held::Begun;
        !is_sound
    }

    /// Takes the piece back if the worker has not begun it. Else it is known to have begun.
    pub(super) fn revoke(&mut self, states: &[AtomicU32]) -> bool {
        match self.held {
            Held::Begun => false,
            Held::Withdrawn => !self.look(states),
            Held::Given => claim::revoke(states, self.sequence),
        }
    }
}

impl Link {
    /// Looks at the oldest piece's word. True if the worker has begun it, or damaged the word.
    pub(super) fn sees_claim(&mut self) -> bool {
        let Link { ledger, pair, is_damaged, .. } = self;
        let Some(oldest) = ledger.oldest_mut() else { return false };
        *is_damaged |= oldest.look(pair.states());
        oldest.held == Held::Begun
    }

    /// True if the parent has seen that the worker has begun its oldest piece. It does not look.
    #[inline]
    pub(crate) fn oldest_has_begun(&self) -> bool {
        self.ledger.oldest().is_some_and(|oldest| oldest.held == Held::Begun)
    }

    /// Revokes the oldest piece, but leaves it with this worker, which is about to be killed: it is certain then that the
    /// worker does not begin it in its last moment. False if it has begun it.
    #[must_use]
    pub(crate) fn withdraw_oldest(&mut self) -> bool {
        let Link { ledger, pair, is_damaged, .. } = self;
        let Some(oldest) = ledger.oldest_mut() else { return true };
        let withdrawn = oldest.revoke(pair.states());
        if withdrawn {
            oldest.held = Held::Withdrawn;
        } else {
            *is_damaged |= oldest.look(pair.states());
        }
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::TaskKey;
    use crate::protocol::sync::Relaxed;

    fn piece(held: Held) -> InFlight {
        let task = TaskKey { index: 0, generation: 1 };
        let (number, sequence, cost_ns, position, end) = (0, 1, 1, 0, 0);
        let (low_water, streams, is_limited, may_run_again, is_sampled, function) =
            (false, false, false, false, false, 0);
        InFlight {
            task,
            number,
            sequence,
            cost_ns,
            position,
            end,
            low_water,
            streams,
            is_limited,
            may_run_again,
            is_timed: false,
            is_sampled,
            function,
            held,
        }
    }

    /// The words of piece 1: undecided, claimed, revoked, damaged.
    const WORDS: [u32; 4] = [0, 2, 3, 77];

    #[test]
    fn what_was_seen_once_stays_and_a_word_that_nobody_writes_is_damage() {
        use Held::{Begun, Given, Withdrawn};
        // What was known, then for each word: what is known after it, and whether it is damaged.
        for (before, after) in [
            (Given, [(Given, false), (Begun, false), (Begun, true), (Begun, true)]),
            (Begun, [(Begun, false); 4]),
            (Withdrawn, [(Begun, true), (Begun, true), (Withdrawn, false), (Begun, true)]),
        ] {
            for (word, expected) in WORDS.into_iter().zip(after) {
                let (states, mut piece) = ([AtomicU32::new(9), AtomicU32::new(word)], piece(before));
                let is_damaged = piece.look(&states);
                assert_eq!((piece.held, is_damaged), expected, "{before:?}, {word}");
                states[1].store(0, Relaxed);
                let _ = piece.look(&states);
                assert!(expected.0 != Begun || piece.held == Begun, "{before:?}, {word}, then 0");
            }
        }
    }

    #[test]
    fn only_a_piece_that_nobody_saw_begin_is_taken_back() {
        use Held::{Begun, Given, Withdrawn};
        for (before, taken) in
            [(Given, [true, false, false, false]), (Begun, [false; 4]), (Withdrawn, [false, false, true, false])]
        {
            for (word, expected) in WORDS.into_iter().zip(taken) {
                let states = [AtomicU32::new(9), AtomicU32::new(word)];
                assert_eq!(piece(before).revoke(&states), expected, "{before:?}, {word}");
            }
        }
    }
}
