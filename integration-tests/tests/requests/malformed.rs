//! Every way in which we know a message to be wrong, made from its description.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// A message that lacks sense, or is none.
#[derive(Debug, Clone)]
pub(crate) struct Malformed {
    /// What is wrong with it.
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
}

/// Longer than any name.
const LONG: usize = 70 << 10;

/// Elements of a list that is too long.
const MANY: usize = 3000;

/// Deeper than any decoder follows.
const NESTED: usize = 300;

/// Most fields on the way of a message to itself.
const WAY: usize = 4;

/// How deep fields that break the encoding itself are tried: what reads them is the same everywhere.
const ENCODING_DEPTH: usize = 2;

/// All malformed forms of a message, of its fields and of theirs, `depth` deep.
pub(crate) fn malformed(message: &MessageDescriptor, depth: usize) -> Vec<Malformed> {
    let mut all = encodings();
    for field in message.fields() {
        all.extend(of_field(&field, depth, ENCODING_DEPTH));
    }
    all
}

/// What is wrong with any message.
fn encodings() -> Vec<Malformed> {
    let noise: Vec<u8> = (0..200_u8).map(|n| n.wrapping_mul(89) ^ 0x5a).collect();
    let groups = [0x0b].repeat(NESTED);
    let forms: [(&str, Vec<u8>); 7] = [
        ("nothing", Vec::new()),
        ("noise", noise),
        ("field 0", vec![0x02, 0x01, 0x00]),
        ("a varint without end", vec![0xff; 12]),
        ("groups in groups", groups),
        (
            "a field that nobody knows",
            length_delimited(536_870_911, b"x"),
        ),
        ("a kind of field that there is not", vec![0x0f, 0x01]),
    ];
    forms
        .into_iter()
        .map(|(what, bytes)| form(what, bytes))
        .collect()
}

fn form(what: impl Into<String>, bytes: Vec<u8>) -> Malformed {
    let what = what.into();
    Malformed { what, bytes }
}

fn of_field(field: &FieldDescriptor, depth: usize, encoding_depth: usize) -> Vec<Malformed> {
    let number = field.number();
    let mut all = Vec::new();
    if encoding_depth > 0 {
        all.extend(broken(field));
    }
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let value = entry.map_entry_value_field();
        let named = |key: &str, value: &[u8]| {
            length_delimited(
                number,
                &[&length_delimited(1, key.as_bytes()), value].concat(),
            )
        };
        all.push(form(
            "an entry without key and value",
            length_delimited(number, &[]),
        ));
        all.push(form("an empty key", named("", &[])));
        all.push(form("a long key", named(&"k".repeat(LONG), &[])));
        let many: Vec<_> = (0..MANY).flat_map(|n| named(&n.to_string(), &[])).collect();
        all.push(form("many entries", many));
        if depth > 0 {
            let values = of_field(&value, depth - 1, encoding_depth.saturating_sub(1));
            all.extend(values.into_iter().map(|value| Malformed {
                what: format!("[key]: {}", value.what),
                bytes: named("key", &value.bytes),
            }));
        }
    } else {
        all.extend(values(field, depth, encoding_depth));
    }
    for form in &mut all {
        form.what = format!("{}: {}", field.name(), form.what);
    }
    all
}

/// A field whose bytes are not what its kind says.
fn broken(field: &FieldDescriptor) -> Vec<Malformed> {
    let number = field.number();
    let is_number = !matches!(field.kind(), Kind::Message(_) | Kind::String | Kind::Bytes);
    let mut cut_off = length_delimited(number, &[]);
    cut_off.pop();
    cut_off.extend([0xe8, 0x07, 0x01]);
    let mut other = Vec::new();
    if is_number {
        encode_key(number, WireType::SixtyFourBit, &mut other);
        other.extend([1; 8]);
    } else {
        other = varint(number, 1);
    }
    let mut group = Vec::new();
    encode_key(number, WireType::StartGroup, &mut group);
    vec![
        form("another kind of field", other),
        form("shorter than it says", cut_off),
        form("a group without end", group),
    ]
}

