//! The expander itself.

use std::collections::BTreeSet;

use super::Variables;
use super::pattern::{Reach, replaced, without_prefix, without_suffix};
use crate::golang::quote::quote;

/// Substitutions nest at most this deep; a file cannot exhaust the stack.
const DEEPEST: usize = 200;

/// How to expand words. Cheap to copy; holds no state between words.
#[derive(Clone, Copy, Debug)]
pub struct Expander {
    escape: char,
    quotes: Quotes,
    keep_escapes: bool,
    keep_unset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// Quotes group and vanish.
    Removed,
    /// Quotes group and stay.
    Kept,
    /// Quotes are letters like others.
    Ignored,
}

/// What a word became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The word with everything replaced.
    pub text: String,
    /// The same, split at unquoted blanks. Empty words are dropped.
    pub words: Vec<String>,
    /// Names that had a value.
    pub matched: BTreeSet<String>,
    /// Names that had none.
    pub unmatched: BTreeSet<String>,
}

impl Expander {
    /// An expander that removes quotes and escapes, and replaces unset variables by nothing.
    #[must_use]
    pub fn new(escape: char) -> Self {
        Self {
            escape,
            quotes: Quotes::Removed,
            keep_escapes: false,
            keep_unset: false,
        }
    }

    /// Quotes still group, but stay in the text.
    #[must_use]
    pub fn keeping_quotes(mut self) -> Self {
        self.quotes = Quotes::Kept;
        self
    }

    /// Quotes mean nothing: for the bodies of heredocs.
    #[must_use]
    pub fn ignoring_quotes(mut self) -> Self {
        self.quotes = Quotes::Ignored;
        self
    }

    /// Escapes still work, but stay in the text.
    #[must_use]
    pub fn keeping_escapes(mut self) -> Self {
        self.keep_escapes = true;
        self
    }

    /// References to variables that are not set stay as they are.
    #[must_use]
    pub fn keeping_unset(mut self) -> Self {
        self.keep_unset = true;
        self
    }

    /// Expands one word.
    ///
    /// # Errors
    /// A message that names the word: an open quote or brace, a bad substitution or pattern, `${name:?message}` of an unset
    /// variable.
    pub fn expand(&self, word: &str, variables: &dyn Variables) -> Result<Expanded, String> {
        let mut reader = Reader {
            how: self,
            chars: word.chars().peekable(),
            variables,
            keep_escapes: self.keep_escapes,
            depth: 0,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
        };
        match reader.until(None) {
            Ok(read) => Ok(Expanded {
                text: read.text,
                words: read.words,
                matched: reader.matched,
                unmatched: reader.unmatched,
            }),
            Err(error) => Err(format!("failed to process {}: {error}", quote(word))),
        }
    }
}

struct Reader<'a> {
    how: &'a Expander,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    variables: &'a dyn Variables,
    keep_escapes: bool,
    depth: usize,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

