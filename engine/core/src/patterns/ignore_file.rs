use super::clean_path;

/// The patterns of an ignore file such as `.dockerignore`, in order, ready for a [`super::PatternList`].
///
/// A byte order mark, empty lines and lines whose first character is `#` are dropped; the rest is trimmed, cleaned and
/// made relative (parity sheet A6).
#[must_use]
pub fn parse_ignore_file(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (sign, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return Some(String::from(sign));
    }
    let cleaned = clean_path(pattern);
    let relative = match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => &cleaned,
    };
    Some(format!("{sign}{relative}"))
}
