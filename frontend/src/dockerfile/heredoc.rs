//! Recognising `<<NAME`.

use super::tree::Heredoc;
use crate::expand::{Expander, NoVariables};

/// The heredoc that a word announces: digits, `<<`, maybe `-`, and one word that may be quoted.
///
/// # Errors
/// A word whose quotes do not close.
pub fn from_word(word: &str) -> Result<Option<Heredoc>, String> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let Some(rest) = word[digits..].strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomps, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let bare = Expander::new('\\').keeping_unset();
    let plain = bare.expand(rest, &NoVariables)?.words;
    let [name] = plain.as_slice() else {
        return Ok(None);
    };
    let raw = bare.keeping_quotes().expand(rest, &NoVariables)?.words;
    let [raw] = raw.as_slice() else {
        return Err(format!(
            "internal lexing of heredoc produced inconsistent results: {rest}"
        ));
    };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        descriptor: word[..digits]
            .parse()
            .unwrap_or(if digits == 0 { 0 } else { u64::MAX }),
        expands: quotes(name) == quotes(raw),
        chomps,
        body: String::new(),
    }))
}

/// The heredocs that an instruction announces, in order. A line that cannot be split into words announces none.
pub(super) fn from_line(line: &str) -> Result<Vec<Heredoc>, String> {
    let expander = Expander::new('\\')
        .keeping_quotes()
        .keeping_escapes()
        .keeping_unset();
    let Ok(split) = expander.expand(line, &NoVariables) else {
        return Ok(Vec::new());
    };
    let found: Result<Vec<Option<Heredoc>>, String> =
        split.words.iter().map(|word| from_word(word)).collect();
    Ok(found?.into_iter().flatten().collect())
}
