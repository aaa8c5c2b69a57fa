//! Seats that rest are called when there is work for them (`core/idle.rs`).
//!
//! Invariant: no more are about to be filled than there is work for, as far as that is known.

use super::roster::Set;
use super::seat::Seat;
use super::seats::Seats;
use super::work::Work;
use crate::engine::policy::pace::{self, LOOK_AHEAD_NS};
use crate::engine::policy::placement::WORTH_STARTING_NS;
use crate::failpoint::failpoint;
use crate::sys::clock;

/// Pieces wait, and the worker that would get them is not there: as many seats are to be filled as there is work for. True if
/// one is that was not before: the supervisor fills it.
#[cold]
pub(super) fn call(seats: &mut Seats, work: &Work) -> bool {
    let (waiting_ns, pieces, coming) = (work.waiting_ns(), work.waiting_pieces(), coming(seats));
    let share_ns = pace::share(waiting_ns, seats.sorted().hungry_workers() + coming, LOOK_AHEAD_NS);
    let wanted = waiting_ns.div_ceil(share_ns.max(WORTH_STARTING_NS)).min(pieces as u64) as usize;
    call_up_to(seats, coming, wanted.max(1))
}

/// Pieces wait in a worker that runs another one, and no worker idles: one that could have them is started.
#[cold]
pub(super) fn call_one(seats: &mut Seats) -> bool {
    let coming = coming(seats);
    call_up_to(seats, coming, 1)
}

/// The seats of the set that are about to be filled.
fn coming(seats: &mut Seats) -> usize {
    let (now_ns, beyond) = (clock::now_ns(), seats.beyond());
    let comes = |(index, seat): &(usize, &Seat)| {
        *index != beyond && seat.vacant_until_ns().is_some_and(|until_ns| until_ns <= now_ns)
    };
    seats.unsettled().filter(comes).count()
}

/// Calls seats that rest until this number is about to be filled.
fn call_up_to(seats: &mut Seats, mut coming: usize, wanted: usize) -> bool {
    let mut any = false;
    while coming < wanted
        && let Some(seat) = seats.sorted().first(Set::Resting)
        && let Some(seat) = seats.get_mut(seat)
    {
        seat.call();
        failpoint!("parent-resting-called");
        (coming, any) = (coming + 1, true);
    }
    any
}
