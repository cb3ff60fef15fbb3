//! One instruction on one line: keyword, flags, arguments.

use super::tree::{Arguments, Node};
use super::words;
use crate::diagnostic::Lines;

/// ONBUILD nests only once in a file that can be built, but text nests as deep as it likes.
const DEEPEST: usize = 16;

/// Reads an instruction. Comments, lines and heredocs are filled in by the caller.
///
/// # Errors
/// A message without a place: the caller knows the lines.
pub(super) fn read(text: &str, escape: char) -> Result<Node, String> {
    read_nested(text, escape, 0)
}

fn read_nested(text: &str, escape: char, depth: usize) -> Result<Node, String> {
    if depth == DEEPEST {
        return Err(format!("ONBUILD is nested deeper than {DEEPEST}"));
    }
    let (keyword, rest) = words::first_and_rest(text.trim());
    let (flags, rest) = flags(rest.unwrap_or_default(), escape);
    let arguments = arguments(keyword, rest.trim(), escape, depth)?;
    Ok(Node {
        keyword: keyword.to_owned(),
        flags,
        arguments,
        heredocs: Vec::new(),
        text: text.to_owned(),
        lines: Lines::default(),
        comments: Vec::new(),
    })
}

fn arguments(keyword: &str, rest: &str, escape: char, depth: usize) -> Result<Arguments, String> {
    let whole = || match rest {
        "" => Arguments::None,
        text => Arguments::Words(vec![text.to_owned()]),
    };
    let list = |words: Vec<String>| match words.is_empty() {
        true => Arguments::None,
        false => Arguments::Words(words),
    };
    Ok(match keyword.to_lowercase().as_str() {
        "maintainer" | "stopsignal" | "user" | "workdir" => whole(),
        "from" | "expose" if rest.is_empty() => Arguments::None,
        "from" | "expose" => Arguments::Words(words::plain(rest)),
        "arg" => list(words::quoted(rest, escape)),
        "env" => Arguments::Pairs(words::pairs(rest, "ENV", escape)?),
        "label" => Arguments::Pairs(words::pairs(rest, "LABEL", escape)?),
        "cmd" | "entrypoint" | "run" | "shell" => match json(rest)? {
            Some(items) => Arguments::Json(items),
            None => whole(),
        },
        "add" | "copy" | "volume" => match json(rest)? {
            Some(items) => Arguments::Json(items),
            None if rest.is_empty() => Arguments::None,
            None => Arguments::Words(words::plain(rest)),
        },
        "healthcheck" => healthcheck(rest)?,
        "onbuild" if rest.is_empty() => Arguments::None,
        "onbuild" => Arguments::Trigger(Box::new(read_nested(rest, escape, depth + 1)?)),
        _ => Arguments::None,
    })
}

fn healthcheck(rest: &str) -> Result<Arguments, String> {
    if rest.is_empty() {
        return Ok(Arguments::None);
    }
    let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
    let (kind, command) = (rest[..end].to_owned(), rest[end..].trim_start());
    Ok(match json(command)? {
        Some(items) => Arguments::Json(std::iter::once(kind).chain(items).collect()),
        None if command.is_empty() => Arguments::Words(vec![kind]),
        None => Arguments::Words(vec![kind, command.to_owned()]),
    })
}

/// The strings of a JSON array. What is no valid JSON is taken as plain text, as Docker always did.
///
/// # Errors
/// A valid array that holds something else than strings.
fn json(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(items) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    items
        .into_iter()
        .map(|item| match item {
            serde_json::Value::String(text) => Ok(text),
            _ => Err(
                "when using JSON array syntax, arrays must be comprised of strings only".to_owned(),
            ),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Takes the words that start with `--` off the front; a lone `--` ends them and vanishes.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (word, quoted, after) = flag(rest, escape);
        rest = after;
        if word == "--" {
            return (flags, rest);
        }
        if quoted || !word.is_empty() {
            flags.push(word);
        }
    }
}

/// One flag with quotes and escapes removed, whether it had quotes, and the text after it.
fn flag(text: &str, escape: char) -> (String, bool, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, quoted, &text[at..]),
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                quoted = true;
            }
            _ if c == escape => word.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => word.push(c),
        }
    }
    (word, quoted, "")
}
