use std::sync::Arc;

use crate::model::{ContentSelector, OpEvent, ResultId};
use crate::ports::{ContentKeyRequest, EventSink, Events, Worker};

/// Hears nothing.
struct Deaf;

impl EventSink for Deaf {
    fn emit(&self, _event: OpEvent) {}
}

fn quiet() -> Events {
    Arc::new(Deaf)
}

/// The rules of [`Worker`] for results that it keeps, given two results with equal contents that are pinned once each
/// and were made apart. Takes those pins; how ops run is for each worker's own tests.
///
/// # Panics
/// At the first rule that does not hold.
pub async fn worker_results_suite(worker: &dyn Worker, one: ResultId, other: ResultId) {
    let whole = |result: &ResultId| ContentKeyRequest {
        result: result.clone(),
        selectors: vec![ContentSelector {
            path: String::from("/"),
            ..ContentSelector::default()
        }],
        sessions: Vec::new(),
    };
    let of_one = worker.content_key(whole(&one), quiet()).await;
    let of_other = worker.content_key(whole(&other), quiet()).await;
    assert!(
        of_one.is_ok(),
        "contents of a pinned result can be digested: {of_one:?}"
    );
    assert_eq!(of_one, of_other, "equal contents have equal digests");
    assert_eq!(
        of_one,
        worker.content_key(whole(&one), quiet()).await,
        "a digest does not change"
    );

    let absent = ContentKeyRequest {
        selectors: vec![ContentSelector {
            path: String::from("/there/is/no/such/path"),
            ..ContentSelector::default()
        }],
        ..whole(&one)
    };
    assert!(
        worker.content_key(absent, quiet()).await.is_err(),
        "a plain path must exist"
    );

    assert_eq!(
        worker.retain(&one).await,
        Ok(true),
        "a pinned result can be pinned again"
    );
    worker.release(vec![one.clone()]).await;
    assert_eq!(
        worker.retain(&one).await,
        Ok(true),
        "one pin is left, so that it is still there"
    );
    let never_made = ResultId(String::from("never made"));
    assert_eq!(
        worker.retain(&never_made).await,
        Ok(false),
        "what was never made cannot be pinned"
    );
    worker.release(vec![never_made]).await;
    worker.release(vec![one.clone(), one, other]).await;
}
