//! HEALTHCHECK.

use super::command::joined;
use super::flags::{Flags, Takes};
use crate::diagnostic::Fault;
use crate::dockerfile::tree::Node;
use crate::golang::duration;
use crate::golang::quote::quote;

/// How a container's health is found out.
///
/// # Units
/// Durations are in nanoseconds; 0 means "as inherited".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a text.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval: i64,
    /// Time after which a check has failed.
    pub timeout: i64,
    /// Time in which failures do not count.
    pub start_period: i64,
    /// Time between checks in that time.
    pub start_interval: i64,
    /// Failures in a row that mean "unhealthy".
    pub retries: i64,
}

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Text),
    ("timeout", Takes::Text),
    ("start-period", Takes::Text),
    ("start-interval", Takes::Text),
    ("retries", Takes::Text),
];

impl Healthcheck {
    pub(super) fn of(node: &Node) -> Result<Self, Fault> {
        let list = node.arguments.list();
        let Some((kind, arguments)) = list.split_first() else {
            return Err(Fault::new("HEALTHCHECK requires at least one argument"));
        };
        let kind = kind.to_uppercase();
        if kind == "NONE" {
            if !arguments.is_empty() {
                return Err(Fault::new("HEALTHCHECK NONE takes no arguments"));
            }
            return Ok(Self {
                test: vec![kind],
                ..Self::default()
            });
        }
        let flags = Flags::read(&node.flags, &FLAGS)?;
        if kind != "CMD" {
            return Err(Fault::new(format!(
                "Unknown type {} in HEALTHCHECK (try CMD)",
                quote(&kind)
            )));
        }
        let json = node.arguments.is_json();
        let command = if json {
            arguments.to_vec()
        } else {
            joined(arguments)
        };
        if command.is_empty() {
            return Err(Fault::new("Missing command after HEALTHCHECK CMD"));
        }
        let kind = if json { "CMD" } else { "CMD-SHELL" };
        Ok(Self {
            test: std::iter::once(kind.to_owned()).chain(command).collect(),
            interval: interval(&flags, "interval")?,
            timeout: interval(&flags, "timeout")?,
            start_period: interval(&flags, "start-period")?,
            start_interval: interval(&flags, "start-interval")?,
            retries: retries(&flags)?,
        })
    }

    /// The check as history shows it (Go's `%+v`).
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            self.test.join(" "),
            duration::format(self.interval),
            duration::format(self.timeout),
            duration::format(self.start_period),
            duration::format(self.start_interval),
            self.retries
        )
    }
}

fn interval(flags: &Flags, name: &str) -> Result<i64, Fault> {
    let text = flags.text(name);
    if text.is_empty() {
        return Ok(0);
    }
    match duration::parse(&text).map_err(Fault::new)? {
        0 => Ok(0),
        given if given < 1_000_000 => Err(Fault::new(format!(
            "Interval {} cannot be less than 1ms",
            quote(name)
        ))),
        given => Ok(given),
    }
}

fn retries(flags: &Flags) -> Result<i64, Fault> {
    let text = flags.text("retries");
    if text.is_empty() {
        return Ok(0);
    }
    match text.parse::<i32>() {
        Ok(count) if count < 0 => Err(Fault::new(format!(
            "--retries cannot be negative ({count})"
        ))),
        Ok(count) => Ok(i64::from(count)),
        Err(_) => Err(Fault::new(format!(
            "invalid number {} for --retries",
            quote(&text)
        ))),
    }
}
