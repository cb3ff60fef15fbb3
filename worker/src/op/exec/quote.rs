/// A text in double quotes as Go's `%q` writes it, which is how BuildKit's users know a failed process by its name.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            _ if character.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(character)))
            }
            _ if character.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)))
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_as_go_does() {
        assert_eq!(quote("/bin/sh -c exit 7"), "\"/bin/sh -c exit 7\"");
        assert_eq!(quote("a\"b\\c\n\t\u{1}ü'"), "\"a\\\"b\\\\c\\n\\t\\x01ü'\"");
    }
}
