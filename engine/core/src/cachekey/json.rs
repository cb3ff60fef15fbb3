//! JSON as Go's `encoding/json` writes it for generated protobuf structs, byte for byte.
//!
//! Fields come in the order of the message's declaration, under the names of its JSON tags, and empty ones are left
//! out. `<`, `>`, `&`, U+2028 and U+2029 are escaped. Bytes are base64, enums are numbers, maps are sorted by key.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes one object into a text.
pub(super) struct Object<'a> {
    text: &'a mut String,
    empty: bool,
}

/// The text of one object.
pub(super) fn object(fields: impl FnOnce(&mut Object<'_>)) -> String {
    let mut text = String::new();
    write_object(&mut text, fields);
    text
}

fn write_object(text: &mut String, fields: impl FnOnce(&mut Object<'_>)) {
    text.push('{');
    fields(&mut Object { text, empty: true });
    text.push('}');
}

impl Object<'_> {
    fn name(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.text.push(',');
        }
        self.empty = false;
        quote(self.text, name);
        self.text.push(':');
        self.text
    }

    /// A text that is there even when empty.
    pub(super) fn always_text(&mut self, name: &str, value: &str) {
        quote(self.name(name), value);
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.always_text(name, value);
        }
    }

    pub(super) fn number<N: Display + Default + PartialEq>(&mut self, name: &str, value: N) {
        if value != N::default() {
            push(self.name(name), value);
        }
    }

    /// A number that is there even when zero.
    pub(super) fn always_number(&mut self, name: &str, value: i64) {
        push(self.name(name), value);
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.name(name).push_str("true");
        }
    }

    pub(super) fn bytes(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            base64(self.name(name), value);
        }
    }

    pub(super) fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            write_list(self.name(name), values, |text, value| quote(text, value));
        }
    }

    pub(super) fn numbers<N: Display + Copy>(&mut self, name: &str, values: &[N]) {
        if !values.is_empty() {
            write_list(self.name(name), values, |text, value| push(text, *value));
        }
    }

    /// Lists of numbers in a list.
    pub(super) fn rows(&mut self, name: &str, rows: &[[i64; 3]]) {
        if !rows.is_empty() {
            write_list(self.name(name), rows, |text, row| {
                write_list(text, row, |text, value| push(text, *value));
            });
        }
    }

    /// A list of byte strings that is there even when empty.
    pub(super) fn always_blobs(&mut self, name: &str, blobs: &[String]) {
        write_list(self.name(name), blobs, |text, blob| {
            base64(text, blob.as_bytes())
        });
    }

    pub(super) fn message<M>(
        &mut self,
        name: &str,
        message: Option<&M>,
        fields: impl FnOnce(&M, &mut Object<'_>),
    ) {
        if let Some(message) = message {
            write_object(self.name(name), |object| fields(message, object));
        }
    }

    pub(super) fn messages<M>(
        &mut self,
        name: &str,
        messages: &[M],
        fields: impl Fn(&M, &mut Object<'_>),
    ) {
        if !messages.is_empty() {
            write_list(self.name(name), messages, |text, message| {
                write_object(text, |object| fields(message, object));
            });
        }
    }

    pub(super) fn map_of_texts(&mut self, name: &str, map: &BTreeMap<String, String>) {
        if !map.is_empty() {
            write_object(self.name(name), |object| {
                for (key, value) in map {
                    object.always_text(key, value);
                }
            });
        }
    }

    pub(super) fn map_of_messages<M>(
        &mut self,
        name: &str,
        map: &BTreeMap<String, M>,
        fields: impl Fn(&M, &mut Object<'_>),
    ) {
        if !map.is_empty() {
            write_object(self.name(name), |object| {
                for (key, value) in map {
                    object.message(key, Some(value), &fields);
                }
            });
        }
    }
}

fn push(text: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

fn base64(text: &mut String, bytes: &[u8]) {
    text.push('"');
    STANDARD.encode_string(bytes, text);
    text.push('"');
}

fn write_list<T>(text: &mut String, values: &[T], write: impl Fn(&mut String, &T)) {
    text.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(text, value);
    }
    text.push(']');
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                push(text, format_args!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}
