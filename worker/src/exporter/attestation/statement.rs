use std::collections::BTreeMap;

use cooper_core::model::Subject;
use cooper_proto::Digest;
use serde_json::{Value, json};

use super::read::Said;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// The statement; `own` is what is exported, by its names.
pub(super) fn statement(said: &Said, own: &[(String, Digest)]) -> Value {
    let itself = [Subject::Itself {
        name: String::new(),
    }];
    let subjects = match said.subjects.as_slice() {
        [] => &itself[..],
        subjects => subjects,
    };
    let subjects: Vec<Value> = subjects
        .iter()
        .flat_map(|subject| written(subject, own))
        .collect();
    json!({
        "_type": STATEMENT,
        "predicateType": said.predicate_type,
        "subject": subjects,
        "predicate": said.predicate,
    })
}

fn written(subject: &Subject, own: &[(String, Digest)]) -> Vec<Value> {
    match subject {
        Subject::Itself { name } => own
            .iter()
            .flat_map(|(known, digest)| {
                let further = (!matches!(name.as_str(), "" | "_")).then_some(name);
                let names = [Some(known), further].into_iter().flatten();
                names.map(|name| one(name, std::slice::from_ref(digest)))
            })
            .collect(),
        Subject::Named { name, digests } => {
            let name = match name.as_str() {
                "" => "_",
                name => name,
            };
            vec![one(name, digests)]
        }
    }
}

fn one(name: &str, digests: &[Digest]) -> Value {
    let digests: BTreeMap<&str, &str> = digests
        .iter()
        .map(|digest| (digest.algorithm().name(), digest.hex()))
        .collect();
    json!({"name": name, "digest": digests})
}
