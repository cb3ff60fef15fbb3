//! Which questions can be asked.

use std::collections::BTreeMap;

use super::Request;
use super::answer::metadata;
use crate::golang::json::Object;
use crate::golang::table::table;

/// The questions that are listed, with what they are for. BuildKit does not list lint and convertllb.
const LISTED: [(Request, &str); 3] = [
    (
        Request::Outline,
        "List all parameters current build target supports",
    ),
    (Request::Targets, "List all targets current build supports"),
    (Request::Describe, "List available subrequest types"),
];

/// The answer to [`Request::Describe`].
pub(crate) fn describe() -> BTreeMap<String, String> {
    let mut json = String::from("[");
    for (at, (request, description)) in LISTED.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        let mut object = Object::open(&mut json);
        object.string("name", request.id());
        object.string("version", request.version());
        object.string("type", "rpc");
        object.string("description", description);
        object.key("opts").push_str(options(*request));
        object.key("inputs").push_str("null");
        object.key("metadata").push_str(
            r#"[{"name":"result.json","description":""},{"name":"result.txt","description":""}]"#,
        );
        object.key("refs").push_str("null");
        object.close();
    }
    json.push(']');
    let head = vec!["NAME", "VERSION", "DESCRIPTION"];
    let rows = LISTED.iter().map(|(request, description)| {
        let id = request.id();
        vec![
            id.strip_prefix("frontend.").unwrap_or(id),
            request.version(),
            description,
        ]
    });
    let text = table(std::iter::once(head).chain(rows), 1);
    metadata(Request::Describe, &json, Some(text))
}

fn options(request: Request) -> &'static str {
    match request {
        Request::Outline => r#"[{"name":"target","description":"Target build stage"}]"#,
        Request::Targets => "[]",
        Request::Describe | Request::Lint | Request::ConvertLlb => "null",
    }
}
