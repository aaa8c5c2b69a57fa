//! Ranges keep their contract for every combination of settings.

use super::*;
use proptest::prelude::*;

/// The settings of the contract.
#[derive(Debug, Clone, Copy)]
struct Settings {
    len: usize,
    pieces: usize,
    min_len: usize,
    max_len: usize,
}

impl Settings {
    fn ranges(self) -> Ranges {
        let Settings { len, pieces, min_len, max_len } = self;
        Ranges::new(len, 3).with_pieces(pieces).with_min_len(min_len).with_max_len(max_len)
    }
}

fn check(settings: Settings) {
    let Settings { len, pieces, min_len, max_len } = settings;
    let all: Vec<_> = settings.ranges().collect();
    // The pieces cover the list, without gap or overlap, and none is empty.
    let mut at = 0;
    for &(start, end) in &all {
        assert_eq!(start, at, "{settings:?}");
        assert!(end > start, "{settings:?}: an empty piece");
        at = end;
    }
    assert_eq!(at, len, "{settings:?}");
    if len == 0 {
        assert!(all.is_empty());
        return;
    }
    // The lengths are as even as possible.
    let lengths = all.iter().map(|(start, end)| end - start);
    let (shortest, longest) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
    assert!(longest - shortest <= 1, "{settings:?}");
    // `max_len` overrides the others, `min_len` overrides the number of pieces.
    let (pieces, min_len, max_len) = (pieces.max(1), min_len.max(1), max_len.max(1));
    assert!(longest <= max_len, "{settings:?}");
    let as_few_as_max_len_allows = all.len() == len.div_ceil(max_len);
    assert!(shortest >= min_len || all.len() == 1 || as_few_as_max_len_allows, "{settings:?}");
    assert!(all.len() <= pieces || as_few_as_max_len_allows, "{settings:?}");
    // There are as many pieces as these settings allow.
    let one_more = all.len() + 1;
    assert!(all.len() >= pieces || len / one_more < min_len || one_more > len, "{settings:?}: too few");
}

/// The order in which the pieces are read, and from which end, does not change them.
fn check_ends(settings: Settings) {
    let all: Vec<_> = settings.ranges().collect();
    let ranges = settings.ranges();
    assert_eq!(ranges.len(), all.len(), "{settings:?}");
    assert!(ranges.clone().rev().eq(all.iter().rev().copied()), "{settings:?}");
    for n in 0..all.len() + 2 {
        let mut rest = ranges.clone();
        assert_eq!(rest.nth(n), all.get(n).copied(), "{settings:?}");
        assert_eq!(rest.len(), all.len().saturating_sub(n + 1), "{settings:?}");
        let mut rest = ranges.clone();
        assert_eq!(rest.nth_back(n), all.iter().rev().nth(n).copied(), "{settings:?}");
    }
    // From both ends in turn.
    let (mut ranges, mut front, mut back) = (ranges, Vec::new(), Vec::new());
    for turn in 0.. {
        let left = ranges.len();
        assert_eq!(ranges.size_hint(), (left, Some(left)));
        assert_eq!(left + front.len() + back.len(), all.len(), "{settings:?}");
        let Some(piece) = (if turn % 3 == 0 { ranges.next_back() } else { ranges.next() }) else { break };
        if turn % 3 == 0 { back.push(piece) } else { front.push(piece) }
    }
    assert_eq!((ranges.next(), ranges.next_back(), ranges.len()), (None, None, 0));
    front.extend(back.into_iter().rev());
    assert_eq!(front, all, "{settings:?}");
}

#[test]
fn every_combination_keeps_the_contract() {
    let most = if cfg!(miri) { 5 } else { 24 };
    for len in 0..=most {
        for pieces in 0..=most + 2 {
            for min_len in 0..=most / 2 {
                for max_len in (0..=most / 2).chain([usize::MAX]) {
                    let settings = Settings { len, pieces, min_len, max_len };
                    check(settings);
                    if pieces % 5 == 3 {
                        check_ends(settings);
                    }
                }
            }
        }
    }
}

