//! Times in nanoseconds, reduced to quantiles in microseconds.

/// Collected times.
#[derive(Default)]
pub struct Times(Vec<u64>);

impl Times {
    /// Adds one time.
    pub fn push(&mut self, time: std::time::Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many times there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The time, in microseconds, that `part` (0 to 1) of all do not exceed: the nearest rank. `None` of nothing.
    pub fn quantile(&mut self, part: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        self.0.sort_unstable();
        let rank = (part * self.0.len() as f64).ceil() as usize;
        Some(*self.0.get(rank.saturating_sub(1).min(last))? as f64 / 1e3)
    }
}

/// A figure as JSON: `null` where there is none.
pub fn json(figure: Option<f64>) -> String {
    figure.map_or_else(|| "null".to_owned(), |figure| format!("{figure:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        for n in (1..=100).rev() {
            times.push(Duration::from_micros(n));
        }
        assert_eq!(times.quantile(0.5), Some(50.0));
        assert_eq!(times.quantile(0.99), Some(99.0));
        assert_eq!(times.quantile(1.0), Some(100.0));
        assert_eq!(times.quantile(0.0), Some(1.0));
    }
}
