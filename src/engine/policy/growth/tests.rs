use proptest::prelude::*;

use super::*;
use crate::engine::policy::least_squares::{Estimate, Fit};
use crate::engine::policy::suspicion::judge;

fn counts(of_functions: &[u32]) -> Counts {
    std::array::from_fn(|function| of_functions.get(function).copied().unwrap_or(0))
}

/// A sample at a worker that ran the first two functions.
fn sample(counts: &Counts, growth: i64) -> Sample<'_> {
    Sample { counts, growth, measured: 0, is_first: false, ran: 0b11 }
}

#[test]
fn a_pool_without_samples_keeps_nothing() {
    let growth = Growth::default();
    assert_eq!(growth.spans.capacity(), 0);
    assert_eq!(growth.since(0).fit().estimates, [None; FUNCTIONS]);
    assert_eq!((growth.later_half(0), growth.measured(0), growth.heaps(0)), (0, 0, 0));
}

#[test]
fn spans_fill_in_turn_and_are_joined_when_all_are_full() {
    let mut growth = Growth::default();
    let all = FIRST_SPAN_SAMPLES * SPANS as u64;
    // Samples so far; spans then, and samples a span.
    for (samples, spans, span_samples) in [
        (1, 1, FIRST_SPAN_SAMPLES),
        (FIRST_SPAN_SAMPLES, 1, FIRST_SPAN_SAMPLES),
        (FIRST_SPAN_SAMPLES + 1, 2, FIRST_SPAN_SAMPLES),
        (all, SPANS, FIRST_SPAN_SAMPLES),
        (all + 1, SPANS / 2 + 1, 2 * FIRST_SPAN_SAMPLES),
        (2 * all, SPANS, 2 * FIRST_SPAN_SAMPLES),
        (2 * all + 1, SPANS / 2 + 1, 4 * FIRST_SPAN_SAMPLES),
    ] {
        while growth.since(0).samples() < samples {
            growth.add(&sample(&counts(&[1]), 0));
        }
        assert_eq!((growth.spans.len(), growth.span_samples), (spans, span_samples), "{samples} samples");
        let (last, full) = growth.spans.split_last().unwrap();
        assert!(full.iter().all(|span| span.samples() == span_samples), "{samples} samples");
        assert!((1..=span_samples).contains(&last.samples()), "{samples} samples");
    }
}

#[test]
fn joining_keeps_all_sums_and_their_order() {
    const SAMPLES: u32 = if cfg!(miri) { 500 } else { 10_000 };
    let mut growth = Growth::default();
    let mut direct = Sums::default();
    for number in 0..SAMPLES {
        // The fourth function comes late, the second goes early, and the growth of the first one rises.
        let counts =
            counts(&[number % 7, number % 5 * u32::from(number < 300), number % 11 + 1, number / 400 * (number % 3)]);
        let growth_bytes = i64::from(counts[0] * number) + i64::from(number % 13);
        growth.add(&sample(&counts, growth_bytes));
        direct.add(&counts, growth_bytes);
    }
    let all = growth.since(0);
    assert_eq!(all.samples(), u64::from(SAMPLES));
    assert!((0..FUNCTIONS).all(|function| all.samples_of(function) == direct.samples_of(function)));
    // All of them are whole numbers below 2^53, so no order of addition makes a difference.
    assert_eq!(all.fit(), direct.fit());

    let rates: Vec<f64> = growth.spans.iter().map(|span| span.fit().estimates[0].unwrap().growth).collect();
    assert!(rates.is_sorted(), "{rates:?}");
}

#[test]
fn the_later_half_of_a_function_is_counted_in_its_own_samples() {
    let mut growth = Growth::default();
    let mut add = |of_functions: &[u32], samples: u64| {
        for _ in 0..samples {
            growth.add(&sample(&counts(of_functions), 0));
        }
    };
    // Six spans of the first function, of which the second one ran in the first two; then one sample.
    add(&[1, 9], 2 * FIRST_SPAN_SAMPLES);
    add(&[5], 4 * FIRST_SPAN_SAMPLES);
    add(&[7, 0, 3], 1);
    for (function, start) in [(0, 3), (1, 1), (2, 6)] {
        assert_eq!(growth.later_half(function), start, "function {function}");
    }
    // 24 samples of 25 are without the last span, 13 of them are needed: three spans of four and the last one.
    assert_eq!(growth.since(3).samples_of(0), 13);
    assert_eq!(growth.since(1).samples_of(1), FIRST_SPAN_SAMPLES);
    assert_eq!(growth.since(6).samples_of(2), 1);
}

