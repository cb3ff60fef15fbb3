//! Numbers and truths as Go's `strconv` reads them.

/// A truth in one of the ways that Go knows.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A whole number with an optional sign; `0x`, `0o`, `0b` and a leading `0` choose the base.
pub(super) fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_str() {
        it if it.starts_with("0x") => (&it[2..], 16),
        it if it.starts_with("0o") => (&it[2..], 8),
        it if it.starts_with("0b") => (&it[2..], 2),
        it if it.len() > 1 && it.starts_with('0') => (&it[1..], 8),
        it => (it, 10),
    };
    // A second sign is none of ours.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i64::from_str_radix(digits, base).ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_base_that_they_begin_with() {
        for (text, want) in [
            ("0", Some(0)),
            ("0741", Some(0o741)),
            ("0o600", Some(0o600)),
            ("0x1F", Some(31)),
            ("0b101", Some(5)),
            ("1000", Some(1000)),
            ("-1", Some(-1)),
            ("08", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("0x-1", None),
            ("1 ", None),
        ] {
            assert_eq!(parse_int(text), want, "{text:?}");
        }
    }
}
