use super::PatternError;

/// A pattern of Go's `filepath.Match`: `*` and `?` stand for anything but a slash, `[..]` for one character of a class,
/// `\` takes the next character as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyRun,
    AnyOne,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Whether a path holds `*`, `?` or `[` that is not escaped.
#[must_use]
pub fn has_wildcard(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

impl Wildcard {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When a class is not closed or not well formed, or the pattern ends in `\`.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let invalid = || PatternError::Syntax(pattern.to_owned());
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' => Token::AnyRun,
                '?' => Token::AnyOne,
                '[' => class(&mut rest).ok_or_else(invalid)?,
                '\\' => Token::Literal(rest.next().ok_or_else(invalid)?),
                other => Token::Literal(other),
            });
        }
        Ok(Self { tokens })
    }

    /// Whether the pattern matches the whole of `path`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        // The last `*` seen and where its run ends so far: on a mismatch only that run needs to grow.
        let mut backtrack: Option<(usize, usize)> = None;
        let (mut token, mut at) = (0, 0);
        loop {
            match (self.tokens.get(token), path.get(at)) {
                (None, None) => return true,
                (Some(Token::AnyRun), _) => {
                    backtrack = Some((token, at));
                    token += 1;
                    continue;
                }
                (Some(wanted), Some(&character)) if wanted.takes(character) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match backtrack {
                Some((star, end)) if path.get(end).is_some_and(|next| *next != '/') => {
                    backtrack = Some((star, end + 1));
                    token = star + 1;
                    at = end + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Literal(wanted) => *wanted == character,
            Self::AnyOne => character != '/',
            Self::Class { negated, ranges } => {
                let listed = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character));
                listed != *negated
            }
            Self::AnyRun => false,
        }
    }
}

/// Reads a class after its `[`.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Token> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if rest.as_str().starts_with(']') && !ranges.is_empty() {
            rest.next();
            return Some(Token::Class { negated, ranges });
        }
        let low = class_member(rest)?;
        let high = if rest.as_str().starts_with('-') {
            rest.next();
            class_member(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// Reads one character of a class; there must be more after it.
fn class_member(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let character = match rest.next()? {
        '-' | ']' => return None,
        '\\' => rest.next()?,
        other => other,
    };
    (!rest.as_str().is_empty()).then_some(character)
}
