//! Parser directives: `# syntax=`, `# escape=`, `# check=` and our own `# extensions=` before anything else.

use crate::diagnostic::Lines;

const KNOWN: [&str; 4] = ["syntax", "escape", "check", "extensions"];

/// One directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The key in lower case.
    pub name: String,
    /// All after `=`, trimmed.
    pub value: String,
    /// Its line.
    pub lines: Lines,
}

/// The frontend that a file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// The image: the first word.
    pub image: String,
    /// The whole value.
    pub command_line: String,
    /// Where it is asked for.
    pub lines: Lines,
}

/// Reads directives line by line until the first line that is none.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    prefix: &'static str,
    line: u32,
    seen: Vec<String>,
    over: bool,
}

impl Reader {
    pub(super) fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            line: 0,
            seen: Vec::new(),
            over: false,
        }
    }

    /// The directive that this line is, if it is one.
    ///
    /// # Errors
    /// A known directive that was there before.
    pub(super) fn line(&mut self, line: &str) -> Result<Option<Directive>, String> {
        self.line += 1;
        if self.over {
            return Ok(None);
        }
        let Some((name, value)) = line.strip_prefix(self.prefix).and_then(key_and_value) else {
            self.over = true;
            return Ok(None);
        };
        let name = name.to_lowercase();
        if !KNOWN.contains(&name.as_str()) {
            self.over = true;
            return Ok(None);
        }
        if self.seen.contains(&name) {
            return Err(format!("only one {name} parser directive can be used"));
        }
        self.seen.push(name.clone());
        Ok(Some(Directive {
            name,
            value: value.to_owned(),
            lines: Lines::one(self.line),
        }))
    }
}

/// `key = value`, blanks around the parts allowed; the key is a letter and then letters and digits, the value is not empty.
pub(crate) fn key_and_value(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    if !key.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest
        .trim_start_matches(is_blank)
        .strip_prefix('=')?
        .trim_matches(is_blank);
    (!value.is_empty()).then_some((key, value))
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ')
}

/// The frontend that a file asks for: by a directive, by the same in `//` comments, or by a key of a JSON document. A first
/// line that starts with `#!` does not count.
#[must_use]
pub fn syntax(text: &str) -> Option<Syntax> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (text, skipped) = match text.strip_prefix("#!") {
        Some(rest) => (rest.split_once('\n').map_or("", |(_, rest)| rest), 1),
        None => (text, 0),
    };
    let commented = ["#", "//"]
        .into_iter()
        .find_map(|prefix| find(text, prefix, skipped));
    let (value, lines) = match commented {
        Some(directive) => (directive.value, directive.lines),
        None => (from_json(text)?, Lines::one(skipped)),
    };
    Some(Syntax {
        image: value.split(' ').next().unwrap_or_default().to_owned(),
        command_line: value,
        lines,
    })
}

fn find(text: &str, prefix: &'static str, skipped: u32) -> Option<Directive> {
    let mut reader = Reader::new(prefix);
    reader.line = skipped;
    for line in text.lines() {
        match reader.line(line) {
            Ok(Some(directive)) if directive.name == "syntax" => return Some(directive),
            Ok(_) if !reader.over => {}
            _ => return None,
        }
    }
    None
}

fn from_json(text: &str) -> Option<String> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    document.get("syntax")?.as_str().map(str::to_owned)
}
