//! `json.Indent` with two spaces, for text that is JSON without blanks.

/// Spreads compact JSON over lines. Empty lists and objects stay as they are.
pub(crate) fn indented(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let mut depth = 0;
    let mut quoted = false;
    let mut escaped = false;
    let mut opened = false;
    for c in compact.chars() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        if opened && !matches!(c, ']' | '}') {
            depth += 1;
            new_line(&mut out, depth);
        }
        match c {
            '{' | '[' => out.push(c),
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '}' | ']' => {
                if !opened {
                    depth -= 1;
                    new_line(&mut out, depth);
                }
                out.push(c);
            }
            other => out.push(other),
        }
        quoted = c == '"';
        opened = matches!(c, '{' | '[');
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn what_is_empty_stays_on_its_line() {
        let compact = r#"{"a":[],"b":{"c":"x\"{,\\","d":[1,{}]},"e":null}"#;
        let spread = "{\n  \"a\": [],\n  \"b\": {\n    \"c\": \"x\\\"{,\\\\\",\n    \"d\": [\n      1,\n      {}\n    ]\n  },\n  \"e\": null\n}";
        assert_eq!(indented(compact), spread);
    }
}
