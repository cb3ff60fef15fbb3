//! `time.Duration`: parsing (`1h30m`, `1.5s`, `-2ms`) and printing.

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Parses a duration.
///
/// # Units
/// The answer is in nanoseconds.
///
/// # Errors
/// Text that is no duration, or one of more than 2^63 - 1 ns; the message is the caller's to place.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", super::quote::quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(format!(
                "time: missing unit in duration {}",
                super::quote::quote(text)
            ));
        }
        let scale = scale_of(unit).ok_or_else(|| {
            format!(
                "time: unknown unit {} in duration {}",
                super::quote::quote(unit),
                super::quote::quote(text)
            )
        })?;
        total = scaled(number, scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(invalid)?;
        rest = after;
    }
    let limit = i64::MAX as u64 + u64::from(negative);
    if total > limit {
        return Err(invalid());
    }
    Ok(if negative {
        (total as i64).wrapping_neg()
    } else {
        total as i64
    })
}

fn scale_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    })
}

fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut part: u64 = 0;
    let mut unit: u64 = 1;
    // Eighteen digits hold more than any unit can tell apart.
    for digit in fraction.bytes().take(18) {
        part = part * 10 + u64::from(digit - b'0');
        unit *= 10;
    }
    let part = (u128::from(part) * u128::from(scale) / u128::from(unit)) as u64;
    whole.checked_mul(scale)?.checked_add(part)
}

/// Prints a duration as `1h2m3.5s`, `1.5ms`, `0s`.
pub(crate) fn format(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let text = match magnitude {
        0 => return "0s".to_owned(),
        1..MICROSECOND => format!("{magnitude}ns"),
        MICROSECOND..MILLISECOND => format!("{}µs", decimal(magnitude, MICROSECOND)),
        MILLISECOND..SECOND => format!("{}ms", decimal(magnitude, MILLISECOND)),
        _ => {
            let minutes = magnitude / (60 * SECOND);
            let seconds = decimal(magnitude % (60 * SECOND), SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

fn decimal(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        (value / unit).to_string()
    } else {
        format!("{}.{fraction}", value / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_go_prints_them() {
        for (text, nanoseconds, printed) in [
            ("30s", 30 * SECOND as i64, "30s"),
            ("1h30m", 5400 * SECOND as i64, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("100ms", 100_000_000, "100ms"),
            ("1.5us", 1_500, "1.5µs"),
            ("-1.5h", -5400 * SECOND as i64, "-1h30m0s"),
            ("0", 0, "0s"),
            ("7ns", 7, "7ns"),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
            assert_eq!(format(nanoseconds), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "1", "1x", "1..5s", ".s", "99999999999h", "-"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("1").unwrap_err().contains("missing unit"));
    }
}
