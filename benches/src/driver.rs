//! Runs the cases: calibrates each, then interleaves all of them.

use std::time::Duration;

/// One thing to measure.
pub(crate) struct Case {
    pub(crate) name: String,
    /// The case it is compared with in the table.
    pub(crate) limit: Option<String>,
    run: Run,
}

/// Does something a number of times and says how long that took.
type Run = Box<dyn FnMut(u64) -> Duration>;

impl Case {
    pub(crate) fn new(name: impl Into<String>, run: impl FnMut(u64) -> Duration + 'static) -> Self {
        Self {
            name: name.into(),
            limit: None,
            run: Box::new(run),
        }
    }

    /// Compares it with another case.
    pub(crate) fn against(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    /// How long a case runs in one round.
    pub(crate) slice: Duration,
}

/// What came out for one case.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) limit: Option<String>,
    /// Nanoseconds each, round by round.
    pub(crate) rounds: Vec<f64>,
}

impl Measured {
    pub(crate) fn median(&self) -> f64 {
        median(self.rounds.iter().copied())
    }

    pub(crate) fn min(&self) -> f64 {
        self.rounds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the ratios of each round: what disturbed a round disturbed both.
    pub(crate) fn ratio_to(&self, limit: &Self) -> f64 {
        median(
            self.rounds
                .iter()
                .zip(&limit.rounds)
                .map(|(this, limit)| this / limit),
        )
    }

    /// The median of the differences of each round.
    pub(crate) fn beyond(&self, limit: &Self) -> f64 {
        median(
            self.rounds
                .iter()
                .zip(&limit.rounds)
                .map(|(this, limit)| this - limit),
        )
    }
}

/// Keeps the cases whose name contains a text, and those that they are compared with.
pub(crate) fn keep(cases: &mut Vec<Case>, text: &str) {
    let wanted: Vec<String> = cases
        .iter()
        .filter(|case| case.name.contains(text))
        .flat_map(|case| [Some(case.name.clone()), case.limit.clone()])
        .flatten()
        .collect();
    cases.retain(|case| wanted.contains(&case.name));
}

/// Runs every case once per round, round after round.
pub(crate) fn run(cases: &mut [Case], settings: Settings) -> Vec<Measured> {
    let counts: Vec<u64> = cases
        .iter_mut()
        .map(|case| calibrate(&mut case.run, settings.slice))
        .collect();
    let mut measured: Vec<Measured> = cases
        .iter()
        .map(|case| Measured {
            name: case.name.clone(),
            limit: case.limit.clone(),
            rounds: Vec::with_capacity(settings.rounds),
        })
        .collect();
    for _ in 0..settings.rounds {
        for ((case, count), measured) in cases.iter_mut().zip(&counts).zip(&mut measured) {
            measured.rounds.push(each((case.run)(*count), *count));
        }
    }
    measured
}

/// How often something fits into a slice; also warms it up.
fn calibrate(run: &mut Run, slice: Duration) -> u64 {
    let mut count = 64;
    loop {
        // The better of two, because a disturbed one would make the slices too short.
        let took = run(count).min(run(count));
        if took * 2 >= slice {
            let fitting = slice.as_nanos() as f64 / each(took, count).max(0.1);
            return (fitting as u64).max(1);
        }
        count *= 2;
    }
}

fn each(took: Duration, count: u64) -> f64 {
    took.as_nanos() as f64 / count as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn every_round_runs_every_case_once() {
        let case =
            |name: &str, nanos| Case::new(name, move |count| Duration::from_nanos(count * nanos));
        let mut cases = vec![
            case("slow", 20).against("fast"),
            case("fast", 10),
            case("other", 1),
        ];
        keep(&mut cases, "slow");
        let settings = Settings {
            rounds: 3,
            slice: Duration::from_micros(50),
        };
        let measured = run(&mut cases, settings);
        assert_eq!(measured.len(), 2);
        assert!(measured.iter().all(|measured| measured.rounds.len() == 3));
        assert_eq!(measured[0].ratio_to(&measured[1]), 2.0);
        assert_eq!(measured[0].beyond(&measured[1]), 10.0);
    }
}
