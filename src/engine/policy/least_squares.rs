//! The least-squares fit of growth to counts: how many bytes each piece of each function adds to a heap.
//!
//! The model of a sample is `growth = sum of (growth a piece * count)` and noise, without a constant: where nothing ran, nothing
//! grows. Only sums are kept ([`Sums`]); the fit is made from these when somebody asks.
//!
//! What the samples cannot tell is `None`, never a number. Counts and growths come from workers, so any are possible: with all of
//! them the sums stay finite (a square is below 1e38, and 1e57 after 2^64 samples), and a result that is not finite is `None`.

use super::sampling::FUNCTIONS;

/// The pieces of each function in an interval.
pub(crate) type Counts = [u32; FUNCTIONS];

/// A function is unknown if other functions explain all of its counts but this part (of their squares). The sums have 16 digits,
/// so the 10 digits that may be lost here leave 6. One piece more in 10,000 samples at 1,000 pieces each is such a part.
const ALIKE: f64 = 1e-10;

/// The functions, and the growth as one more column.
const SIDE: usize = FUNCTIONS + 1;

type Matrix = [[f64; SIDE]; SIDE];

/// Sums over samples: the normal equations of the fit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    samples: u64,
    growth_squared: f64,
    /// As far as the greatest index that ran.
    functions: Vec<OfFunction>,
    /// The lower triangle by rows: the sum of count times count for each pair of functions. A new function is a new row at its end.
    products: Vec<f64>,
}

/// Sums over the samples of one function.
#[derive(Debug, Clone, Copy, Default)]
struct OfFunction {
    samples: u64,
    /// Count times growth.
    growth: f64,
}

/// The place of a row's first number in a lower triangle.
const fn row_start(row: usize) -> usize {
    row * (row + 1) / 2
}

impl Sums {
    /// Sums of nothing yet, with room for the functions of others.
    #[must_use]
    pub(crate) fn with_room_of(others: &Sums) -> Sums {
        Sums {
            functions: Vec::with_capacity(others.functions.len()),
            products: Vec::with_capacity(others.products.len()),
            ..Sums::default()
        }
    }

    /// Adds a sample. One in whose interval nothing ran tells nothing of any function, and is left out.
    pub(crate) fn add(&mut self, counts: &Counts, growth: i64) {
        // Few of them ran: their indices first, so that only their rows are visited.
        let mut ran = [0_u8; FUNCTIONS];
        let mut length = 0;
        for (function, &count) in counts.iter().enumerate() {
            ran[length] = function as u8;
            length += usize::from(count > 0);
        }
        let Some(&last) = ran[..length].last() else { return };
        self.make_room(usize::from(last) + 1);
        let growth = growth as f64;
        self.samples += 1;
        self.growth_squared += growth * growth;
        for (place, &function) in ran[..length].iter().enumerate() {
            let function = usize::from(function);
            let count = f64::from(counts[function]);
            let own = &mut self.functions[function];
            own.samples += 1;
            own.growth += count * growth;
            let row = &mut self.products[row_start(function)..][..=function];
            for &other in &ran[..=place] {
                row[usize::from(other)] += count * f64::from(counts[usize::from(other)]);
            }
        }
    }

    /// Adds the samples of others.
    pub(crate) fn add_all(&mut self, others: &Sums) {
        self.make_room(others.functions.len());
        self.samples += others.samples;
        self.growth_squared += others.growth_squared;
        for (own, other) in self.functions.iter_mut().zip(&others.functions) {
            own.samples += other.samples;
            own.growth += other.growth;
        }
        for (own, other) in self.products.iter_mut().zip(&others.products) {
            *own += other;
        }
    }

    fn make_room(&mut self, functions: usize) {
        if functions > self.functions.len() {
            self.functions.resize(functions, OfFunction::default());
            self.products.resize(row_start(functions), 0.0);
        }
    }

    #[must_use]
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// The samples in whose interval the function ran.
    #[must_use]
    pub(crate) fn samples_of(&self, function: usize) -> u64 {
        self.functions.get(function).map_or(0, |own| own.samples)
    }

