//! STOPSIGNAL's value.

use crate::diagnostic::Fault;

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Real-time signals are counted from either end, up to this far.
const REAL_TIME: u8 = 15;

/// Accepts a number other than 0, and a name with or without `SIG`.
///
/// # Errors
/// What is no signal.
pub(super) fn check(signal: &str) -> Result<(), Fault> {
    let invalid = || Fault::new(format!("invalid signal: {signal}"));
    if let Ok(number) = signal.parse::<i64>() {
        return if number == 0 { Err(invalid()) } else { Ok(()) };
    }
    let upper = signal.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.contains(&name)
        || real_time(name, "RTMIN+", REAL_TIME)
        || real_time(name, "RTMAX-", REAL_TIME - 1);
    if known {
        return Ok(());
    }
    Err(invalid().suggest(name, NAMES))
}

fn real_time(name: &str, prefix: &str, last: u8) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|number| (1..=last).any(|known| known.to_string() == number))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn signals_have_names_and_numbers() {
        for signal in ["SIGTERM", "term", "9", "RTMIN+3", "SIGRTMAX-14", "-1"] {
            assert!(check(signal).is_ok(), "{signal}");
        }
        for signal in ["", "0", "SIGTRM", "RTMIN+16", "RTMIN+03", "SIG"] {
            assert!(check(signal).is_err(), "{signal}");
        }
        assert_eq!(
            check("SIGTRM").unwrap_err().suggestion.as_deref(),
            Some("TERM")
        );
    }
}