impl Reader<'_> {
    /// Reads to the end, or to `stop`, which is taken.
    fn until(&mut self, stop: Option<char>) -> Result<Splitter, String> {
        let mut read = Splitter::default();
        let quotes_group = self.how.quotes != Quotes::Ignored;
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                read.finish();
                return Ok(read);
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    read.split(&value);
                }
                '<' => read.keep(&self.angle()),
                '\'' if quotes_group => read.keep(&self.single_quoted()?),
                '"' if quotes_group => read.keep(&self.double_quoted()?),
                _ => {
                    self.chars.next();
                    if c != self.how.escape {
                        read.split(c.encode_utf8(&mut [0; 4]));
                        continue;
                    }
                    if self.keep_escapes {
                        read.keep(c.encode_utf8(&mut [0; 4]));
                    }
                    if let Some(escaped) = self.chars.next() {
                        read.keep(escaped.encode_utf8(&mut [0; 4]));
                    }
                }
            }
        }
        if let Some(stop) = stop {
            return Err(format!(
                "unexpected end of statement while looking for matching {stop}"
            ));
        }
        read.finish();
        Ok(read)
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let kept = self.how.quotes == Quotes::Kept;
        self.chars.next();
        if kept {
            text.push('\'');
        }
        for c in self.chars.by_ref() {
            if c == '\'' {
                if kept {
                    text.push(c);
                }
                return Ok(text);
            }
            text.push(c);
        }
        Err("unexpected end of statement while looking for matching single-quote".to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let kept = self.how.quotes == Quotes::Kept;
        self.chars.next();
        if kept {
            text.push('"');
        }
        while let Some(&c) = self.chars.peek() {
            if c == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.chars.next();
            if c == '"' {
                if kept {
                    text.push(c);
                }
                return Ok(text);
            }
            if c != self.how.escape {
                text.push(c);
                continue;
            }
            if self.keep_escapes {
                text.push(c);
            }
            // Only a quote, a dollar and the escape itself can be escaped here; before others the escape is a letter.
            match self.chars.peek() {
                None => {}
                Some(&next) if next == '"' || next == '$' || next == self.how.escape => {
                    self.chars.next();
                    text.push(next);
                }
                Some(_) => text.push(c),
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".to_owned())
    }

    /// `<<` keeps the blanks that follow it in its word: a heredoc may have some before its name.
    fn angle(&mut self) -> String {
        self.chars.next();
        if self.chars.peek() != Some(&'<') {
            return "<".to_owned();
        }
        self.chars.next();
        let mut text = String::from("<<");
        while let Some(&c @ ('\t' | '\r' | ' ')) = self.chars.peek() {
            self.chars.next();
            text.push(c);
        }
        text
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.look_up(&name) {
                None if self.how.keep_unset => format!("${name}"),
                found => found.unwrap_or_default(),
            });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        if self.depth == DEEPEST {
            return Err(format!("substitutions are nested deeper than {DEEPEST}"));
        }
        self.depth += 1;
        let outcome = self.braced();
        self.depth -= 1;
        outcome
    }

    /// What stands between `${` and `}`.
    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        match self.chars.next() {
            Some('}') => Ok(match self.look_up(&name) {
                None if self.how.keep_unset => format!("${{{name}}}"),
                found => found.unwrap_or_default(),
            }),
            Some(':') => match self.chars.next() {
                Some(operator) => self.operator(&name, operator, true),
                None => Err("syntax error: missing '}'".to_owned()),
            },
            Some(operator @ ('+' | '-' | '?' | '#' | '%')) => self.operator(&name, operator, false),
            Some('/') => self.replacement(&name),
            Some(other) => Err(format!("unsupported modifier ({other}) in substitution")),
            None => Err("syntax error: missing '}'".to_owned()),
        }
    }

    fn operator(
        &mut self,
        name: &str,
        operator: char,
        empty_is_unset: bool,
    ) -> Result<String, String> {
        let written = if empty_is_unset {
            format!(":{operator}")
        } else {
            operator.to_string()
        };
        let trims = matches!(operator, '#' | '%');
        if empty_is_unset && trims {
            return Err(format!("unsupported modifier ({written}) in substitution"));
        }
        let word = self.operand('}', trims, "syntax error: missing '}'")?;
        let value = self.look_up(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let usable = value
            .as_deref()
            .is_some_and(|value| !(empty_is_unset && value.is_empty()));
        match operator {
            '-' if usable => Ok(value.unwrap_or_default()),
            '-' => Ok(word),
            '+' => Ok(if usable { word } else { String::new() }),
            '?' if usable => Ok(value.unwrap_or_default()),
            '?' if !word.is_empty() => Err(format!("{name}: {word}")),
            '?' if value.is_none() => Err(format!("{name}: is not allowed to be unset")),
            '?' => Err(format!("{name}: is not allowed to be empty")),
            '#' | '%' => trimmed(operator, &word, &value.unwrap_or_default()),
            _ => Err(format!("unsupported modifier ({written}) in substitution")),
        }
    }

    fn replacement(&mut self, name: &str) -> Result<String, String> {
        let all = self.chars.peek() == Some(&'/');
        if all {
            self.chars.next();
        }
        let pattern = self.operand('/', true, "syntax error: missing '/' in ${}")?;
        let with = self.operand('}', true, "syntax error: missing '}'")?;
        match self.look_up(name) {
            None if self.how.keep_unset => Ok(format!("${{{name}/{pattern}/{with}}}")),
            value => replaced(&pattern, &value.unwrap_or_default(), &with, all),
        }
    }

    /// The word after an operator, itself expanded; `escapes` says whether its escapes reach the pattern.
    fn operand(&mut self, stop: char, escapes: bool, unclosed: &str) -> Result<String, String> {
        let before = std::mem::replace(&mut self.keep_escapes, escapes);
        let read = self.until(Some(stop));
        self.keep_escapes = before;
        match read {
            Ok(read) => Ok(read.text),
            Err(_) if self.chars.peek().is_none() => Err(unclosed.to_owned()),
            Err(error) => Err(error),
        }
    }

    /// A name: digits only, one special letter, or letters, digits and underscores. It may be empty.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(digit) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(digit);
                }
                return name;
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => {
                name.extend(self.chars.next());
                return name;
            }
            _ => {}
        }
        while let Some(c) = self
            .chars
            .next_if(|c| c.is_alphabetic() || c.is_ascii_digit() || *c == '_')
        {
            name.push(c);
        }
        name
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let found = self.variables.get(name).map(str::to_owned);
        let seen = if found.is_some() {
            &mut self.matched
        } else {
            &mut self.unmatched
        };
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        found
    }
}

fn trimmed(operator: char, word: &str, value: &str) -> Result<String, String> {
    let (pattern, reach) = match word.strip_prefix(operator) {
        Some(pattern) => (pattern, Reach::Longest),
        None => (word, Reach::Shortest),
    };
    if operator == '%' {
        without_suffix(pattern, value, reach)
    } else {
        without_prefix(pattern, value, reach)
    }
}

/// Collects text, whole and in words.
#[derive(Default)]
struct Splitter {
    text: String,
    word: String,
    words: Vec<String>,
}

impl Splitter {
    /// Adds text whose blanks separate words.
    fn split(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            if c.is_whitespace() {
                self.finish();
            } else {
                self.word.push(c);
            }
        }
    }

    /// Adds text whose blanks belong to the word.
    fn keep(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn finish(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}
