use std::time::{Duration, SystemTime};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

/// What is tried again, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often one request is sent at most.
    pub attempts: u32,
    /// The first pause; each further one is up to twice as long.
    pub first_pause: Duration,
    /// The longest pause of our own choosing.
    pub longest_pause: Duration,
    /// The longest that a registry's `Retry-After` is obeyed; beyond it the request fails.
    pub longest_obeyed: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            longest_obeyed: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The pause before attempt `failed + 1`, or `None` when there is to be none.
    ///
    /// Half of it is random, so that many clients that failed together do not come back
    /// together.
    pub(crate) fn pause(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        if let Some(asked) = asked {
            return (asked <= self.longest_obeyed).then_some(asked);
        }
        let doublings = failed.saturating_sub(1).min(16);
        let full = self
            .first_pause
            .saturating_mul(1 << doublings)
            .min(self.longest_pause);
        Some(full.mul_f64(0.5 + rand::random::<f64>() / 2.0))
    }
}

/// Whether a status says that the same request may succeed a little later.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause that a registry asked for, in seconds or as a date.
pub(crate) fn asked_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy::default();
        for failed in 1..policy.attempts {
            let full = policy
                .first_pause
                .saturating_mul(1 << (failed - 1))
                .min(policy.longest_pause);
            let pause = policy.pause(failed, None).unwrap();
            assert!(pause <= full && pause >= full / 2, "{failed}: {pause:?}");
        }
        assert_eq!(policy.pause(policy.attempts, None), None);
    }

    #[test]
    fn a_registry_is_obeyed_within_reason() {
        let policy = RetryPolicy::default();
        let second = Duration::from_secs(1);
        assert_eq!(policy.pause(1, Some(second)), Some(second));
        assert_eq!(policy.pause(1, Some(second * 3600)), None);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(asked_pause(&headers, now), Some(second * 7));
        let date = "Sun, 06 Nov 1994 08:49:39 GMT";
        headers.insert(RETRY_AFTER, date.parse().unwrap());
        assert_eq!(asked_pause(&headers, now), Some(second * 2));
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(asked_pause(&headers, now), None);
    }
}
