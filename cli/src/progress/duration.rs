use prost_types::Timestamp;

/// A moment in nanoseconds since 1970.
pub(super) fn nanoseconds(time: &Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let rest = u64::try_from(time.nanos).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// A duration as `1.2s`, or as `75.0s` beyond a minute, as Docker's clients show it.
pub(super) fn seconds(duration_ns: u64) -> String {
    // Tenths are whole numbers, so that no rounding makes 0.05 a 0.1 on one machine and a 0.0 on another.
    let tenths = duration_ns / 100_000_000;
    format!("{}.{}s", tenths / 10, tenths % 10)
}

/// A number of bytes as `1.23MB`, in powers of 1000.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut scale = 1000;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if count / scale < 1000 {
            break;
        }
        scale *= 1000;
        unit = next;
    }
    let hundredths = u128::from(count) * 100 / u128::from(scale);
    format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!(seconds(0), "0.0s");
        assert_eq!(seconds(1_290_000_000), "1.2s");
        assert_eq!(seconds(75_000_000_000), "75.0s");
        assert_eq!(bytes(0), "0B");
        assert_eq!(bytes(999), "999B");
        assert_eq!(bytes(1000), "1.00kB");
        assert_eq!(bytes(1_239_999), "1.23MB");
        assert_eq!(bytes(u64::MAX), "18446.74PB");
    }
}
