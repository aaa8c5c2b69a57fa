//! Which seats a look must visit: sets of seats, by what their workers do.
//!
//! Most workers of a large pool idle most of the time, and a look must not cost more because of them. So each walk visits
//! one of these sets, never all seats.
//!
//! Invariant: a seat that is not in [`Set::Touched`] is in exactly the sets that its [`Traits`] name. A method that lets its caller
//! change a worker touches the seat first, and one that reads a set sorts the touched seats in before (`Seats::sorted`).

/// The sets that there are: each is a union of seats with certain [`Traits`], but for the last three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Set {
    /// Workers that hold pieces.
    Busy,
    /// Those of them that hold two or more.
    Laden,
    /// Those of them that can take more.
    Hungry,
    /// Workers that hold nothing and can take pieces, with a process …
    Idle,
    /// … and without one: they are being started.
    Starting,
    /// Workers whose state depends on the time: that hold pieces, are suspect, or leave.
    Timed,
    /// Seats about which the supervisor may have something to do: vacant, or their worker starts or has ended.
    Unsettled,
    /// Seats without a worker that get one when pieces wait.
    Resting,
    /// Workers that held pieces at the last announcement, and hold none now: they must be asked for nothing any more.
    Retired,
    /// Seats that may have changed since they were sorted in.
    Touched,
    /// Seats whose sets have changed since that was told to those who look from outside (`core/status.rs`).
    Untold,
}

/// The number of sets that traits name: the first ones.
const OF_TRAITS: usize = Set::Retired as usize;

impl Set {
    const COUNT: usize = OF_TRAITS + 3;

    /// The set as a bit of a mask.
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Those that can take pieces.
const TAKING: u8 = Set::Hungry.bit() | Set::Idle.bit() | Set::Starting.bit() | Set::Resting.bit();

/// What of a seat decides who visits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Its worker holds pieces, or has no room for one: it may have said something, and may be worth a signal.
    pub(crate) is_busy: bool,
    /// It holds two pieces or more: it could give some up.
    pub(crate) is_laden: bool,
    /// It can take more pieces.
    pub(crate) is_hungry: bool,
    /// Its process is known.
    pub(crate) has_process: bool,
    /// It works; false for one that is suspect or leaves.
    pub(crate) works: bool,
    /// It has no worker, and gets one when pieces wait.
    pub(crate) rests: bool,
    /// It needs nothing of the supervisor: it runs, and all that belongs to its start is done.
    pub(crate) is_settled: bool,
}

impl Traits {
    /// The sets that a seat with these traits is in, as a mask.
    #[inline]
    fn sets(self) -> u8 {
        let Traits { is_busy, is_laden, is_hungry, has_process, works, rests, is_settled } = self;
        let takes = match (is_hungry, is_busy, has_process) {
            (false, _, _) => 0,
            (true, true, _) => Set::Hungry.bit(),
            (true, false, true) => Set::Idle.bit(),
            (true, false, false) => Set::Starting.bit(),
        };
        let of = |is_in: bool, set: Set| if is_in { set.bit() } else { 0 };
        of(is_busy, Set::Busy)
            | of(is_laden, Set::Laden)
            | takes
            | of(is_busy || !works, Set::Timed)
            | of(!is_settled, Set::Unsettled)
            | of(rests, Set::Resting)
    }
}

/// 64 seats: a word for each set.
type Row = [u64; Set::COUNT];

/// The sets.
#[derive(Debug)]
pub(crate) struct Roster {
    rows: Box<[Row]>,
    /// The sets of each seat by its traits, as masks: most looks change nothing of it.
    known: Box<[u8]>,
    /// The number of workers that can take pieces, and of those that hold pieces.
    hungry_workers: usize,
    busy_workers: usize,
    /// A seat that is touched: what is touched again and again is nearly always the same one.
    last_touched: Option<usize>,
}

impl Roster {
    pub(crate) fn new(seats: usize) -> Self {
        let mut roster = Roster {
            rows: vec![[0; Set::COUNT]; seats.div_ceil(64)].into_boxed_slice(),
            known: vec![0; seats].into_boxed_slice(),
            hungry_workers: 0,
            busy_workers: 0,
            last_touched: None,
        };
        (0..seats).for_each(|seat| roster.touch(seat));
        roster
    }

