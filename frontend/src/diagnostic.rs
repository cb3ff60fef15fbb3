//! Where in a Dockerfile something is wrong, what, and what may have been meant.

use std::fmt;

use cooper_core::model::{Failure, FailureKind};

/// A closed range of Dockerfile lines.
///
/// # Units
/// Lines count from 1; `end` is part of the range. Line 0 stands for "no line" (text that no file holds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lines {
    /// First line.
    pub start: u32,
    /// Last line.
    pub end: u32,
}

impl Lines {
    /// The range from `start` to `end`; an `end` before `start` means one line.
    #[must_use]
    pub fn new(start: u32, end: u32) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// One line.
    #[must_use]
    pub fn one(line: u32) -> Self {
        Self::new(line, line)
    }
}

/// What keeps a Dockerfile from being converted.
///
/// The message says what is wrong; `suggestion` is the nearest name to a misspelt one; `lines` are the places, innermost
/// first. Rendering an excerpt is the client's work: it has the file's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// What is wrong, without a place and without a suggestion.
    pub message: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
    /// The places, innermost first. Empty when the fault lies outside the file (an option, a missing file).
    pub lines: Vec<Lines>,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            ..Self::new(failure.message)
        }
    }
}

impl Fault {
    /// A fault with no place yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::InvalidInput,
            message: message.into(),
            suggestion: None,
            lines: Vec::new(),
        }
    }

    /// A fault of a feature that is not built yet.
    #[must_use]
    pub fn unsupported(feature: impl fmt::Display) -> Self {
        Self {
            kind: FailureKind::Unsupported,
            ..Self::new(format!("{feature} is not supported yet"))
        }
    }

    /// Adds a place, unless it is already the outermost one.
    #[must_use]
    pub fn at(mut self, lines: Lines) -> Self {
        if self.lines.last() != Some(&lines) && lines != Lines::default() {
            self.lines.push(lines);
        }
        self
    }

    /// Adds a place only where none is known.
    #[must_use]
    pub fn or_at(self, lines: Lines) -> Self {
        if self.lines.is_empty() {
            self.at(lines)
        } else {
            self
        }
    }

    /// Puts `context` before the message.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Adds the nearest of `options` to `given`, if one is near.
    #[must_use]
    pub fn suggest<'a>(mut self, given: &str, options: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = crate::suggest::nearest(given, options);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(name) => write!(f, " (did you mean {name}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// A finding that does not stop a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule that fired.
    pub rule: crate::lint::Rule,
    /// What was found, in the rule's words.
    pub message: String,
    /// Where.
    pub lines: Lines,
}
