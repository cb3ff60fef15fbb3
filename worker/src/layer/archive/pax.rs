//! The records of PAX extended headers, read to the letter.

use std::collections::BTreeMap;

use crate::confine::Time;

/// The records of one extended header by key. Of GNU's repeated sparse keys the last is here; their values are left to
/// the parser, which knows their order.
#[derive(Debug, Default)]
pub(super) struct Records<'a> {
    by_key: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Records<'a> {
    /// Reads `length key=value\n`, again and again, to the end.
    pub(super) fn parse(mut data: &'a [u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !data.is_empty() {
            let (record, rest) = split_record(data)?;
            data = rest;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or("a PAX record has no `=`")?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let key = std::str::from_utf8(key).map_err(|_| "a PAX key is no UTF-8")?;
            if key.is_empty() || key.contains('\0') {
                return Err("a PAX key is empty or has a NUL");
            }
            let is_list = matches!(key, "GNU.sparse.offset" | "GNU.sparse.numbytes");
            if records.by_key.insert(key, value).is_some() && !is_list {
                return Err("a PAX key occurs twice");
            }
        }
        Ok(records)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.by_key.get(key).copied()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.by_key.keys().copied()
    }

    /// A decimal number without sign.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, &'static str> {
        self.get(key)
            .map(|value| decimal(value).ok_or("a PAX number is malformed"))
            .transpose()
    }

    /// Seconds, possibly negative, possibly with a fraction of which nanoseconds count.
    pub(super) fn time(&self, key: &str) -> Result<Option<Time>, &'static str> {
        self.get(key)
            .map(|value| parse_time(value).ok_or("a PAX time is malformed"))
            .transpose()
    }
}

fn split_record(data: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    const MALFORMED: &str = "a PAX record is malformed";
    let space = data
        .iter()
        .take(12)
        .position(|byte| *byte == b' ')
        .ok_or(MALFORMED)?;
    let length = decimal(&data[..space])
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length > space + 1 && *length <= data.len())
        .ok_or(MALFORMED)?;
    let (record, rest) = data.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(MALFORMED)?;
    Ok((record, rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn parse_time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let whole = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = 0;
    for place in 0..9 {
        let digit = fraction.get(place).map_or(0, |byte| u32::from(byte - b'0'));
        nanos = nanos * 10 + digit;
    }
    Some(match (negative, nanos) {
        (false, nanos) => Time {
            seconds: whole,
            nanos,
        },
        (true, 0) => Time {
            seconds: -whole,
            nanos: 0,
        },
        (true, nanos) => Time {
            seconds: -whole - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_in_a_value_begins_no_record() {
        let text = b"31 SCHILY.xattr.a=\n11 path=x\n \n";
        assert_eq!(text.len(), 31);
        let records = Records::parse(text).unwrap();
        assert_eq!(records.keys().collect::<Vec<_>>(), ["SCHILY.xattr.a"]);
    }

    #[test]
    fn malformed_records_are_errors() {
        for text in [
            "x",
            "5 a=b",
            "6 a=b\n",
            "4 a=b\n",
            "05a=b\n",
            "-6 a=b\n",
            "+6 a=b\n",
            "5 ab\n",
            "5 =b\n",
            "6 a=b\n\n",
            "6 a=b\n6 a=c\n",
            "6 a=bc",
            "99999999999999999999 a=b\n",
        ] {
            let result = Records::parse(text.as_bytes());
            let good = text == "6 a=b\n";
            assert_eq!(result.is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn times_are_read_to_the_nanosecond_on_both_sides_of_1970() {
        let time = |text: &str| parse_time(text.as_bytes()).map(|it| (it.seconds, it.nanos));
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("12.0000000019"), Some((12, 1)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-1"), Some((-1, 0)));
        for text in ["", "-", ".5", "1.x", "1e5", "+1", "--1"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
