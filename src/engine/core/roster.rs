//! Which seats a look must visit: sets of seats, by what their workers do.
//!
//! Most workers of a large pool idle most of the time, and a look must not cost more because of them. So each walk visits
//! one of these sets, never all seats.
//!
//! Invariant: a seat that is not in `touched` is in exactly the sets that its [`Traits`] name. A method that lets its caller
//! change a worker touches the seat first, and one that reads a set sorts the touched seats in before (`Seats::sorted`).

/// A set of seats, as a bitmap.
#[derive(Debug, Clone)]
pub(crate) struct SeatSet {
    words: Box<[u64]>,
}

impl SeatSet {
    /// An empty set for this number of seats.
    fn new(seats: usize) -> Self {
        SeatSet { words: vec![0; seats.div_ceil(64)].into_boxed_slice() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    #[inline]
    pub(crate) fn contains(&self, seat: usize) -> bool {
        self.words.get(seat / 64).is_some_and(|word| word >> (seat % 64) & 1 == 1)
    }

    #[inline]
    fn set(&mut self, seat: usize, is_in: bool) {
        if self.contains(seat) != is_in {
            self.flip(seat);
        }
    }

    /// Puts a seat in, or takes it out.
    #[inline]
    fn flip(&mut self, seat: usize) {
        if let Some(word) = self.words.get_mut(seat / 64) {
            *word ^= 1 << (seat % 64);
        }
    }

    /// The first seat of the set from this one on.
    #[inline]
    pub(crate) fn next(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        let rest = *self.words.get(first)? & u64::MAX << (from % 64);
        if rest != 0 {
            return Some(first * 64 + rest.trailing_zeros() as usize);
        }
        // Most pools have one word.
        if self.words.len() == 1 {
            return None;
        }
        let (index, word) = self.words.iter().enumerate().skip(first + 1).find(|(_, word)| **word != 0)?;
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    #[inline]
    pub(crate) fn first(&self) -> Option<usize> {
        self.next(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let seat = self.next(from)?;
            from = seat + 1;
            Some(seat)
        })
    }
}

/// What of a seat decides who visits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Its worker holds pieces: it may have said something, and may be worth a signal.
    pub(crate) is_busy: bool,
    /// It holds two pieces or more: it could give some up.
    pub(crate) is_laden: bool,
    /// It can take more pieces.
    pub(crate) is_hungry: bool,
    /// Its process is known.
    pub(crate) has_process: bool,
    /// It works; false for one that is suspect or leaves.
    pub(crate) works: bool,
    /// It needs nothing of the supervisor: it runs, and all that belongs to its start is done.
    pub(crate) is_settled: bool,
}

const BUSY: u8 = 1;
const HUNGRY: u8 = 2;
const IDLE: u8 = 4;
const STARTING: u8 = 8;
const TIMED: u8 = 16;
const UNSETTLED: u8 = 32;
const LADEN: u8 = 64;

impl Traits {
    /// The sets that a seat with these traits is in.
    #[inline]
    fn sets(self) -> u8 {
        let Traits { is_busy, is_laden, is_hungry, has_process, works, is_settled } = self;
        let takes = match (is_hungry, is_busy, has_process) {
            (false, _, _) => 0,
            (true, true, _) => HUNGRY,
            (true, false, true) => IDLE,
            (true, false, false) => STARTING,
        };
        let of = |is_in: bool, bit: u8| if is_in { bit } else { 0 };
        of(is_busy, BUSY) | of(is_laden, LADEN) | takes | of(is_busy || !works, TIMED) | of(!is_settled, UNSETTLED)
    }
}

/// The sets. Each is a union of seats with certain traits.
#[derive(Debug)]
pub(crate) struct Roster {
    /// Workers that hold pieces.
    pub(crate) busy: SeatSet,
    /// Those of them that hold two or more.
    pub(crate) laden: SeatSet,
    /// Those of them that can take more.
    pub(crate) hungry: SeatSet,
    /// Workers that hold nothing and can take pieces, with a process …
    pub(crate) idle: SeatSet,
    /// … and without one: they are being started.
    pub(crate) starting: SeatSet,
    /// Workers whose state depends on the time: that hold pieces, are suspect, or leave.
    pub(crate) timed: SeatSet,
    /// Seats about which the supervisor may have something to do: vacant, or their worker starts or has ended.
    pub(crate) unsettled: SeatSet,
    /// Workers that held pieces at the last announcement, and hold none now: they must be asked for nothing any more.
    retired: SeatSet,
    /// Seats that may have changed since they were sorted in.
    touched: SeatSet,
    /// One of these: what is touched again and again is nearly always the same seat.
    last_touched: Option<usize>,
    /// The number of workers that can take pieces.
    hungry_workers: usize,
    /// The sets of each seat: most looks change nothing of it.
    known: Box<[u8]>,
}

impl Roster {
    pub(crate) fn new(seats: usize) -> Self {
        let empty = SeatSet::new(seats);
        let mut touched = empty.clone();
        (0..seats).for_each(|seat| touched.set(seat, true));
        Roster {
            busy: empty.clone(),
            laden: empty.clone(),
            hungry: empty.clone(),
            idle: empty.clone(),
            starting: empty.clone(),
            timed: empty.clone(),
            unsettled: empty.clone(),
            retired: empty,
            touched,
            last_touched: None,
            hungry_workers: 0,
            known: vec![0; seats].into_boxed_slice(),
        }
    }

