//! Which targets there are.

use std::collections::BTreeMap;

use super::Request;
use super::answer::metadata;
use super::wire::{push_bytes, push_list, push_location};
use crate::golang::json::Object;
use crate::golang::table::table;
use crate::instruction::{Stages, description};

/// The answer to [`Request::Targets`].
pub(crate) fn targets(file: &Stages, text: &[u8]) -> BTreeMap<String, String> {
    let last = file.stages.len().saturating_sub(1);
    let mut json = String::new();
    let mut root = Object::open(&mut json);
    push_list(
        root.key("targets"),
        file.stages.iter().enumerate(),
        |out, (at, stage)| {
            let mut object = Object::open(out);
            object.string_or_none("name", &stage.name);
            object.truth_or_none("default", at == last);
            object.string_or_none("description", description(&stage.comments, &stage.name));
            object.string_or_none("base", &stage.base);
            object.string_or_none("platform", &stage.platform);
            push_location(object.key("location"), &[stage.lines]);
            object.close();
        },
    );
    push_list(root.key("sources"), [text], push_bytes);
    root.close();
    let names: Vec<String> = file
        .stages
        .iter()
        .enumerate()
        .map(|(at, stage)| match (stage.name.as_str(), at == last) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        })
        .collect();
    let rows = names
        .iter()
        .zip(&file.stages)
        .map(|(name, stage)| vec![name.as_str(), description(&stage.comments, &stage.name)]);
    let table = table(
        std::iter::once(vec!["TARGET", "DESCRIPTION"]).chain(rows),
        1,
    );
    metadata(Request::Targets, &json, Some(table))
}