#[test]
fn the_examples_of_the_contract_hold() {
    let pieces = |ranges: Ranges| ranges.map(|(start, end)| end - start).collect::<Vec<_>>();
    for (ranges, lengths) in [
        (Ranges::new(10, 4), vec![3, 3, 2, 2]),
        (Ranges::new(0, 4), vec![]),
        (Ranges::new(1, 4), vec![1]),
        (Ranges::new(10, 0), vec![10]),
        (Ranges::new(10, 4).with_pieces(0), vec![10]),
        (Ranges::new(10, 4).with_min_len(0).with_max_len(usize::MAX), vec![3, 3, 2, 2]),
        // `min_len` overrides the number of pieces.
        (Ranges::new(10, 4).with_min_len(5), vec![5, 5]),
        (Ranges::new(10, 4).with_min_len(6), vec![10]),
        (Ranges::new(10, 4).with_min_len(100), vec![10]),
        // `max_len` overrides both.
        (Ranges::new(10, 1).with_max_len(3), vec![3, 3, 2, 2]),
        (Ranges::new(10, 1).with_min_len(9).with_max_len(4), vec![4, 3, 3]),
        (Ranges::new(3, 1).with_max_len(0), vec![1, 1, 1]),
        // The order in which the settings are made does not matter.
        (Ranges::new(10, 9).with_max_len(4).with_min_len(9).with_pieces(1), vec![4, 3, 3]),
    ] {
        assert_eq!(pieces(ranges.clone()), lengths, "{ranges:?}");
    }
}

#[test]
fn the_longest_list_has_no_overflow() {
    let max = usize::MAX;
    for (pieces, min_len, max_len) in [
        (1, 1, max),
        (2, 1, max),
        (7, 1, max),
        (max, 1, max),
        (max, 1, 1),
        (1, max, 1),
        (max, max, max),
        (3, 1 << 40, max),
    ] {
        let ranges = Settings { len: max, pieces, min_len, max_len }.ranges();
        let count = ranges.len();
        assert!(count > 0);
        assert_eq!(ranges.clone().next().unwrap().0, 0);
        assert_eq!(ranges.clone().next_back().unwrap().1, max);
        let mut middle = ranges.clone();
        let (start, end) = middle.nth(count / 2).unwrap();
        assert!(start < end);
        assert_eq!(middle.len(), count - count / 2 - 1);
        assert_eq!(middle.next().is_none_or(|(start, _)| start == end), count > 0);
        let mut past = ranges.clone();
        assert_eq!(past.nth(max), None);
        assert_eq!((past.len(), past.next()), (0, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn long_lists_keep_the_contract(
        len in 0..5_000_usize,
        pieces in prop_oneof![0..300_usize, Just(usize::MAX)],
        min_len in prop_oneof![0..100_usize, any::<usize>()],
        max_len in prop_oneof![0..100_usize, any::<usize>()],
    ) {
        check(Settings { len, pieces, min_len, max_len });
    }
}

/// Of any number of machines each piece has one.
#[test]
fn shares_are_even_disjoint_and_whole() {
    for (len, pieces) in [(0, 4), (1, 4), (10, 4), (1000, 7), (1000, 64), (usize::MAX, 5), (usize::MAX, usize::MAX)] {
        for of in [1, 2, 3, 8, 100] {
            let all = Ranges::new(len, 3).with_pieces(pieces);
            let shares: Vec<_> = (0..of).map(|number| all.clone().share(number, of)).collect();
            let lengths = shares.iter().map(Ranges::len);
            let (least, most) = (lengths.clone().min().unwrap(), lengths.clone().max().unwrap());
            assert!(most - least <= 1, "{len} in {pieces}, {of} shares: {least} to {most}");
            assert_eq!(lengths.sum::<usize>(), all.len());
            let mut ends = shares
                .iter()
                .filter(|share| share.len() > 0)
                .map(|share| (share.clone().next().unwrap().0, share.clone().next_back().unwrap().1));
            let mut at = 0;
            assert!(ends.all(|(start, end)| std::mem::replace(&mut at, end) == start));
            assert_eq!(at, len);
        }
    }
}

/// A share of a share, and one of which pieces were taken.
#[test]
fn a_share_is_cut_from_what_is_left() {
    let mut left = Ranges::new(100, 10);
    assert_eq!(left.next(), Some((0, 10)));
    let half = left.share(1, 3);
    assert!(half.clone().eq([(40, 50), (50, 60), (60, 70)]));
    assert!(half.share(0, 2).eq([(40, 50)]));
}

#[test]
#[should_panic = "there is no share 4 of 4"]
fn a_share_that_is_none_is_refused() {
    let _ = Ranges::new(100, 10).share(4, 4);
}