#[test]
fn a_first_call_is_left_out_of_the_fit_and_counts_in_heaps() {
    let mut growth = Growth::default();
    let own = counts(&[1]);
    growth.add(&Sample { is_first: true, growth: 1_000_000, ran: 0b1, ..sample(&own, 0) });
    assert!(growth.spans.is_empty());
    growth.add(&Sample { ran: 0b101, ..sample(&own, 10) });
    growth.add(&Sample { ran: 0b100, measured: 2, ..sample(&own, 20) });
    growth.add(&Sample { ran: 0b100, measured: FUNCTIONS, ..sample(&own, -5) });
    assert_eq!([0, 1, 2].map(|function| growth.heaps(function)), [1_000_010, 0, 25]);
    assert_eq!([0, 1, 2].map(|function| growth.measured(function)), [2, 0, 1]);
    assert_eq!(growth.since(0).samples(), 3);
    // A sample in whose interval nothing ran.
    growth.add(&sample(&counts(&[]), 7));
    assert_eq!((growth.since(0).samples(), growth.heaps(0)), (3, 1_000_017));
}

#[test]
fn heaps_end_at_the_largest_number() {
    let mut growth = Growth::default();
    for _ in 0..3 {
        growth.add(&sample(&counts(&[1]), i64::MAX));
    }
    assert_eq!(growth.heaps(0), i64::MAX);
    for _ in 0..3 {
        growth.add(&sample(&counts(&[1]), i64::MIN));
    }
    assert_eq!(growth.heaps(0), i64::MIN);
}

fn is_finite(estimate: &Estimate) -> bool {
    estimate.growth.is_finite() && estimate.error.is_finite() && estimate.error >= 0.0
}

fn any_growth() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -1_000_000..1_000_000_i64, Just(0), Just(i64::MAX), Just(i64::MIN)]
}

/// Counts of any size, of few functions or of all.
fn any_counts() -> impl Strategy<Value = Counts> {
    let count = || prop_oneof![any::<u32>(), 0..4_u32, 0..1_000_u32, Just(u32::MAX)];
    let few = prop::collection::vec((0..FUNCTIONS, count()), 0..5).prop_map(|few| {
        let mut counts = [0; FUNCTIONS];
        for (function, count) in few {
            counts[function] = count;
        }
        counts
    });
    let all = (any::<u32>(), 0..32_u32).prop_map(|(factor, shift)| {
        std::array::from_fn(|function| factor.wrapping_mul(function as u32 * function as u32 + 1) >> shift)
    });
    prop_oneof![4 => few, 2 => all, 1 => count().prop_map(|count| [count; FUNCTIONS])]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever workers tell: nothing panics, and what is known is finite.
    #[test]
    fn all_samples_give_finite_results(
        samples in prop::collection::vec((any_counts(), any_growth(), any::<usize>(), any::<bool>(), any::<u64>()), 0..120),
        pieces in prop_oneof![any::<u64>(), Just(u64::MAX), 0..100_u64],
    ) {
        let mut growth = Growth::default();
        for (counts, bytes, measured, is_first, ran) in &samples {
            let measured = if *measured % 2 == 0 { measured % FUNCTIONS } else { *measured };
            growth.add(&Sample { counts, growth: *bytes, measured, is_first: *is_first, ran: *ran });
        }
        for verdict in judge(&growth, &[pieces; FUNCTIONS]) {
            prop_assert!(verdict.estimate.as_ref().is_none_or(is_finite), "{verdict:?}");
        }
        for span in 0..growth.spans.len() {
            let Fit { estimates, .. } = growth.since(span).fit();
            prop_assert!(estimates.iter().flatten().all(is_finite), "{estimates:?}");
        }
    }
}
