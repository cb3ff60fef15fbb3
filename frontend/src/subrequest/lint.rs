//! What the lint rules find.

use std::collections::BTreeMap;

use super::Request;
use super::answer::metadata;
use super::excerpt::excerpt;
use super::wire::{Names, push_info, push_list, push_location};
use crate::diagnostic::{Fault, Warning};
use crate::golang::json::Object;
use crate::llb::SourceMap;

/// What a conversion for lint found.
#[derive(Debug)]
pub(crate) struct LintResult<'a> {
    pub(crate) warnings: &'a [Warning],
    /// Why the file cannot be built, if so.
    pub(crate) fault: Option<&'a Fault>,
    pub(crate) source: &'a SourceMap,
}

/// The answer to [`Request::Lint`].
pub(crate) fn lint(found: &LintResult<'_>) -> BTreeMap<String, String> {
    let mut json = String::new();
    let mut root = Object::open(&mut json);
    if found.warnings.is_empty() {
        root.key("warnings").push_str("null");
    } else {
        push_list(root.key("warnings"), found.warnings, push_warning);
    }
    push_list(root.key("sources"), [found.source.info()], |out, info| {
        push_info(out, &info, Names::AsDeclared);
    });
    if let Some(fault) = found.fault {
        let mut error = Object::open(root.key("buildError"));
        error.string("message", &fault.to_string());
        push_location(error.key("location"), &fault.lines);
        error.close();
    }
    root.close();
    let mut metadata = metadata(Request::Lint, &json, Some(as_text(found)));
    let bad = !found.warnings.is_empty() || found.fault.is_some();
    metadata.insert("result.statuscode".to_owned(), u8::from(bad).to_string());
    metadata
}

fn push_warning(out: &mut String, warning: &Warning) {
    let mut object = Object::open(out);
    object.string("ruleName", warning.rule.name());
    object.string_or_none("description", warning.rule.description());
    object.string_or_none("url", &warning.rule.url());
    object.string_or_none("detail", &warning.message);
    push_location(object.key("location"), &[warning.lines]);
    object.close();
}

/// In the order of lines; the stable order of what stands on one line is that in which it was found.
fn as_text(found: &LintResult<'_>) -> String {
    let file = String::from_utf8_lossy(&found.source.data);
    let mut warnings: Vec<&Warning> = found.warnings.iter().collect();
    warnings.sort_by_key(|warning| warning.lines.start);
    let mut out = String::new();
    for warning in warnings {
        out.push_str("\nWARNING: ");
        out.push_str(warning.rule.name());
        let url = warning.rule.url();
        if !url.is_empty() {
            out.push_str(" - ");
            out.push_str(&url);
        }
        out.push_str(&format!("\n{}\n", warning.message));
        out.push_str(&excerpt(&found.source.filename, &file, &[warning.lines]));
    }
    out
}
