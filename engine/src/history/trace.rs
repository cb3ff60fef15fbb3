//! A finished build as a trace: one span for the build and one for each vertex that somebody worked on.

use cooper_proto::Digest;
use serde_json::{Value, json};

use super::Record;
use super::duration::format_time;

/// Media type of the trace of a build (parity sheet C5): spans in JSON, one after another.
pub(super) const MEDIA_TYPE: &str = "application/vnd.buildkit.otlp.json.v0";

/// The spans of a build; nothing for one that runs.
pub(super) fn spans(record: &Record, version: &str) -> Vec<u8> {
    let Some(ending) = &record.ending else {
        return Vec::new();
    };
    let trace = Digest::sha256_of(format!("{}\n{}", record.job, record.begun_ns));
    let scope = Scope {
        trace: &trace.hex()[..32],
        root: &trace.hex()[32..48],
        version,
    };
    let error = ending
        .failure
        .as_ref()
        .map(|failure| failure.message.as_str());
    let times = (record.begun_ns, ending.at_ns);
    let mut spans = vec![scope.span("build", scope.root, times, error, &[("ref", &record.job)])];
    for vertex in &ending.vertices {
        let (Some(started), Some(completed)) = (vertex.started_ns, vertex.completed_ns) else {
            continue;
        };
        let id = Digest::sha256_of(format!("{trace}\n{}", vertex.digest));
        let cached = if vertex.cached { "true" } else { "false" };
        let attributes = [("vertex", vertex.digest.as_str()), ("cached", cached)];
        let times = (started, completed);
        let error = vertex.error.as_deref();
        spans.push(scope.span(&vertex.name, &id.hex()[..16], times, error, &attributes));
    }
    let mut text = Vec::new();
    for span in spans {
        text.extend(serde_json::to_vec_pretty(&span).unwrap_or_default());
        text.push(b'\n');
    }
    text
}

struct Scope<'a> {
    trace: &'a str,
    root: &'a str,
    version: &'a str,
}

impl Scope<'_> {
    fn span(
        &self,
        name: &str,
        id: &str,
        (started, completed): (u64, u64),
        error: Option<&str>,
        attributes: &[(&str, &str)],
    ) -> Value {
        let is_root = id == self.root;
        let context = |span: &str| {
            json!({
                "TraceID": self.trace, "SpanID": span, "TraceFlags": "01", "TraceState": "", "Remote": false,
            })
        };
        let attribute = |(key, value): &(&str, &str)| json!({ "Key": key, "Value": { "Type": "STRING", "Value": value } });
        json!({
            "Name": name,
            "SpanContext": context(id),
            "Parent": context(if is_root { "0000000000000000" } else { self.root }),
            "SpanKind": 1,
            "StartTime": format_time(started),
            "EndTime": format_time(completed),
            "Attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
            "Events": null,
            "Links": null,
            "Status": {
                "Code": if error.is_some() { "Error" } else { "Unset" },
                "Description": error.unwrap_or_default(),
            },
            "DroppedAttributes": 0,
            "DroppedEvents": 0,
            "DroppedLinks": 0,
            "ChildSpanCount": 0,
            "Resource": [attribute(&("service.name", "cooperd"))],
            "InstrumentationLibrary": { "Name": "cooper", "Version": self.version, "SchemaURL": "" },
        })
    }
}
