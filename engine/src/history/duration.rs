//! Times as clients of BuildKit write them.

/// A duration as Go writes it, such as `1h30m` or `1.5s`.
///
/// # Units
/// Nanoseconds.
pub(super) fn parse_duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
                .len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        total = total.checked_add(part(number, unit)?)?;
        rest = after;
    }
    (!text.trim_start_matches(['-', '+']).is_empty()).then_some(sign * total)
}

fn part(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    whole
        .checked_mul(unit)?
        .checked_add(fraction * unit / scale)
}

/// A point in time as RFC 3339 writes it.
///
/// # Units
/// Nanoseconds since 1970.
pub(super) fn parse_time(text: &str) -> Option<i128> {
    let time: prost_types::Timestamp = text.parse().ok()?;
    Some(i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
}

/// The same the other way round, for what is written down.
pub(super) fn format_time(ns: u64) -> String {
    crate::progress::timestamp(ns).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ns) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-2ms", Some(-2_000_000)),
            ("0", Some(0)),
            ("48h", Some(172_800_000_000_000)),
            (".5m", Some(30_000_000_000)),
            ("", None),
            ("5", None),
            ("1y", None),
            ("s", None),
        ] {
            assert_eq!(parse_duration(text), ns, "{text:?}");
        }
    }

    #[test]
    fn times_are_those_of_rfc_3339() {
        assert_eq!(parse_time("1970-01-01T01:00:00.5+01:00"), Some(500_000_000));
        assert_eq!(parse_time("yesterday"), None);
        assert_eq!(format_time(1_500_000_000), "1970-01-01T00:00:01.500Z");
    }
}
