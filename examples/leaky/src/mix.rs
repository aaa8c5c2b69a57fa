//! Which pieces a run has, and in what order.

use crate::pieces;
use crate::random::Random;

/// A piece: a function of `pieces`, and its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub function: Function,
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Render,
    Parse,
    Digest,
}

impl Function {
    /// The one of the piece with this number: of five, one leaks, two allocate and two compute.
    fn of(number: usize) -> Function {
        match number % 5 {
            0 => Function::Render,
            1 | 2 => Function::Parse,
            _ => Function::Digest,
        }
    }
}

impl Piece {
    /// What it must give, computed in this process.
    pub fn expected(self) -> u64 {
        match self.function {
            Function::Render => pieces::rendered(self.seed),
            Function::Parse => pieces::parse(self.seed),
            Function::Digest => pieces::digest(self.seed),
        }
    }
}

/// This number of pieces, in an order that is random and the same each time.
pub fn mix(pieces: usize) -> Vec<Piece> {
    let mut mixed: Vec<Piece> =
        (0..pieces).map(|number| Piece { function: Function::of(number), seed: number as u64 }).collect();
    let mut random = Random::new(2026);
    // Fisher and Yates: each order is as likely as any other.
    for last in (1..mixed.len()).rev() {
        mixed.swap(last, random.below(last as u64 + 1) as usize);
    }
    mixed
}

/// How many of the pieces run this function.
pub fn count(pieces: &[Piece], function: Function) -> usize {
    pieces.iter().filter(|piece| piece.function == function).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_five_pieces_leaks() {
        for (pieces, expected) in [(0, [0, 0, 0]), (1, [1, 0, 0]), (4, [1, 2, 1]), (100_000, [20_000, 40_000, 40_000])]
        {
            let mix = mix(pieces);
            let counts = [Function::Render, Function::Parse, Function::Digest].map(|it| count(&mix, it));
            assert_eq!(counts, expected, "{pieces}");
        }
    }

    #[test]
    fn the_order_is_random_and_the_same_each_time() {
        let (one, other) = (mix(10_000), mix(10_000));
        assert_eq!(one, other);
        let mut seeds: Vec<u64> = one.iter().map(|piece| piece.seed).collect();
        assert!(!seeds.is_sorted());
        seeds.sort_unstable();
        assert!(seeds.iter().copied().eq(0..10_000));
        // In strict turns each fifth piece would leak. By chance some hundreds follow one that leaks, too: 10,000 / 25.
        let leaks_too = |pair: &&[Piece]| pair.iter().all(|piece| piece.function == Function::Render);
        let pairs = one.windows(2).filter(leaks_too).count();
        assert!((300..500).contains(&pairs), "{pairs}");
    }
}
