use std::iter::Peekable;
use std::str::CharIndices;

use regex::{Regex, RegexBuilder};

use super::select::{Condition, Selector};

/// Most bytes that a list of filters may have. Those of clients have some dozens.
const MAX_BYTES: usize = 64 << 10;

/// Most regular expressions in a list of filters.
const MAX_PATTERNS: usize = 64;

/// Most memory of one regular expression, and with it the time that reading it takes.
///
/// # Units
/// Bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// Why a filter could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is not in containerd's syntax.
    #[error("filter {filter:?}: {problem} at character {position}")]
    Syntax {
        /// The filter.
        filter: String,
        /// What is wrong.
        problem: &'static str,
        /// Where, counted from 0.
        position: usize,
    },
    /// Reading them all would take long.
    #[error("filters have at most {MAX_BYTES} bytes and {MAX_PATTERNS} regular expressions in all")]
    TooMany,
}

/// Checks that a list of filters is read in little time: clients wait for each other while one's are read.
///
/// # Errors
/// `TooMany`.
pub fn check_size(texts: &[String]) -> Result<(), FilterError> {
    let bytes: usize = texts.iter().map(String::len).sum();
    let patterns: usize = texts.iter().map(|text| text.matches("~=").count()).sum();
    if bytes > MAX_BYTES || patterns > MAX_PATTERNS {
        return Err(FilterError::TooMany);
    }
    Ok(())
}

/// Reads one filter: `selector[,selector…]`.
pub(super) fn parse(text: &str) -> Result<Vec<Selector>, FilterError> {
    let mut reader = Reader {
        text,
        rest: text.char_indices().peekable(),
    };
    let mut selectors = vec![reader.selector()?];
    loop {
        reader.blanks();
        match reader.next() {
            None => return Ok(selectors),
            Some(',') => selectors.push(reader.selector()?),
            Some(_) => return Err(reader.refuse("expected a comma")),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    fn selector(&mut self) -> Result<Selector, FilterError> {
        self.blanks();
        let mut path = vec![self.name()?];
        while self.peek() == Some('.') {
            self.next();
            path.push(self.name()?);
        }
        self.blanks();
        let condition = match self.peek() {
            None | Some(',') => Condition::Present,
            Some(first) => {
                self.next();
                if self.peek() != Some('=') || !"=!~".contains(first) {
                    return Err(self.refuse("unknown operator"));
                }
                self.next();
                self.blanks();
                let value = self.value(first == '~')?;
                match first {
                    '=' => Condition::Equal(value),
                    '!' => Condition::NotEqual(value),
                    _ => Condition::Matches(self.pattern(&value)?),
                }
            }
        };
        Ok(Selector { path, condition })
    }

    fn pattern(&mut self, text: &str) -> Result<Regex, FilterError> {
        let built = RegexBuilder::new(text).size_limit(PATTERN_BYTES).build();
        built.map_err(|_| self.refuse("no regular expression"))
    }

    fn name(&mut self) -> Result<String, FilterError> {
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let name = self.while_some(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            return Err(self.refuse("expected the name of a field"));
        }
        Ok(name)
    }

    /// A value up to a blank or comma, or quoted; a pattern may also stand between slashes or bars.
    fn value(&mut self, is_pattern: bool) -> Result<String, FilterError> {
        match self.peek() {
            Some('"') => return self.quoted(),
            Some('/' | '|') if is_pattern => return self.quoted(),
            _ => {}
        }
        let value = self.while_some(|c| !c.is_whitespace() && c != ',');
        if value.is_empty() {
            return Err(self.refuse("expected a value"));
        }
        Ok(value)
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let quote = self.next();
        let mut value = String::new();
        loop {
            match self.next() {
                None => return Err(self.refuse("a quoted value does not end")),
                end if end == quote => return Ok(value),
                Some('\\') => match self.next() {
                    Some('n') if quote == Some('"') => value.push('\n'),
                    Some('t') if quote == Some('"') => value.push('\t'),
                    Some(escaped) if quote == Some('"') || Some(escaped) == quote => {
                        value.push(escaped);
                    }
                    Some(escaped) => value.extend(['\\', escaped]),
                    None => return Err(self.refuse("a quoted value does not end")),
                },
                Some(plain) => value.push(plain),
            }
        }
    }

    fn while_some(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.peek().filter(|next| wanted(*next)) {
            taken.push(next);
            self.next();
        }
        taken
    }

    fn blanks(&mut self) {
        self.while_some(char::is_whitespace);
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, next)| *next)
    }

    fn next(&mut self) -> Option<char> {
        self.rest.next().map(|(_, next)| next)
    }

    fn refuse(&mut self, problem: &'static str) -> FilterError {
        let here = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
        FilterError::Syntax {
            filter: self.text.to_owned(),
            problem,
            position: self.text[..here].chars().count(),
        }
    }
}
