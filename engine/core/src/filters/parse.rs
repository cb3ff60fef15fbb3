use std::iter::Peekable;
use std::str::CharIndices;

use regex::Regex;

use super::select::{Condition, Selector};

/// Why a filter could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter {filter:?}: {problem} at character {position}")]
pub struct FilterError {
    /// The filter.
    pub filter: String,
    /// What is wrong.
    pub problem: &'static str,
    /// Where, counted from 0.
    pub position: usize,
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
                    _ => Condition::Matches(
                        Regex::new(&value).map_err(|_| self.refuse("no regular expression"))?,
                    ),
                }
            }
        };
        Ok(Selector { path, condition })
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
        FilterError {
            filter: self.text.to_owned(),
            problem,
            position: self.text[..here].chars().count(),
        }
    }
}
