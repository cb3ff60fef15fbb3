//! What can be passed to a target.

use std::collections::BTreeMap;

use super::Request;
use super::answer::metadata;
use super::wire::{push_bytes, push_list, push_location};
use crate::diagnostic::Lines;
use crate::golang::json::Object;
use crate::golang::table::table;

/// A build argument that a target reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The value it would have, or empty.
    pub(crate) value: String,
    pub(crate) lines: Lines,
}

/// A secret or an agent that a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mentioned {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) lines: Lines,
}

/// Everything about a target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) arguments: Vec<Listed>,
    pub(crate) secrets: Vec<Mentioned>,
    pub(crate) agents: Vec<Mentioned>,
}

/// The answer to [`Request::Outline`].
pub(crate) fn outline(outline: &Outline, text: &[u8]) -> BTreeMap<String, String> {
    let mut json = String::new();
    let mut root = Object::open(&mut json);
    root.string_or_none("name", &outline.name);
    root.string_or_none("description", &outline.description);
    if !outline.arguments.is_empty() {
        push_list(root.key("args"), &outline.arguments, |out, argument| {
            let mut object = Object::open(out);
            object.string("name", &argument.name);
            object.string_or_none("description", &argument.description);
            object.string_or_none("value", &argument.value);
            push_location(object.key("location"), &[argument.lines]);
            object.close();
        });
    }
    for (key, list) in [("secrets", &outline.secrets), ("ssh", &outline.agents)] {
        if list.is_empty() {
            continue;
        }
        push_list(root.key(key), list, |out, mentioned| {
            let mut object = Object::open(out);
            object.string("name", &mentioned.name);
            object.truth_or_none("required", mentioned.required);
            push_location(object.key("location"), &[mentioned.lines]);
            object.close();
        });
    }
    push_list(root.key("sources"), [text], push_bytes);
    root.close();
    metadata(Request::Outline, &json, Some(as_text(outline)))
}

fn as_text(outline: &Outline) -> String {
    let mut out = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = match outline.name.as_str() {
            "" => "(default)",
            name => name,
        };
        let mut rows = vec![vec!["TARGET:", name]];
        if !outline.description.is_empty() {
            rows.push(vec!["DESCRIPTION:", &outline.description]);
        }
        out.push_str(&table(rows, 1));
        out.push('\n');
    }
    if !outline.arguments.is_empty() {
        let rows = outline.arguments.iter().map(|argument| {
            vec![
                argument.name.as_str(),
                &argument.value,
                &argument.description,
            ]
        });
        let head = vec!["BUILD ARG", "VALUE", "DESCRIPTION"];
        out.push_str(&table(std::iter::once(head).chain(rows), 3));
        out.push('\n');
    }
    for (head, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        if list.is_empty() {
            continue;
        }
        let rows = list.iter().map(|mentioned| {
            let required = if mentioned.required { "true" } else { "" };
            vec![mentioned.name.as_str(), required]
        });
        out.push_str(&table(
            std::iter::once(vec![head, "REQUIRED"]).chain(rows),
            3,
        ));
        out.push('\n');
    }
    out
}
