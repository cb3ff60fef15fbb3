use regex::Regex;

/// What one ignore pattern matches, by the rules of moby/patternmatcher.
///
/// The language is defined by a translation into Go's regular expressions that leaves some of their syntax usable
/// (`|`, `{n}`, `^`, `\d`). Clients depend on what that matches, so the same translation is made here and its outcome
/// then read as Go would read it.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
    /// Accepted when the list was read, found wrong only when asked.
    Invalid,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

impl Expression {
    pub(super) fn new(pattern: &str) -> Self {
        let (shape, text) = go_expression(pattern);
        match shape {
            Shape::Exact => Self::Exact(pattern.to_owned()),
            Shape::Prefix => Self::Prefix(pattern[..pattern.len() - 2].to_owned()),
            Shape::Suffix => Self::Suffix(pattern[2..].to_owned()),
            Shape::Regex => translate::from_go(&text)
                .and_then(|text| Regex::new(&text).ok())
                .map_or(Self::Invalid, Self::Regex),
        }
    }

    /// Whether it matches the whole path; `None` when it is not well formed.
    pub(super) fn matches(&self, path: &str) -> Option<bool> {
        match self {
            Self::Exact(text) => Some(path == text),
            Self::Prefix(text) => Some(path.starts_with(text.as_str())),
            // `**/name` matches `name` as well.
            Self::Suffix(text) => Some(
                path.ends_with(text.as_str())
                    || text.strip_prefix('/').is_some_and(|name| path == name),
            ),
            Self::Regex(regex) => Some(regex.is_match(path)),
            Self::Invalid => None,
        }
    }
}

/// The pattern as a Go regular expression, and the cheapest way to match it.
fn go_expression(pattern: &str) -> (Shape, String) {
    let mut text = String::from("^");
    let mut shape = Shape::Exact;
    let mut rest = pattern.chars().peekable();
    let mut first = true;
    while let Some(character) = rest.next() {
        match character {
            '*' if rest.peek() == Some(&'*') => {
                rest.next();
                rest.next_if_eq(&'/');
                if rest.peek().is_some() {
                    text.push_str("(.*/)?");
                    shape = Shape::Regex;
                } else if shape == Shape::Exact {
                    shape = Shape::Prefix;
                } else {
                    text.push_str(".*");
                    shape = Shape::Regex;
                }
                if first {
                    shape = Shape::Suffix;
                }
            }
            '*' => {
                text.push_str("[^/]*");
                shape = Shape::Regex;
            }
            '?' => {
                text.push_str("[^/]");
                shape = Shape::Regex;
            }
            '.' | '+' | '(' | ')' | '$' => {
                text.push('\\');
                text.push(character);
            }
            '\\' => {
                text.push('\\');
                if let Some(next) = rest.next() {
                    text.push(next);
                    shape = Shape::Regex;
                }
            }
            '[' | ']' => {
                text.push(character);
                shape = Shape::Regex;
            }
            other => text.push(other),
        }
        first = false;
    }
    text.push('$');
    (shape, text)
}

/// From Go's regular expression syntax to that of the regex crate, for what [`go_expression`] can make.
mod translate {
    use std::str::Chars;

    /// The same expression for the regex crate; `None` where Go would refuse it or where it uses syntax that no
    /// pattern has a use for (`\Q`, `\p`, `\x`).
    pub(super) fn from_go(go: &str) -> Option<String> {
        let mut out = String::with_capacity(go.len() + 8);
        let mut rest = go.chars();
        let mut after_repeat = false;
        while let Some(character) = rest.next() {
            let mut is_repeat = false;
            match character {
                '\\' => out.push_str(&escape_outside(rest.next()?)?),
                '[' => class(&mut rest, &mut out)?,
                '{' => match repeat(rest.as_str())? {
                    Some(length) => {
                        is_repeat = true;
                        out.push('{');
                        out.extend(rest.by_ref().take(length));
                    }
                    None => out.push_str("\\{"),
                },
                '*' | '?' => {
                    is_repeat = true;
                    out.push(character);
                }
                '^' | '$' | '.' | '(' | ')' | '|' => out.push(character),
                other => literal(other, &mut out),
            }
            if is_repeat && after_repeat {
                return None;
            }
            after_repeat = is_repeat;
        }
        Some(out)
    }