    /// What the samples say of each function. It takes less than 1 us for three functions, and 20 us for all.
    pub(crate) fn fit(&self) -> Fit {
        let present: Vec<usize> = (0..self.functions.len()).filter(|&function| self.samples_of(function) > 0).collect();
        let mut fit = Fit { samples: self.samples, functions: present.len(), estimates: [None; FUNCTIONS] };
        let freedom = self.samples.saturating_sub(present.len() as u64);
        if freedom == 0 {
            return fit;
        }
        // All columns get the length 1: then one tolerance fits all, and no number is large.
        let scale: Vec<f64> = present.iter().map(|&function| self.product(function, function).sqrt().recip()).collect();
        let growth_length = self.growth_squared.sqrt();
        let growth_scale = if growth_length > 0.0 { growth_length.recip() } else { 1.0 };
        let mut matrix = self.scaled(&present, &scale, growth_scale);
        let solved = solve(&mut matrix, present.len());

        let residual = matrix[present.len()][present.len()].max(0.0);
        let variance = residual / freedom as f64;
        for (column, &function) in present.iter().enumerate() {
            if is_told_apart(&matrix, &solved, column) {
                let unit = growth_length * scale[column];
                let growth = matrix[column][present.len()] * unit;
                let error = (variance * matrix[column][column]).sqrt() * unit;
                fit.estimates[function] = Estimate::if_finite(growth, error);
            }
        }
        fit
    }

    /// The sum of count times count for a pair of functions.
    fn product(&self, one: usize, other: usize) -> f64 {
        self.products[row_start(one.max(other)) + one.min(other)]
    }

    /// The products of all columns with each other; the growth is the last column.
    fn scaled(&self, present: &[usize], scale: &[f64], growth_scale: f64) -> Matrix {
        let mut matrix = [[0.0; SIDE]; SIDE];
        let last = present.len();
        for (row, &function) in present.iter().enumerate() {
            for (column, &other) in present.iter().enumerate() {
                matrix[row][column] = self.product(function, other) * scale[row] * scale[column];
            }
            let with_growth = self.functions[function].growth * scale[row] * growth_scale;
            matrix[row][last] = with_growth;
            matrix[last][row] = with_growth;
        }
        matrix[last][last] = self.growth_squared * growth_scale * growth_scale;
        matrix
    }
}

/// Eliminates the columns of functions in place, each time the one of which those before explain least: a Cholesky factorization with
/// pivoting, carried on to the inverse. True for each column that was eliminated; the others depend on these. Afterwards, with S for
/// the eliminated columns and D for the others:
///
/// | rows   | columns | contain                                          |
/// |--------|---------|--------------------------------------------------|
/// | S      | S       | the inverse                                      |
/// | S      | D       | how much of the column in S is in the one in D   |
/// | S      | growth  | the growth a piece                               |
/// | growth | growth  | the squares of what is not explained             |
fn solve(matrix: &mut Matrix, functions: usize) -> Vec<bool> {
    let mut solved = vec![false; functions];
    for _ in 0..functions {
        let open = (0..functions).filter(|&column| !solved[column]);
        let Some(pivot) = open.max_by(|&one, &other| matrix[one][one].total_cmp(&matrix[other][other])) else { break };
        if matrix[pivot][pivot] < ALIKE {
            break;
        }
        sweep(matrix, pivot, functions + 1);
        solved[pivot] = true;
    }
    solved
}

/// One step of the elimination (the sweep operator).
fn sweep(matrix: &mut Matrix, pivot: usize, side: usize) {
    let inverse = matrix[pivot][pivot].recip();
    for value in &mut matrix[pivot][..side] {
        *value *= inverse;
    }
    matrix[pivot][pivot] = inverse;
    let pivot_row = matrix[pivot];
    for (number, row) in matrix[..side].iter_mut().enumerate() {
        if number == pivot {
            continue;
        }
        let factor = std::mem::take(&mut row[pivot]);
        for (value, pivot_value) in row[..side].iter_mut().zip(&pivot_row[..side]) {
            *value -= factor * pivot_value;
        }
    }
}

/// True if the samples tell the growth of this function from that of all others: it was eliminated, and no column that was not has a
/// part of it.
fn is_told_apart(matrix: &Matrix, solved: &[bool], column: usize) -> bool {
    let mut dependent = (0..solved.len()).filter(|&other| !solved[other]);
    solved[column] && dependent.all(|other| matrix[column][other].powi(2) <= ALIKE)
}

/// The growth a piece of one function, in bytes. Both are finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) growth: f64,
    /// Its standard error.
    pub(crate) error: f64,
}

impl Estimate {
    fn if_finite(growth: f64, error: f64) -> Option<Estimate> {
        (growth.is_finite() && error.is_finite()).then_some(Estimate { growth, error })
    }
}

/// What samples say of each function.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub(crate) struct Fit {
    pub(crate) samples: u64,
    /// Functions that ran.
    pub(crate) functions: usize,
    /// `None`: no sample has the function, other functions ran always with it, or there are no more samples than functions.
    pub(crate) estimates: [Option<Estimate>; FUNCTIONS],
}

#[cfg(test)]
mod tests;