fn values(field: &FieldDescriptor, depth: usize, encoding_depth: usize) -> Vec<Malformed> {
    let number = field.number();
    let mut all: Vec<_> = match field.kind() {
        Kind::String => {
            let mut all: Vec<_> = texts()
                .into_iter()
                .map(|(what, text)| form(what, length_delimited(number, text.as_bytes())))
                .collect();
            all.push(form("no UTF-8", length_delimited(number, b"a\xff\xfe\x80")));
            all
        }
        Kind::Bytes => [
            ("no bytes", Vec::new()),
            ("bytes that mean nothing", vec![0x9d, 0x00, 0xff, 0x7b]),
            ("many bytes", vec![b'a'; LONG]),
        ]
        .into_iter()
        .map(|(what, bytes)| form(what, length_delimited(number, &bytes)))
        .collect(),
        Kind::Message(message) => messages(number, &message, depth, encoding_depth),
        // Whatever the kind of number, and whatever an enumeration knows.
        _ => [
            ("-1", u64::MAX),
            ("the smallest number", i64::MIN.cast_unsigned()),
            ("the largest number", i64::MAX.cast_unsigned()),
            ("the largest of 32 bits", u64::from(u32::MAX >> 1)),
            ("one of many", 1000),
            ("1", 1),
        ]
        .into_iter()
        .map(|(what, value)| form(what, varint(number, value)))
        .collect(),
    };
    if field.is_list() {
        let one = match field.kind() {
            Kind::String | Kind::Bytes | Kind::Message(_) => length_delimited(number, &[]),
            _ => varint(number, 7),
        };
        all.push(form("many elements", one.repeat(MANY)));
    }
    all
}

/// A message in a field, and what is wrong inside it.
fn messages(
    number: u32,
    message: &MessageDescriptor,
    depth: usize,
    encoding_depth: usize,
) -> Vec<Malformed> {
    let mut all = vec![form("nothing in it", length_delimited(number, &[]))];
    if encoding_depth > 0 {
        all.push(form("noise", length_delimited(number, &[0xf1; 40])));
        if let Some(way) = way_to(message, message, WAY) {
            let mut bytes = Vec::new();
            for step in way.iter().rev().cycle().take(NESTED * way.len()) {
                bytes = length_delimited(*step, &bytes);
            }
            all.push(form("itself in itself", length_delimited(number, &bytes)));
        }
    }
    if depth > 0 {
        for field in message.fields() {
            let inside = of_field(&field, depth - 1, encoding_depth.saturating_sub(1));
            all.extend(inside.into_iter().map(|inside| Malformed {
                what: inside.what,
                bytes: length_delimited(number, &inside.bytes),
            }));
        }
    }
    all
}

/// The fields that lead from one message to another, in at most so many steps.
fn way_to(from: &MessageDescriptor, to: &MessageDescriptor, steps: usize) -> Option<Vec<u32>> {
    from.fields().find_map(|field| {
        let Kind::Message(inner) = field.kind() else {
            return None;
        };
        let rest = match (inner == *to, steps) {
            (true, _) => Vec::new(),
            (false, 0) => return None,
            (false, steps) => way_to(&inner, to, steps - 1)?,
        };
        Some([vec![field.number()], rest].concat())
    })
}

/// Names, paths, digests, references and platforms that are none.
fn texts() -> Vec<(&'static str, String)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    [
        ("no letter", ""),
        ("a zero byte and a line feed", "\0\n"),
        ("a way out", "../../../etc/shadow"),
        ("a digest of nothing", digest.as_str()),
        ("a digest that is none", "sha256:../../x"),
        ("a scheme without an end", "docker-image://[::1"),
        ("a platform that is none", "linux/amd64/v9/x,,"),
        ("a pattern without end", "id~=[[[(?=*{9999999}"),
        ("an overlong number", "99999999999999999999999"),
        (
            "a time beyond all time",
            "startedAt>-170141183460469231731687303715884105727ns",
        ),
        (
            "a year beyond all years",
            "completedAt<+9223372036854775807-12-31T23:59:59Z",
        ),
        ("letters that turn the line", "a\u{202e}\u{0}b\u{1f600}"),
    ]
    .into_iter()
    .map(|(what, text)| (what, text.to_owned()))
    .chain([("a long text", "x".repeat(LONG))])
    .collect()
}

/// A field of bytes.
pub(crate) fn length_delimited(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::Varint, &mut out);
    encode_varint(value, &mut out);
    out
}
