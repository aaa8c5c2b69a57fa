//! What the functions of a pool do to the memory of its workers.

use serde::{Deserialize, Serialize};

/// What is not known stands as this, which a text of JSON can hold; infinity it cannot.
pub(crate) const UNKNOWN_ERROR: f64 = f64::MAX;

/// One function that ran in a pool's workers: how often, and what each of its pieces adds to the memory of its worker.
///
/// After some pieces, chosen at random, the worker tells how much its heap has grown since it told that last. The growth a
/// piece is the least-squares fit of that to the number of pieces of each function in between. A pool tells up to 32 functions
/// apart; all others are one entry, whose name is `others`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionStats {
    /// The function's name.
    pub function: String,
    /// Where its first piece was handed out, as `file:line`.
    pub location: String,
    /// Its pieces that workers have answered.
    pub pieces: u64,
    /// Those after which a worker told its growth.
    pub measured: u64,
    /// The bytes by which the heap grows with each of its pieces. A block counts with what the allocator adds: one of 100 bytes
    /// as 112. 0 where nothing is known.
    pub growth_per_piece: f64,
    /// The standard error of that; `f64::MAX` where nothing is known.
    pub growth_error: f64,
    /// The most memory that a worker had for itself while it ran a measured piece of this function, in bytes. `None` where
    /// that is not measured.
    pub largest_peak: Option<u64>,
    /// The pool takes it for a leak.
    pub(crate) grows: bool,
    /// How many of its pieces still fit below the limits, if it is and there is one.
    pub(crate) pieces_left: Option<u64>,
}

/// A function that leaks, as far as the figures tell: [`Stats::suspects`](crate::Stats::suspects).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Suspect {
    /// The function's name.
    pub function: String,
    /// Where its first piece was handed out, as `file:line`.
    pub location: String,
    /// The bytes by which the heap grows with each of its pieces.
    pub growth_per_piece: f64,
    /// The standard error of that.
    pub growth_error: f64,
    /// How many of its pieces still fit below the nearest limit of memory, if the workers share them evenly. `None`: the
    /// pool has no such limit.
    pub pieces_left: Option<u64>,
}

impl FunctionStats {
    /// True if it is known how much the heap grows with each piece.
    pub(crate) fn is_known(&self) -> bool {
        self.growth_error < UNKNOWN_ERROR
    }
}

/// The functions that leak, the one first that has leaked most.
pub(super) fn suspects(functions: &[FunctionStats]) -> Vec<Suspect> {
    let mut leaking: Vec<&FunctionStats> = functions.iter().filter(|function| function.grows).collect();
    let leaked = |function: &FunctionStats| function.growth_per_piece * function.pieces as f64;
    leaking.sort_by(|one, other| leaked(other).total_cmp(&leaked(one)));
    let suspect = |function: &FunctionStats| Suspect {
        function: function.function.clone(),
        location: function.location.clone(),
        growth_per_piece: function.growth_per_piece,
        growth_error: function.growth_error,
        pieces_left: function.pieces_left,
    };
    leaking.into_iter().map(suspect).collect()
}
