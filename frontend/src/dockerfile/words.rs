//! Splitting arguments into words.

use super::tree::Pair;

/// Blanks that separate an instruction's keyword and plain arguments.
pub(super) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Splits at runs of blanks; like BuildKit, leading and trailing blanks give empty words, which callers trim away before.
pub(super) fn plain(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut in_blanks = false;
    for c in text.chars() {
        if is_separator(c) {
            if !in_blanks {
                words.push(String::new());
            }
            in_blanks = true;
        } else {
            in_blanks = false;
            words
                .last_mut()
                .expect("the list starts with one word")
                .push(c);
        }
    }
    words
}

/// The text up to the first run of blanks, and what follows it if there is such a run.
pub(super) fn first_and_rest(text: &str) -> (&str, Option<&str>) {
    match text.find(is_separator) {
        Some(end) => (
            &text[..end],
            Some(text[end..].trim_start_matches(is_separator)),
        ),
        None => (text, None),
    }
}

/// Splits at blanks outside quotes. Quotes and escapes stay: they are removed by expansion.
pub(super) fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut started = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            started = false;
            continue;
        }
        started = true;
        // Within single quotes nothing escapes; elsewhere an escape takes the next letter along, and vanishes at the end.
        if c == escape && quote != Some('\'') {
            if let Some(escaped) = chars.next() {
                word.push(c);
                word.push(escaped);
                continue;
            }
            break;
        }
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    if started && !word.is_empty() {
        words.push(word);
    }
    words
}

/// ENV's and LABEL's pairs. The first word decides: without `=` the whole line is one pair in the legacy form.
pub(super) fn pairs(text: &str, keyword: &str, escape: char) -> Result<Vec<Pair>, String> {
    let words = quoted(text, escape);
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !first.contains('=') {
        let (key, rest) = first_and_rest(text);
        let value = rest.ok_or_else(|| format!("{keyword} must have two arguments"))?;
        return Ok(vec![Pair {
            key: key.to_owned(),
            value: value.to_owned(),
            legacy: true,
        }]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => Ok(Pair {
                key: key.to_owned(),
                value: value.to_owned(),
                legacy: false,
            }),
            None => Err(format!(
                "Syntax error - can't find = in {}. Must be of the form: name=value",
                crate::golang::quote::quote(word)
            )),
        })
        .collect()
}
