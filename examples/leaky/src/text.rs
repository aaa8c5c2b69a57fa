//! Numbers for people.

use multicore::Suspect;

/// A whole number with commas.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A number of bytes as MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What is known of a function that leaks, as a sentence.
pub fn sentence(suspect: &Suspect) -> String {
    let Suspect { function, location, growth_per_piece, growth_error, pieces_left, .. } = suspect;
    leak(function, location, *growth_per_piece, *growth_error, *pieces_left)
}

fn leak(function: &str, location: &str, growth: f64, error: f64, pieces_left: Option<u64>) -> String {
    let (growth, error) = (grouped(growth.round() as u64), grouped(error.round() as u64));
    let left = pieces_left.map_or(String::new(), |left| format!("; {} pieces are left until a limit", grouped(left)));
    format!("{function} ({location}) leaks {growth} B ± {error} a piece{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (20_000, "20,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn a_suspect_is_a_sentence() {
        let sentence = |left| leak("leaky::render", "main.rs:42", 1008.4, 12.7, left);
        assert_eq!(sentence(None), "leaky::render (main.rs:42) leaks 1,008 B ± 13 a piece");
        assert_eq!(
            sentence(Some(24_000)),
            "leaky::render (main.rs:42) leaks 1,008 B ± 13 a piece; 24,000 pieces are left until a limit"
        );
    }
}
