use std::{collections::BTreeSet, fmt, io};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// The value as JSON on one line, as Go's `json.Marshal` writes it.
///
/// # Errors
/// When the value has no JSON form, for example a map whose keys are not strings.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    write(value, GoFormatter(CompactFormatter))
}

/// The value as JSON indented by two blanks, as BuildKit writes manifests.
///
/// # Errors
/// When the value has no JSON form, for example a map whose keys are not strings.
pub fn to_json_indented<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    write(value, GoFormatter(PrettyFormatter::with_indent(b"  ")))
}

fn write<T: Serialize + ?Sized>(
    value: &T,
    formatter: impl Formatter,
) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer)?;
    Ok(out)
}

/// Escapes five more characters than serde_json does, as Go's encoder does so that
/// the text can stand in HTML and in old JavaScript.
struct GoFormatter<F>(F);

macro_rules! pass_on {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, w: &mut W $(, $arg: $kind)*) -> io::Result<()> {
            self.0.$name(w $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for GoFormatter<F> {
    pass_on! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let escaped = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        let mut rest = fragment;
        while let Some(at) = rest.find(escaped) {
            let c = rest[at..].chars().next().unwrap_or_default();
            w.write_all(&rest.as_bytes()[..at])?;
            write!(w, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        w.write_all(rest.as_bytes())
    }
}

/// Reads a field whose `null` means its default, as in Go.
pub(super) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Fails when an object anywhere in `bytes` has a key twice, which different
/// programs read differently (security.md T-C7).
pub(super) fn refuse_duplicate_keys(bytes: &[u8]) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    UniqueKeys.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(UniqueKeys)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            seen.insert(key);
            map.next_value_seed(UniqueKeys)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_go_escapes_are_escaped() {
        let value = serde_json::json!({"a<b>": "x && \u{2028}\u{2029} \u{7f}\u{1}\n\"é"});
        assert_eq!(
            String::from_utf8(to_json(&value).unwrap()).unwrap(),
            "{\"a\\u003cb\\u003e\":\"x \\u0026\\u0026 \\u2028\\u2029 \u{7f}\\u0001\\n\\\"é\"}"
        );
    }

    #[test]
    fn duplicate_keys_are_found_at_any_depth() {
        assert!(refuse_duplicate_keys(br#"{"a":1,"b":[{"c":1,"d":{}}]}"#).is_ok());
        assert!(refuse_duplicate_keys(br#"{"a":1,"a":1}"#).is_err());
        assert!(refuse_duplicate_keys(br#"{"b":[{"c":1,"\u0063":2}]}"#).is_err());
        assert!(refuse_duplicate_keys(b"{} {}").is_err());
        assert!(refuse_duplicate_keys(&[b'['; 10_000]).is_err());
    }
}
