use super::*;

/// Counts of the first functions.
fn counts(of_functions: &[u32]) -> Counts {
    std::array::from_fn(|function| of_functions.get(function).copied().unwrap_or(0))
}

fn sums(samples: &[(&[u32], i64)]) -> Sums {
    let mut sums = Sums::default();
    for (of_functions, growth) in samples {
        sums.add(&counts(of_functions), *growth);
    }
    sums
}

/// True but for rounding. The error is the root of a small difference, so some 7 of its 16 digits are left.
fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

/// Compares the estimates of the first functions: growth and standard error. All others are unknown.
fn check(what: &str, samples: &[(&[u32], i64)], expected: &[Option<(f64, f64)>]) {
    let fit = sums(samples).fit();
    for (function, found) in fit.estimates.iter().enumerate() {
        let expected = expected.get(function).copied().flatten();
        let is_same = match (found, expected) {
            (Some(found), Some((growth, error))) => is_near(found.growth, growth) && is_near(found.error, error),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(is_same, "{what}: function {function} is {found:?}, not {expected:?}");
    }
}

#[test]
fn small_systems_come_out_as_by_hand() {
    check("a mean", &[(&[1], 9), (&[1], 10), (&[1], 11)], &[Some((10.0, (1.0_f64 / 3.0).sqrt()))]);
    check("a sample in whose interval nothing ran", &[(&[1], 9), (&[0], 50), (&[1], 11)], &[Some((10.0, 1.0))]);
    check("counts weigh", &[(&[1], 1), (&[3], 13)], &[Some((4.0, (10.0_f64 / 10.0).sqrt()))]);
    check(
        "two that never run together",
        &[(&[1, 0], 1), (&[1, 0], 3), (&[0, 1], 10), (&[0, 1], 14)],
        &[Some((2.0, 2.5_f64.sqrt())), Some((12.0, 2.5_f64.sqrt()))],
    );
    let error = (2.0_f64 / 9.0).sqrt();
    check(
        "two that run together",
        &[(&[1, 1], 4), (&[1, 0], 1), (&[0, 1], 2)],
        &[Some((4.0 / 3.0, error)), Some((7.0 / 3.0, error))],
    );
    check("no error", &[(&[2, 1], 20), (&[1, 3], 10), (&[5, 4], 50)], &[Some((10.0, 0.0)), Some((0.0, 0.0))]);
    check("nothing grows", &[(&[2, 1], 0), (&[1, 3], 0), (&[5, 4], 0)], &[Some((0.0, 0.0)), Some((0.0, 0.0))]);
    check("a heap shrinks", &[(&[1], -5), (&[2], -10)], &[Some((-5.0, 0.0))]);
    check("an index is left out", &[(&[0, 0, 1], 7), (&[0, 0, 2], 14)], &[None, None, Some((7.0, 0.0))]);
}

#[test]
fn what_samples_cannot_tell_is_unknown() {
    check("no sample", &[], &[]);
    check("as many samples as functions", &[(&[1, 0], 5), (&[1, 1], 5)], &[]);
    check("nothing ran", &[(&[0], 5), (&[0], 5)], &[]);
    check("two always together", &[(&[1, 1], 10), (&[2, 2], 20), (&[3, 3], 30)], &[]);
    check("one always three times the other", &[(&[1, 3], 10), (&[2, 6], 21), (&[3, 9], 30)], &[]);
    // The third can be told, though the first two cannot.
    let aside: [(&[u32], i64); 5] =
        [(&[1, 1, 0], 10), (&[2, 2, 5], 25), (&[3, 3, 1], 31), (&[1, 1, 7], 17), (&[4, 4, 4], 44)];
    check("two together, one aside", &aside, &[None, None, Some((1.0, 0.0))]);
    // The counts of the third are the sum of the two others, so none of the three can be told. The fourth can.
    let sum: [(&[u32], i64); 6] = [
        (&[1, 0, 1, 2], 2),
        (&[0, 1, 1, 1], 1),
        (&[2, 1, 3, 0], 0),
        (&[1, 3, 4, 5], 5),
        (&[7, 2, 9, 1], 1),
        (&[0, 0, 0, 3], 3),
    ];
    check("one is the sum of two", &sum, &[None, None, None, Some((1.0, 0.0))]);
}

#[test]
fn functions_that_nearly_always_run_together_are_known_with_a_large_error() {
    // In 1,000 samples at 100 pieces each they differ once. The growths are off by 1, up and down.
    let mut sums = Sums::default();
    for sample in 0..1_000_u32 {
        let one = 90 + sample % 20;
        let other = one + u32::from(sample == 500);
        sums.add(&counts(&[one, other]), i64::from(100 * one) + i64::from(sample % 2 * 2) - 1);
    }
    let [Some(one), Some(other), ..] = sums.fit().estimates else { panic!("both are known") };
    for (estimate, truth) in [(one, 100.0), (other, 0.0)] {
        assert!(estimate.error > 0.9 && (estimate.growth - truth).abs() < 3.0 * estimate.error, "{estimate:?}");
    }
}

#[test]
fn a_rare_function_is_known_beside_one_that_runs_a_million_times_more_often() {
    let mut sums = Sums::default();
    for sample in 0..100_u32 {
        let often = 1_000_000 + sample * sample;
        let seldom = u32::from(sample % 10 == 3);
        sums.add(&counts(&[often, seldom]), i64::from(often) * 16 + i64::from(seldom) * 3_000_000);
    }
    let [Some(often), Some(seldom), ..] = sums.fit().estimates else { panic!("both are known") };
    assert!(is_near(often.growth, 16.0) && (seldom.growth - 3e6).abs() < 1.0, "{often:?}, {seldom:?}");
}

#[test]
fn all_functions_at_once_are_told_apart() {
    let mut sums = Sums::default();
    let mut state = 1_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 32
    };
    for _ in 0..200 {
        let counts: Counts = std::array::from_fn(|_| (random() % 10) as u32);
        let growth = counts.iter().zip(0..).map(|(&count, function)| i64::from(count) * function * 100).sum();
        sums.add(&counts, growth);
    }
    for (function, estimate) in sums.fit().estimates.iter().enumerate() {
        let estimate = estimate.unwrap();
        assert!((estimate.growth - function as f64 * 100.0).abs() < 1e-3 && estimate.error < 1e-3, "{estimate:?}");
    }
}