    /// There are this many seats now. Those that are new are to be sorted in.
    pub(crate) fn grow(&mut self, seats: usize) {
        let before = self.known.len();
        let mut known = std::mem::take(&mut self.known).into_vec();
        known.resize(seats, 0);
        self.known = known.into_boxed_slice();
        let mut rows = std::mem::take(&mut self.rows).into_vec();
        rows.resize(seats.div_ceil(64), [0; Set::COUNT]);
        self.rows = rows.into_boxed_slice();
        (before..seats).for_each(|seat| self.touch(seat));
    }

    // The sets.

    #[inline]
    pub(crate) fn is_empty(&self, set: Set) -> bool {
        self.rows.iter().all(|row| row[set as usize] == 0)
    }

    /// The first seat of a set from this one on.
    #[inline]
    pub(crate) fn next(&self, set: Set, from: usize) -> Option<usize> {
        let first = from / 64;
        let rest = self.rows.get(first)?[set as usize] & u64::MAX << (from % 64);
        if rest != 0 {
            return Some(first * 64 + rest.trailing_zeros() as usize);
        }
        // Most pools have one row.
        if self.rows.len() == 1 {
            return None;
        }
        let rows = self.rows.iter().enumerate().skip(first + 1);
        let (index, word) = rows.map(|(index, row)| (index, row[set as usize])).find(|(_, word)| *word != 0)?;
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    #[inline]
    pub(crate) fn first(&self, set: Set) -> Option<usize> {
        self.next(set, 0)
    }

    pub(crate) fn iter(&self, set: Set) -> impl Iterator<Item = usize> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let seat = self.next(set, from)?;
            from = seat + 1;
            Some(seat)
        })
    }

    /// The number of workers that can take pieces, and of those that would be started for some.
    pub(crate) fn hungry_workers(&self) -> usize {
        self.hungry_workers
    }

    /// The number of workers that hold pieces.
    pub(crate) fn busy_workers(&self) -> usize {
        self.busy_workers
    }

    /// A worker that holds nothing and can take pieces; one that is being started only if there is no other, and a seat that rests if there is
    /// not even that.
    pub(crate) fn first_idle(&self) -> Option<usize> {
        self.first(Set::Idle).or_else(|| self.first(Set::Starting)).or_else(|| self.first(Set::Resting))
    }

    // Changes.

    /// What is known of a seat may change now.
    #[inline]
    pub(crate) fn touch(&mut self, seat: usize) {
        if self.last_touched != Some(seat)
            && let Some(row) = self.rows.get_mut(seat / 64)
        {
            row[Set::Touched as usize] |= 1 << (seat % 64);
            self.last_touched = Some(seat);
        }
    }

    /// A seat that is to be sorted in.
    #[inline]
    pub(crate) fn next_touched(&self) -> Option<usize> {
        self.first(Set::Touched)
    }

    /// Sorts a seat in.
    #[inline(always)]
    pub(crate) fn sort_in(&mut self, seat: usize, traits: Traits) {
        let (Some(row), Some(known)) = (self.rows.get_mut(seat / 64), self.known.get_mut(seat)) else { return };
        let (before, now, place) = (*known, traits.sets(), seat % 64);
        *known = now;
        row[Set::Touched as usize] &= !(1 << place);
        self.last_touched = None;
        let changed = before ^ now;
        if changed == 0 {
            return;
        }
        // Two or three of them change, for the most part.
        let mut left = changed;
        while left != 0 {
            row[left.trailing_zeros() as usize] ^= 1 << place;
            left &= left - 1;
        }
        row[Set::Retired as usize] |= u64::from(before & !now & Set::Busy.bit()) << place;
        row[Set::Untold as usize] |= 1 << place;
        let is_in = |sets: u8, mask: u8| usize::from(sets & mask != 0);
        self.hungry_workers = self.hungry_workers + is_in(now, TAKING) - is_in(before, TAKING);
        self.busy_workers = self.busy_workers + is_in(now, Set::Busy.bit()) - is_in(before, Set::Busy.bit());
    }

    /// Takes a worker that must be asked for nothing any more.
    pub(crate) fn take_retired(&mut self) -> Option<usize> {
        while let Some(seat) = self.first(Set::Retired) {
            let (row, bit) = (self.rows.get_mut(seat / 64)?, 1 << (seat % 64));
            row[Set::Retired as usize] &= !bit;
            if row[Set::Busy as usize] & bit == 0 {
                return Some(seat);
            }
        }
        None
    }

    /// Takes a seat whose sets have changed.
    pub(crate) fn take_untold(&mut self) -> Option<usize> {
        let seat = self.first(Set::Untold)?;
        self.rows.get_mut(seat / 64)?[Set::Untold as usize] &= !(1 << (seat % 64));
        Some(seat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_over_a_set_visits_each_of_its_seats_once_in_order() {
        let is_in = Traits { is_busy: true, ..Traits::default() };
        for seats in [1, 63, 64, 65, 200] {
            let mut roster = Roster::new(seats);
            assert!(roster.is_empty(Set::Busy) && roster.first(Set::Busy).is_none());
            let chosen: Vec<usize> = [0, 1, 62, 63, 64, 127, 128, 199].into_iter().filter(|&it| it < seats).collect();
            for &seat in &chosen {
                roster.sort_in(seat, is_in);
                roster.sort_in(seat, is_in);
            }
            assert_eq!(roster.iter(Set::Busy).collect::<Vec<_>>(), chosen);
            assert_eq!((roster.is_empty(Set::Busy), roster.next(Set::Busy, seats)), (false, None));
            for seat in 0..seats {
                assert_eq!(
                    roster.next(Set::Busy, seat),
                    chosen.iter().copied().find(|&it| it >= seat),
                    "{seats}, {seat}"
                );
            }
            for &seat in &chosen {
                roster.sort_in(seat, Traits::default());
                assert_ne!(roster.next(Set::Busy, seat), Some(seat));
            }
            assert!(roster.is_empty(Set::Busy) && roster.iter(Set::Busy).next().is_none());
        }
    }

    #[test]
    fn a_seat_is_in_the_sets_that_its_traits_name() {
        use Set::{Busy, Hungry, Idle, Laden, Resting, Starting, Timed, Unsettled};
        let quiet = Traits { works: true, is_settled: true, has_process: true, ..Traits::default() };
        let busy = Traits { is_busy: true, ..quiet };
        let starts = Traits { is_hungry: true, has_process: false, is_settled: false, ..quiet };
        for (traits, expected) in [
            (quiet, &[][..]),
            (busy, &[Busy, Timed]),
            (Traits { is_laden: true, is_hungry: true, ..busy }, &[Busy, Laden, Hungry, Timed]),
            (Traits { is_hungry: true, ..quiet }, &[Idle]),
            (starts, &[Starting, Unsettled]),
            (Traits { works: false, ..quiet }, &[Timed]),
            (Traits { works: true, ..Traits::default() }, &[Unsettled]),
            (Traits { rests: true, has_process: false, ..quiet }, &[Resting]),
        ] {
            let mut roster = Roster::new(3);
            assert_eq!(roster.next_touched(), Some(0));
            // Whatever it was before.
            roster.sort_in(1, Traits { is_busy: true, is_laden: true, is_hungry: true, ..Traits::default() });
            roster.sort_in(1, traits);
            let all = [Busy, Laden, Hungry, Idle, Starting, Timed, Unsettled, Resting];
            let found: Vec<Set> = all.into_iter().filter(|&set| roster.first(set) == Some(1)).collect();
            assert_eq!(found, expected, "{traits:?}");
            let takes = traits.is_hungry || traits.rests;
            assert_eq!(roster.hungry_workers(), usize::from(takes));
            assert_eq!(roster.busy_workers(), usize::from(traits.is_busy));
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

    #[test]
    fn seats_whose_sets_change_are_to_be_told_once_each_time() {
        let mut roster = Roster::new(70);
        let busy = Traits { is_busy: true, works: true, ..Traits::default() };
        let told = |roster: &mut Roster| std::iter::from_fn(|| roster.take_untold()).collect::<Vec<_>>();
        [69, 3].into_iter().for_each(|seat| roster.sort_in(seat, busy));
        assert_eq!((told(&mut roster), told(&mut roster)), (vec![3, 69], vec![]));
        roster.sort_in(3, busy);
        assert!(told(&mut roster).is_empty(), "it is as before");
        roster.sort_in(3, Traits { is_laden: true, ..busy });
        assert_eq!(told(&mut roster), [3]);
    }

    #[test]
    fn seats_that_are_added_are_sorted_in_and_the_others_keep_their_sets() {
        let mut roster = Roster::new(2);
        let busy = Traits { is_busy: true, works: true, ..Traits::default() };
        (0..2).for_each(|seat| roster.sort_in(seat, busy));
        roster.grow(130);
        assert_eq!((roster.next_touched(), roster.busy_workers()), (Some(2), 2));
        roster.sort_in(129, busy);
        assert_eq!(roster.iter(Set::Busy).collect::<Vec<_>>(), [0, 1, 129]);
        assert_eq!(roster.busy_workers(), 3);
    }
}
