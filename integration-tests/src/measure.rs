//! What a process uses, and what a run of measurements says.

use std::fs;

use anyhow::{Context, Result};

/// What a process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Its own memory.
    ///
    /// # Units
    /// KiB, without pages of files.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Mounts that it sees.
    pub mounts: usize,
}

impl Usage {
    /// Of a process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(process: u32) -> Result<Self> {
        let folder = format!("/proc/{process}");
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let number = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            Ok(word.with_context(|| name.to_owned())?.parse()?)
        };
        Ok(Self {
            memory: number("RssAnon:")?,
            descriptors: fs::read_dir(format!("{folder}/fd"))?.count(),
            threads: usize::try_from(number("Threads:")?)?,
            mounts: fs::read_to_string(format!("{folder}/mountinfo"))?
                .lines()
                .count(),
        })
    }
}

/// How much the second value grows for each of the first, by least squares.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    both / square
}

/// The value that so many of a hundred are not above.
///
/// # Panics
/// When there are no values.
#[must_use]
pub fn percentile<T: Ord + Copy>(values: &[T], percent: usize) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_and_percentiles_are_what_they_are_called() {
        let line: Vec<(f64, f64)> = (0..10)
            .map(|x| (f64::from(x), f64::from(3 * x + 1)))
            .collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!(
            (percentile(&values, 99), percentile(&values, 50)),
            (198, 100)
        );
        assert_eq!(percentile(&[7], 99), 7);
    }
}
