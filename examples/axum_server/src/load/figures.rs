//! What was measured, as text.

use std::fmt::Write;
use std::time::Duration;

/// With more than this share of a processor the clients are probably what is measured, and not the server.
const MOST_OWN_CPU: f64 = 0.9;

/// One round of one route.
#[derive(Default)]
pub struct Round {
    /// Of one answer.
    pub bytes: usize,
    pub time: Duration,
    /// What the clients, which are one thread, used of a processor.
    pub own_cpu: Duration,
    /// How long each right answer took, to its last byte.
    pub times: Vec<Duration>,
    pub failed: u64,
    pub killed: u64,
    pub left: u64,
}

/// The rounds of one route.
pub struct Figures {
    pub route: &'static str,
    pub rounds: Vec<Round>,
}

impl Round {
    pub fn add(&mut self, (times, failed): (Vec<Duration>, u64)) {
        self.times.extend(times);
        self.failed += failed;
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.time.as_secs_f64()
    }

    /// The time in ms within which this share of the answers came.
    fn within(&self, share: f64) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let place = (times.len() as f64 * share).ceil() as usize;
        times.get(place.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    /// What makes the figures of the round doubtful.
    pub fn warning(&self) -> Option<String> {
        let share = self.own_cpu.as_secs_f64() / self.time.as_secs_f64();
        (share > MOST_OWN_CPU).then(|| {
            let percent = share * 100.0;
            format!("the clients used {percent:.0} % of a processor, so the server may be faster than this; use fewer --connections, or another --count")
        })
    }

    /// The round as a line.
    pub fn line(&self, route: &str) -> String {
        let (rate, p50, p99) = (self.rate(), self.within(0.5), self.within(0.99));
        let megabytes = rate * self.bytes as f64 / 1e6;
        let mut line = format!(
            "{route:8} {rate:7.1} requests/s  {megabytes:7.1} MB/s  p50 {p50:6.1} ms  p99 {p99:6.1} ms  {} failed",
            self.failed
        );
        for (count, what) in [(self.killed, "workers killed"), (self.left, "clients left")] {
            if count > 0 {
                let _infallible = write!(line, ", {count} {what}");
            }
        }
        line
    }
}

impl Figures {
    pub fn new(route: &'static str) -> Figures {
        Figures { route, rounds: Vec::new() }
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure))
    }
}

/// The medians of the rounds, and how the first route compares with each other one: by the median of the rounds' own ratios, since rounds
/// that follow each other see the same machine.
pub fn summary(figures: &[Figures]) -> String {
    let mut text = String::from("medians\n");
    let within = |share: f64| move |round: &Round| round.within(share);
    for one in figures {
        let (rate, p50, p99) = (one.median(Round::rate), one.median(within(0.5)), one.median(within(0.99)));
        let _infallible = writeln!(text, "{:8} {rate:7.1} requests/s  p50 {p50:6.1} ms  p99 {p99:6.1} ms", one.route);
    }
    let Some((first, others)) = figures.split_first() else { return text };
    for other in others {
        let [rate, p50, p99] =
            [ratio(first, other, Round::rate), ratio(first, other, within(0.5)), ratio(first, other, within(0.99))];
        let (route, to) = (first.route, other.route);
        let _infallible = writeln!(
            text,
            "{route} has {rate:.2} times the requests/s of {to}, {p50:.2} times its p50 and {p99:.2} times its p99"
        );
    }
    text
}

fn ratio(one: &Figures, other: &Figures, figure: impl Fn(&Round) -> f64) -> f64 {
    median(one.rounds.iter().zip(&other.rounds).map(|(one, other)| figure(one) / figure(other)))
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(milliseconds: impl IntoIterator<Item = u64>) -> Round {
        let times = milliseconds.into_iter().map(Duration::from_millis).collect();
        Round { bytes: 1_000_000, time: Duration::from_secs(1), times, ..Round::default() }
    }

    #[test]
    fn figures_are_those_of_the_rounds() {
        let line = round(1..=100).line("rayon");
        assert_eq!(line, "rayon      100.0 requests/s    100.0 MB/s  p50   50.0 ms  p99   99.0 ms  0 failed");
        assert_eq!(round([]).warning(), None);
        let busy = Round { own_cpu: Duration::from_millis(950), ..round([]) }.warning().unwrap();
        assert!(busy.starts_with("the clients used 95 % of a processor"), "{busy}");
        let of = |route, rounds: [Round; 3]| Figures { route, rounds: rounds.into() };
        let all = [
            of("records", [round([4]), round([2, 2]), round([3, 3, 9])]),
            of("rayon", [round([6]), round([6]), round([6])]),
        ];
        let text = summary(&all);
        assert!(
            text.ends_with(
                "records has 2.00 times the requests/s of rayon, 0.50 times its p50 and 0.67 times its p99\n"
            ),
            "{text}"
        );
    }
}
