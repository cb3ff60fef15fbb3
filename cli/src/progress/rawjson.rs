use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_proto::control::{self, StatusResponse};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

/// News as one line of JSON, with the names that BuildKit's `rawjson` has. Bytes are in base64, times in RFC 3339.
#[must_use]
pub fn status_line(news: &StatusResponse) -> String {
    let mut line = Map::new();
    let mut list = |key: &str, values: Vec<Value>| {
        if !values.is_empty() {
            line.insert(key.to_owned(), Value::Array(values));
        }
    };
    list("vertexes", news.vertexes.iter().map(vertex).collect());
    list("statuses", news.statuses.iter().map(status).collect());
    list("logs", news.logs.iter().map(log).collect());
    list("warnings", news.warnings.iter().map(warning).collect());
    Value::Object(line).to_string()
}

fn vertex(vertex: &control::Vertex) -> Value {
    let mut value = json!({ "digest": vertex.digest });
    set(&mut value, "inputs", !vertex.inputs.is_empty(), || {
        json!(vertex.inputs)
    });
    set(&mut value, "name", true, || json!(vertex.name));
    set_time(&mut value, "started", vertex.started.as_ref());
    set_time(&mut value, "completed", vertex.completed.as_ref());
    set(&mut value, "cached", vertex.cached, || json!(true));
    set(&mut value, "error", !vertex.error.is_empty(), || {
        json!(vertex.error)
    });
    if let Some(group) = &vertex.progress_group {
        let mut inner = json!({ "id": group.id, "name": group.name });
        set(&mut inner, "weak", group.weak, || json!(true));
        set(&mut value, "progressGroup", true, || inner);
    }
    value
}

fn status(status: &control::VertexStatus) -> Value {
    let mut value = json!({ "id": status.id, "vertex": status.vertex });
    set(&mut value, "name", !status.name.is_empty(), || {
        json!(status.name)
    });
    set(&mut value, "total", status.total != 0, || {
        json!(status.total)
    });
    set(&mut value, "current", true, || json!(status.current));
    set_time(&mut value, "timestamp", status.timestamp.as_ref());
    set_time(&mut value, "started", status.started.as_ref());
    set_time(&mut value, "completed", status.completed.as_ref());
    value
}

fn log(log: &control::VertexLog) -> Value {
    let mut value = json!({
        "vertex": log.vertex,
        "stream": log.stream,
        "data": STANDARD.encode(&log.msg),
    });
    set_time(&mut value, "timestamp", log.timestamp.as_ref());
    value
}

fn warning(warning: &control::VertexWarning) -> Value {
    let detail: Vec<String> = warning.detail.iter().map(|d| STANDARD.encode(d)).collect();
    let mut value = json!({
        "vertex": warning.vertex,
        "level": warning.level,
        "short": STANDARD.encode(&warning.short),
    });
    set(&mut value, "detail", !detail.is_empty(), || json!(detail));
    set(&mut value, "url", !warning.url.is_empty(), || {
        json!(warning.url)
    });
    if let Some(info) = &warning.info {
        set(&mut value, "sourceInfo", true, || {
            json!({
                "filename": info.filename,
                "data": STANDARD.encode(&info.data),
                "language": info.language,
            })
        });
    }
    let ranges: Vec<Value> = warning
        .ranges
        .iter()
        .map(|range| {
            let at = |position: Option<cooper_proto::pb::Position>| {
                let position = position.unwrap_or_default();
                json!({ "line": position.line, "character": position.character })
            };
            json!({ "start": at(range.start), "end": at(range.end) })
        })
        .collect();
    set(&mut value, "range", !ranges.is_empty(), || json!(ranges));
    value
}

fn set(value: &mut Value, key: &str, wanted: bool, make: impl FnOnce() -> Value) {
    if wanted {
        value[key] = make();
    }
}

fn set_time(value: &mut Value, key: &str, time: Option<&Timestamp>) {
    let text = time.and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok());
    if let Some(text) = text {
        value[key] = json!(text.to_string());
    }
}
