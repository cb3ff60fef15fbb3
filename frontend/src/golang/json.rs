//! `encoding/json` as it writes strings: `<`, `>`, `&` and the two line separators are escaped too.

use std::fmt::Write;

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a string does not fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A list of strings.
pub(crate) fn string_list<S: AsRef<str>>(list: &[S]) -> String {
    let mut out = String::from("[");
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_string(&mut out, item.as_ref());
    }
    out.push(']');
    out
}

/// Writes one JSON object, field by field, leaving out what is empty.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    fields: usize,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub(crate) fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, fields: 0 }
    }

    /// Starts a field and hands out the text to write its value to.
    pub(crate) fn key(&mut self, name: &str) -> &mut String {
        if self.fields > 0 {
            self.out.push(',');
        }
        self.fields += 1;
        push_string(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A string, always written.
    pub(crate) fn string(&mut self, name: &str, value: &str) {
        push_string(self.key(name), value);
    }

    /// A string, unless empty.
    pub(crate) fn string_or_none(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.string(name, value);
        }
    }

    /// A list of strings, unless empty.
    pub(crate) fn list_or_none(&mut self, name: &str, list: &[String]) {
        if !list.is_empty() {
            let text = string_list(list);
            self.key(name).push_str(&text);
        }
    }

    /// A number, unless zero.
    pub(crate) fn number_or_none(&mut self, name: &str, value: i64) {
        if value != 0 {
            let text = value.to_string();
            self.key(name).push_str(&text);
        }
    }

    /// A number of 64 bits as protobuf's JSON writes it, unless zero.
    pub(crate) fn big_or_none(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.string(name, &value.to_string());
        }
    }

    /// `true`, or nothing.
    pub(crate) fn truth_or_none(&mut self, name: &str, value: bool) {
        if value {
            self.key(name).push_str("true");
        }
    }

    /// Closes the object.
    pub(crate) fn close(self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(
            string_list(&["a<b>&\u{2028}\x01\"\\"]),
            r#"["a\u003cb\u003e\u0026\u2028\u0001\"\\"]"#
        );
    }

    #[test]
    fn empty_fields_are_left_out() {
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        object.string_or_none("a", "");
        object.string("b", "");
        object.number_or_none("c", 0);
        object.truth_or_none("d", true);
        object.close();
        assert_eq!(out, r#"{"b":"","d":true}"#);
    }
}
