//! The wildcard patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/with}`: `*` and `?`, no brackets.

use regex::Regex;

/// How much `*` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// As little as possible.
    Shortest,
    /// As much as possible.
    Longest,
}

/// Cuts what matches the pattern off the start of `value`.
pub(super) fn without_prefix(pattern: &str, value: &str, reach: Reach) -> Result<String, String> {
    let expression = compile(pattern, reach, true)?;
    Ok(match expression.find(value) {
        Some(found) => value[found.end()..].to_owned(),
        None => value.to_owned(),
    })
}

/// Cuts what matches the pattern off the end of `value`. Regular expressions find the leftmost match, so both are turned around.
pub(super) fn without_suffix(pattern: &str, value: &str, reach: Reach) -> Result<String, String> {
    let mirrored: String = value.chars().rev().collect();
    let rest = without_prefix(&reversed(pattern), &mirrored, reach)?;
    Ok(rest.chars().rev().collect())
}

/// Replaces the first match, or every match, by `with`; in the latter case `$1` and `${1}` in it stand for groups, of which
/// a pattern has none.
pub(super) fn replaced(
    pattern: &str,
    value: &str,
    with: &str,
    all: bool,
) -> Result<String, String> {
    let expression = compile(pattern, Reach::Longest, false)?;
    if all {
        return Ok(expression.replace_all(value, with).into_owned());
    }
    Ok(match expression.find(value) {
        Some(found) => format!("{}{with}{}", &value[..found.start()], &value[found.end()..]),
        None => value.to_owned(),
    })
}

fn compile(pattern: &str, reach: Reach, anchored: bool) -> Result<Regex, String> {
    let invalid = |why: String| format!("invalid pattern ({pattern}) in substitution: {why}");
    let expression = translate(pattern, reach, anchored).map_err(invalid)?;
    Regex::new(&expression).map_err(|error| invalid(error.to_string()))
}

fn translate(pattern: &str, reach: Reach, anchored: bool) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 4);
    if anchored {
        out.push('^');
    }
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if reach == Reach::Longest => out.push_str(".*"),
            '*' => out.push_str(".*?"),
            '?' => out.push('.'),
            // A brace or slash is escaped so that it does not end the substitution; the escape is no part of the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(literal @ ('*' | '?' | '\\')) => {
                    out.push('\\');
                    out.push(literal);
                }
                other => {
                    return Err(format!(
                        "invalid escape '\\{}'",
                        other.unwrap_or('\u{fffd}')
                    ));
                }
            },
            literal => out.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4]))),
        }
    }
    Ok(out)
}

/// The pattern from back to front, with each escape still before what it escapes.
fn reversed(pattern: &str) -> String {
    let mut pieces: Vec<String> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let mut piece = String::from(c);
        if c == '\\' {
            piece.extend(chars.next());
        }
        pieces.push(piece);
    }
    pieces.into_iter().rev().collect()
}