    /// What is known of a seat may change now.
    #[inline]
    pub(crate) fn touch(&mut self, seat: usize) {
        if self.last_touched != Some(seat) {
            self.touched.set(seat, true);
            self.last_touched = Some(seat);
        }
    }

    /// A seat that is to be sorted in.
    #[inline]
    pub(crate) fn next_touched(&self) -> Option<usize> {
        self.touched.first()
    }

    /// Sorts a seat in.
    #[inline]
    pub(crate) fn sort_in(&mut self, seat: usize, traits: Traits) {
        self.touched.set(seat, false);
        self.last_touched = None;
        let Some(known) = self.known.get_mut(seat) else { return };
        let (before, now) = (std::mem::replace(known, traits.sets()), traits.sets());
        let changed = before ^ now;
        if changed == 0 {
            return;
        }
        let takes = |sets: u8| usize::from(sets & (HUNGRY | IDLE | STARTING) != 0);
        self.hungry_workers = self.hungry_workers + takes(now) - takes(before);
        if before & !now & BUSY != 0 {
            self.retired.set(seat, true);
        }
        let Roster { busy, laden, hungry, idle, starting, timed, unsettled, .. } = self;
        for (bit, set) in [
            (BUSY, busy),
            (LADEN, laden),
            (HUNGRY, hungry),
            (IDLE, idle),
            (STARTING, starting),
            (TIMED, timed),
            (UNSETTLED, unsettled),
        ] {
            if changed & bit != 0 {
                set.flip(seat);
            }
        }
    }

    /// Takes a worker that must be asked for nothing any more.
    pub(crate) fn take_retired(&mut self) -> Option<usize> {
        while let Some(seat) = self.retired.first() {
            self.retired.set(seat, false);
            if !self.busy.contains(seat) {
                return Some(seat);
            }
        }
        None
    }

    /// The number of workers that can take pieces.
    pub(crate) fn hungry_workers(&self) -> usize {
        self.hungry_workers
    }

    /// A worker that holds nothing and can take pieces; one that is being started only if there is no other.
    pub(crate) fn first_idle(&self) -> Option<usize> {
        self.idle.first().or_else(|| self.starting.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lists_its_seats_in_order_and_counts_them() {
        for seats in [1, 63, 64, 65, 200] {
            let mut set = SeatSet::new(seats);
            assert!(set.is_empty() && set.first().is_none());
            let chosen: Vec<usize> = [0, 1, 62, 63, 64, 127, 128, 199].into_iter().filter(|&it| it < seats).collect();
            for &seat in chosen.iter().chain(&chosen) {
                set.set(seat, true);
            }
            // No such seat.
            set.set(seats.next_multiple_of(64), true);
            assert_eq!(set.iter().collect::<Vec<_>>(), chosen, "{seats}");
            assert_eq!((set.iter().count(), set.next(seats)), (chosen.len(), None));
            for &seat in chosen.iter().chain(&chosen) {
                set.set(seat, false);
                assert!(!set.contains(seat));
            }
            assert!(set.is_empty() && set.iter().next().is_none());
        }
    }

    #[test]
    fn a_seat_is_in_the_sets_that_its_traits_name() {
        let quiet = Traits { works: true, is_settled: true, has_process: true, ..Traits::default() };
        // Busy, hungry, idle, starting, timed, unsettled, laden.
        for (traits, expected) in [
            (quiet, [false; 7]),
            (Traits { is_busy: true, ..quiet }, [true, false, false, false, true, false, false]),
            (
                Traits { is_busy: true, is_laden: true, is_hungry: true, ..quiet },
                [true, true, false, false, true, false, true],
            ),
            (Traits { is_hungry: true, ..quiet }, [false, false, true, false, false, false, false]),
            (
                Traits { is_hungry: true, has_process: false, is_settled: false, ..quiet },
                [false, false, false, true, false, true, false],
            ),
            (Traits { works: false, ..quiet }, [false, false, false, false, true, false, false]),
            (Traits { works: true, ..Traits::default() }, [false, false, false, false, false, true, false]),
        ] {
            let mut roster = Roster::new(3);
            assert_eq!(roster.next_touched(), Some(0));
            // Whatever it was before.
            let all = Traits { is_busy: true, is_laden: true, is_hungry: true, ..Traits::default() };
            roster.sort_in(1, all);
            roster.sort_in(1, traits);
            let Roster { busy, laden, hungry, idle, starting, timed, unsettled, .. } = &roster;
            let found = [busy, hungry, idle, starting, timed, unsettled, laden].map(|set| set.contains(1));
            assert_eq!(found, expected, "{traits:?}");
            let takes = traits.is_hungry;
            assert_eq!(roster.hungry_workers(), usize::from(takes));
            assert_eq!(roster.first_idle(), (takes && !traits.is_busy).then_some(1));
        }
    }

    #[test]
    fn who_holds_nothing_any_more_is_told_once() {
        let mut roster = Roster::new(2);
        let busy = Traits { is_busy: true, works: true, ..Traits::default() };
        let idle = Traits { is_busy: false, ..busy };
        for seat in 0..2 {
            roster.sort_in(seat, busy);
            roster.sort_in(seat, idle);
        }
        // It holds pieces again: it is asked for something else.
        roster.sort_in(0, busy);
        assert_eq!((roster.take_retired(), roster.take_retired()), (Some(1), None));
        assert_eq!(roster.next_touched(), None);
        roster.touch(1);
        assert_eq!(roster.next_touched(), Some(1));
    }
}
