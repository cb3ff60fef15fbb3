//! `--chmod`: an octal number or letters.

use crate::diagnostic::Fault;

/// A mode as an op carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it is.
    Unchanged,
    /// Permission bits.
    Bits(i32),
    /// `u=rwX,go=rX`.
    Letters(String),
}

/// Reads a mode; the empty text changes nothing.
///
/// # Errors
/// What is no mode.
pub(super) fn read(text: &str) -> Result<Mode, Fault> {
    if text.is_empty() {
        return Ok(Mode::Unchanged);
    }
    let no_number = || {
        Fault::new(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))
    };
    if let Some(bits) = crate::golang::number::parse_u32(text, 8) {
        return match i32::try_from(bits) {
            Ok(bits) if bits <= 0o7777 => Ok(Mode::Bits(bits)),
            _ => Err(no_number()),
        };
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(no_number());
    }
    if text.split(',').all(is_clause) {
        return Ok(Mode::Letters(text.to_owned()));
    }
    Err(Fault::new(format!(
        "invalid chmod parameter: '{text}' is no mode such as 0644 or u=rwX,go=rX"
    )))
}

/// `ugo+rwx-s=g`: who, and at least one operator with permissions or with one class to copy from.
fn is_clause(clause: &str) -> bool {
    let operators = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    operators.starts_with(['+', '-', '='])
        && operators.split(['+', '-', '=']).skip(1).all(|permissions| {
            matches!(permissions, "u" | "g" | "o")
                || permissions.chars().all(|c| "rwxXst".contains(c))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_numbers_or_letters() {
        assert_eq!(read("").unwrap(), Mode::Unchanged);
        assert_eq!(read("0755").unwrap(), Mode::Bits(0o755));
        for text in ["u=rwX,go=rX", "+x", "a-w", "g=u", "u+s", "=", "u+r-w"] {
            assert_eq!(read(text).unwrap(), Mode::Letters(text.to_owned()));
        }
        for text in [
            "10000", "8", "0x1", "rwx", "u", "u+q", "u=rw,", "+0755", "-1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