    /// How many characters a repetition has after its `{`, `Some(None)` when it is not one and so means itself, and
    /// `None` when Go refuses it.
    #[expect(
        clippy::option_option,
        reason = "refused, literal and repetition are three answers"
    )]
    fn repeat(rest: &str) -> Option<Option<usize>> {
        const MOST: u32 = 1000;
        let Some((body, _)) = rest.split_once('}') else {
            return Some(None);
        };
        let (low, high) = match body.split_once(',') {
            Some((low, high)) => (low, high),
            None => (body, body),
        };
        let number = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            (plain && (text == "0" || !text.starts_with('0')))
                .then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        let Some(low) = number(low) else {
            return Some(None);
        };
        let high = match high {
            "" => low,
            text => match number(text) {
                Some(high) => high,
                None => return Some(None),
            },
        };
        (low <= MOST && high <= MOST && low <= high).then_some(Some(body.len() + 1))
    }

    /// A character class, after its `[`.
    fn class(rest: &mut Chars<'_>, out: &mut String) -> Option<()> {
        out.push('[');
        if rest.as_str().starts_with('^') {
            rest.next();
            out.push('^');
        }
        let mut first = true;
        loop {
            if !first && rest.as_str().starts_with(']') {
                rest.next();
                out.push(']');
                return Some(());
            }
            first = false;
            if let Some(end) = posix_end(rest.as_str()) {
                let name = &rest.as_str()[..end];
                POSIX.contains(&&name[2..name.len() - 2]).then_some(())?;
                out.push_str(name);
                *rest = rest.as_str()[end..].chars();
                continue;
            }
            if let Some(set) = perl_set(rest.as_str()) {
                out.push_str(set);
                rest.nth(1);
                continue;
            }
            let low = class_character(rest)?;
            literal(low, out);
            let mut after = rest.as_str().chars();
            if after.next() == Some('-') && after.next().is_some_and(|next| next != ']') {
                rest.next();
                let high = class_character(rest)?;
                (low <= high).then_some(())?;
                out.push('-');
                literal(high, out);
            }
        }
    }

    const POSIX: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];

    /// Where a `[:name:]` at the start ends.
    fn posix_end(text: &str) -> Option<usize> {
        let body = text.strip_prefix("[:")?;
        Some(2 + body.find(":]")? + 2)
    }

    fn perl_set(text: &str) -> Option<&'static str> {
        let mut characters = text.strip_prefix('\\')?.chars();
        set(characters.next()?)
    }

    fn class_character(rest: &mut Chars<'_>) -> Option<char> {
        match rest.next()? {
            '\\' => escaped(rest.next()?),
            other => Some(other),
        }
    }

    fn escape_outside(character: char) -> Option<String> {
        let fixed = match character {
            'A' => "\\A",
            'z' => "\\z",
            'b' => "(?-u:\\b)",
            'B' => "(?-u:\\B)",
            other => match set(other) {
                Some(set) => set,
                None => {
                    let mut out = String::new();
                    literal(escaped(other)?, &mut out);
                    return Some(out);
                }
            },
        };
        Some(fixed.to_owned())
    }

    /// Go's sets hold ASCII only.
    fn set(character: char) -> Option<&'static str> {
        Some(match character {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => "[\\t\\n\\f\\r ]",
            'S' => "[^\\t\\n\\f\\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            _ => return None,
        })
    }

    /// The character that `\` and this one stand for.
    fn escaped(character: char) -> Option<char> {
        match character {
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            other => (other.is_ascii() && !other.is_ascii_alphanumeric()).then_some(other),
        }
    }

    fn literal(character: char, out: &mut String) {
        use std::fmt::Write as _;
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            let _ = write!(out, "\\x{{{:x}}}", u32::from(character));
        } else {
            out.push(character);
        }
    }
}
