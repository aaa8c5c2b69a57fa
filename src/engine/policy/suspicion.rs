//! Which functions leak, by the growth of the heaps in which they ran.
//!
//! | a suspect                                                                | so this is none                                |
//! |--------------------------------------------------------------------------|------------------------------------------------|
//! | grows with each piece by more than [`ERRORS`] standard errors            | noise                                          |
//! | is known from [`LEAST_SAMPLES`] samples more than functions ran              | what few samples tell by chance                  |
//! | has grown by [`LEAST_BYTES`] in all its pieces                           | what harms nobody                              |
//! | grows so in the later half of its samples too, at half of that rate or more | a cache that was filled and stopped growing   |
//! | ran in workers whose heaps have grown by half of what it leaked          | what makes a thing that another function frees |
//!
//! Why half of the rate: of a cache that was filled in the part `p` of all samples, the rate on the whole is `p`, and that in the later
//! half `2p - 1`. This is above three errors as long as `p` is above a half, but less than half of `p` as soon as `p` is below two
//! thirds. So a cache is no suspect any more once about half as many samples have passed as it took to be filled, and one that grows
//! as the logarithm of its pieces is none either. A leak that begins late has the higher rate in the later half.
//!
//! Where all samples of a function lie in one span ([`Growth`]), as those of one short task among many, they are their own later half:
//! then a cache that was filled in them is a suspect until the function runs again. Otherwise no such task could be named.

use super::growth::Growth;
use super::least_squares::{Estimate, Fit};
use super::sampling::FUNCTIONS;

/// Chance gives three errors once in 700 times, and the later half and the heaps must agree.
const ERRORS: f64 = 3.0;

/// With fewer the standard error is itself a guess.
const LEAST_SAMPLES: u64 = 20;

/// Workers keep about as much from their first pieces for good.
const LEAST_BYTES: f64 = (1 << 20) as f64;

/// The part of the whole rate that the later half must have.
const LATER_PART: f64 = 0.5;

/// The part of the leak by which heaps must have grown. Not all of it: the last pieces of a worker are in no sample.
const HEAPS_PART: f64 = 0.5;

/// What is known of one function.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use]
pub(crate) struct Verdict {
    /// The samples after one of its pieces.
    pub(crate) measured: u64,
    /// `None` where it cannot be told.
    pub(crate) estimate: Option<Estimate>,
    pub(crate) is_suspect: bool,
}

/// The verdict on each function. `pieces` are those that workers have answered. With five functions it takes 2 us; with all
/// 33 it takes 20 us, and as much again for each later half. A copy of the samples takes less time, so that the pool's lock can be free.
pub(crate) fn judge(growth: &Growth, pieces: &[u64; FUNCTIONS]) -> [Verdict; FUNCTIONS] {
    let whole = growth.since(0).fit();
    // Functions that run side by side have the same later half, so each is fitted once.
    let mut later: Vec<(usize, Fit)> = Vec::new();
    std::array::from_fn(|function| {
        let estimate = whole.estimates[function];
        let grows = estimate
            .filter(|estimate| is_enough(&whole) && is_leak(estimate, pieces[function], growth.heaps(function)));
        let is_suspect = grows.is_some_and(|estimate| {
            let start = growth.later_half(function);
            let known = later.iter().position(|(known, _)| *known == start).unwrap_or_else(|| {
                later.push((start, growth.since(start).fit()));
                later.len() - 1
            });
            later[known].1.estimates[function].is_some_and(|later| goes_on(&estimate, &later))
        });
        Verdict { measured: growth.measured(function), estimate, is_suspect }
    })
}

fn is_enough(whole: &Fit) -> bool {
    whole.samples >= LEAST_SAMPLES + whole.functions as u64
}

/// True beyond chance. Without any error, as where all samples fit exactly, all growth is.
fn is_sure(estimate: &Estimate) -> bool {
    estimate.growth > ERRORS * estimate.error
}

/// True if a function leaks on the whole.
fn is_leak(estimate: &Estimate, pieces: u64, heaps: i64) -> bool {
    let leaked = estimate.growth * pieces as f64;
    is_sure(estimate) && leaked >= LEAST_BYTES && heaps as f64 >= HEAPS_PART * leaked
}

/// True if a growth still goes on.
fn goes_on(whole: &Estimate, later: &Estimate) -> bool {
    is_sure(later) && later.growth >= LATER_PART * whole.growth
}

#[cfg(test)]
mod tests;
