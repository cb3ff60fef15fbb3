use std::time::Duration;

/// How long a step may take and how often it is tried again (`RUN --timeout --retries`, extensions of ours).
///
/// Neither changes what the step makes, so that neither is part of a digest or a cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// How long one try may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// How many tries follow one that failed.
    pub retries: u32,
}

impl Patience {
    /// More tries than these are refused.
    pub const MOST_RETRIES: u32 = 100;

    /// The longer time and the more tries of both, for a step that two builds want.
    #[must_use]
    pub fn relaxed(self, other: Self) -> Self {
        Self {
            timeout: self
                .timeout
                .zip(other.timeout)
                .map(|(one, two)| one.max(two)),
            retries: self.retries.max(other.retries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_two_builds_has_the_patience_of_the_more_patient() {
        let patience = |seconds: Option<u64>, retries| Patience {
            timeout: seconds.map(Duration::from_secs),
            retries,
        };
        assert_eq!(
            patience(Some(3), 0).relaxed(patience(Some(5), 2)),
            patience(Some(5), 2)
        );
        assert_eq!(
            patience(Some(3), 1).relaxed(patience(None, 0)),
            patience(None, 1)
        );
    }
}
