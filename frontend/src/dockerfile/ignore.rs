//! `.dockerignore` to patterns (features.md A6). Matching is cooper-core's work.

use crate::golang::path::clean;

/// The patterns in the file's order, cleaned; `!` stays in front of those that bring files back.
#[must_use]
pub fn patterns(text: &str) -> Vec<String> {
    text.strip_prefix('\u{feff}')
        .unwrap_or(text)
        .lines()
        .filter_map(pattern)
        .collect()
}

fn pattern(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (mark, path) = match line.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return Some(mark.to_owned());
    }
    let path = clean(path);
    let relative = match path.strip_prefix('/') {
        Some(relative) if !relative.is_empty() => relative,
        _ => &path,
    };
    Some(format!("{mark}{relative}"))
}

#[cfg(test)]
mod tests {
    use super::patterns;

    #[test]
    fn patterns_are_trimmed_cleaned_and_relative() {
        let text = "\u{feff}# comment\n #no comment\n\n  /a/../b/ \n!/keep\n! c\n!\n/\n**/*.o\r\n";
        assert_eq!(
            patterns(text),
            ["#no comment", "b", "!keep", "!c", "!", "/", "**/*.o"]
        );
    }
}
