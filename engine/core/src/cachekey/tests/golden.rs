//! `cache_maps.tsv` holds an op a line: a name, the op's bytes in hexadecimal, the cache digest that BuildKit's own code
//! computes for it (or `error`), and for each input its selector (`-` for none) with `+content` where it has a content
//! key. The ops are random ones from a fixed seed and the common forms; platforms that an op leaves out are linux/amd64.

use std::fmt::Write as _;
use std::sync::Arc;

use cooper_proto::{Digest, pb};
use prost::Message as _;

use crate::cachekey::{KeyError, cache_map};
use crate::graph::Vertex;
use crate::model::{CacheMap, Edge, Patience};

const TABLE: &str = include_str!("cache_maps.tsv");

pub(super) fn amd64() -> pb::Platform {
    pb::Platform {
        os: String::from("linux"),
        architecture: String::from("amd64"),
        ..pb::Platform::default()
    }
}

pub(super) fn map_of(op: pb::Op) -> Result<CacheMap, KeyError> {
    let input = |input: &pb::Input| Edge {
        vertex: input.digest.parse().unwrap(),
        output: 0,
    };
    let vertex = Vertex {
        digest: Digest::sha256_of(op.encode_to_vec()),
        inputs: op.inputs.iter().map(input).collect(),
        op: Arc::new(op),
        outputs: 1,
        name: String::new(),
        ignore_cache: false,
        export_cache: None,
        progress_group: None,
        resources: None,
        patience: Patience::default(),
        locations: Vec::new(),
    };
    cache_map(&vertex, &amd64())
}

fn described(map: &CacheMap) -> String {
    let mut text = map.digest.hex().to_owned();
    for rule in &map.inputs {
        let selector = rule
            .selector
            .as_ref()
            .map_or("-", |selector| selector.hex());
        let content = if rule.content.is_some() {
            "+content"
        } else {
            ""
        };
        let _ = write!(text, "\t{selector}{content}");
    }
    text
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn digests_and_selectors_are_buildkits() {
    let mut wrong = Vec::new();
    for (number, line) in TABLE.lines().enumerate() {
        let mut columns = line.splitn(3, '\t');
        let (name, op, expected) = (
            columns.next().unwrap(),
            columns.next().unwrap(),
            columns.next().unwrap(),
        );
        let op = pb::Op::decode(from_hex(op).as_slice()).unwrap();
        let found = match map_of(op.clone()) {
            Ok(map) => described(&map),
            Err(KeyError::UnsafeContentCache { .. }) => String::from("error"),
            Err(other) => other.to_string(),
        };
        if found != expected {
            wrong.push(format!(
                "line {} ({name}): {found} is not {expected}\n{op:?}",
                number + 1
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(TABLE.lines().count() > 130);
}