#[test]
fn the_largest_numbers_are_added_and_fitted() {
    let mut sums = Sums::default();
    for sample in 0..100_u32 {
        sums.add(&[u32::MAX - sample * sample; FUNCTIONS], if sample % 2 == 0 { i64::MAX } else { i64::MIN });
    }
    assert_eq!(sums.fit().estimates, [None; FUNCTIONS], "they run always together");
    let mut sums = Sums::default();
    for sample in 0..100_u32 {
        sums.add(&counts(&[u32::MAX - sample]), i64::MAX);
    }
    let estimate = sums.fit().estimates[0].unwrap();
    assert!((estimate.growth / 2_f64.powi(31) - 1.0).abs() < 1e-6, "{estimate:?}");
}

#[test]
fn the_matrix_is_as_large_as_the_greatest_index_needs() {
    let mut small = sums(&[(&[1, 1], 1)]);
    assert_eq!((small.functions.len(), small.products.len()), (2, 3));
    let large = sums(&[(&[1, 0, 0, 1], 1)]);
    assert_eq!((large.functions.len(), large.products.len()), (4, 10));
    small.add_all(&large);
    assert_eq!((small.functions.len(), small.products.len()), (4, 10));
    assert_eq!([0, 1, 2, 3, 4].map(|function| small.samples_of(function)), [2, 1, 0, 1, 0]);
    assert_eq!(small.samples(), 2);
}
