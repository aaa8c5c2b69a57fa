//! How far the points of a shape are from its begin.

/// In place of a shape's distance that the feed lacks, until `finish` knows it. It takes as much room as what will replace it, so
/// SQLite then overwrites the row where it lies.
pub const UNKNOWN_DISTANCE: f64 = -1e300;

/// The mean radius of the earth.
const EARTH_METRES: f64 = 6_371_008.8;

/// A point of a shape.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The number of its row.
    pub row: i64,
    pub latitude: f64,
    pub longitude: f64,
    /// The distance that the feed gives.
    pub metres: Option<f64>,
}

impl Point {
    /// A point as the database has it.
    pub fn new(row: i64, latitude: f64, longitude: f64, metres: Option<f64>) -> Point {
        Point { row, latitude, longitude, metres: metres.filter(|metres| *metres != UNKNOWN_DISTANCE) }
    }
}

/// Collects the points of one shape after the other.
#[derive(Debug, Default)]
pub struct Shapes {
    shape: String,
    points: Vec<Point>,
}

impl Shapes {
    /// Adds a point of the shape with this id, in the shape's order. If the shape before is whole, `write` gets the distances that it lacks.
    pub fn add<E>(&mut self, id: &str, point: Point, write: impl FnMut(i64, f64) -> Result<(), E>) -> Result<(), E> {
        if id != self.shape {
            self.end(write)?;
            id.clone_into(&mut self.shape);
        }
        self.points.push(point);
        Ok(())
    }

    /// The last shape is whole.
    pub fn end<E>(&mut self, mut write: impl FnMut(i64, f64) -> Result<(), E>) -> Result<(), E> {
        let filled = fill(&self.points).try_for_each(|(row, metres)| write(row, metres));
        self.points.clear();
        filled
    }
}

/// The distances that the points of a shape lack, with the rows of these points. The points come in their order. A distance that
/// is given stays, and the next ones go on from it.
fn fill(points: &[Point]) -> impl Iterator<Item = (i64, f64)> {
    let mut last: Option<(Point, f64)> = None;
    points.iter().filter_map(move |point| {
        let reached = last.map_or(0.0, |(before, metres)| metres + distance(&before, point));
        let metres = point.metres.unwrap_or(reached);
        last = Some((*point, metres));
        point.metres.is_none().then_some((point.row, metres))
    })
}

/// The length of the great circle between two points, by the haversine formula.
fn distance(from: &Point, to: &Point) -> f64 {
    let half_sine = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin();
    let latitudes = half_sine(from.latitude, to.latitude).powi(2);
    let longitudes = half_sine(from.longitude, to.longitude).powi(2);
    let chord = latitudes + from.latitude.to_radians().cos() * to.latitude.to_radians().cos() * longitudes;
    2.0 * EARTH_METRES * chord.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_great_circles() {
        for (from, to, metres) in [
            ((0.0, 0.0), (0.0, 0.0), 0.0),
            ((0.0, 0.0), (0.0, 1.0), 111_195.08),
            ((48.0, 16.0), (49.0, 16.0), 111_195.08),
            ((0.0, 0.0), (0.0, 180.0), 20_015_114.35),
            // From one airport to another: Nashville, Los Angeles.
            ((36.12, -86.67), (33.94, -118.40), 2_886_448.43),
        ] {
            let found = distance(&Point::new(1, from.0, from.1, None), &Point::new(2, to.0, to.1, None));
            assert!((found - metres).abs() < 0.1, "{from:?} to {to:?}: {found}");
        }
    }

    #[test]
    fn only_missing_distances_are_filled_in_and_go_on_from_given_ones() {
        let points = [
            Point::new(4, 0.0, 0.0, None),
            Point::new(2, 0.0, 1.0, None),
            Point::new(9, 0.0, 2.0, Some(500.0)),
            Point::new(1, 0.0, 3.0, None),
        ];
        let filled: Vec<_> = fill(&points).map(|(row, metres)| (row, metres.round() as i64)).collect();
        assert_eq!(filled, [(4, 0), (2, 111_195), (1, 111_695)]);
        assert_eq!(fill(&[]).count(), 0);
    }
}
