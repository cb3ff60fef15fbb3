//! What clients ask of the engine.

use std::borrow::Cow;

use cooper_core::csv;
use cooper_core::filters::{Fields, Filters};
use cooper_engine::job::Build;
use cooper_engine::server::{
    failure_from_rpc, failure_from_status, solve_spec, status_from_failure,
};
use cooper_proto::control::{ListWorkersRequest, SolveRequest};
use cooper_proto::rpc;
use prost::Message;

use crate::graphs::load;

/// Longest status: it travels as headers, and a client that is sent too many of them ends its connection.
const STATUS_BYTES: usize = 300 << 10;

/// Something to choose from.
struct Thing;

impl Fields for Thing {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "id" => Some("thing".into()),
            "labels" => Some(path.last()?.clone().into()),
            _ => None,
        }
    }
}

/// Which request it is, in one byte, and the request.
pub(crate) fn request(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => solve(data),
        1 => filters(data),
        2 => failed(data),
        _ => {
            let text = String::from_utf8_lossy(data);
            let _either = csv::fields(&text);
        }
    }
}

/// A build.
fn solve(data: &[u8]) {
    let Ok(request) = SolveRequest::decode(data) else {
        return;
    };
    match solve_spec(request.clone()) {
        Ok(spec) => {
            assert_eq!(spec.job.0, request.r#ref);
            assert!(spec.exporters.len() <= request.exporters.len().max(1));
            if let Build::Definition(definition) = &spec.build {
                load(definition);
            }
        }
        Err(failure) => assert!(!failure.message.is_empty(), "a refusal says why"),
    }
}

/// Which workers.
fn filters(data: &[u8]) {
    let Ok(request) = ListWorkersRequest::decode(data) else {
        return;
    };
    if let Ok(filters) = Filters::parse(&request.filter) {
        let _either = filters.take(&Thing);
        let again = Filters::parse(filters.texts()).expect("what was read can be read again");
        assert_eq!(filters.take(&Thing), again.take(&Thing));
    }
}

/// Why a frontend failed, as its client is told.
fn failed(data: &[u8]) {
    let Ok(status) = rpc::Status::decode(data) else {
        return;
    };
    let failure = failure_from_rpc(&status);
    let told = status_from_failure(&failure);
    let bytes = told.message().len() + told.details().len();
    assert!(bytes <= STATUS_BYTES, "a status of {bytes} bytes");
    assert_eq!(failure_from_status(&told).kind, failure.kind);
}
