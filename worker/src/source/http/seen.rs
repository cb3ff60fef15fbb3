use cooper_core::model::{Failure, ResultId};
use cooper_proto::Digest;
use serde::{Deserialize, Serialize};

use crate::images::meta_failure;
use crate::meta::{Meta, Pin, Record};

/// Prefix of the collections that keep what answers to a request had which `ETag`.
const SEEN: &str = "http-seen-1:";

/// How many answers to one request are remembered.
const MOST: usize = 8;

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) digest: Digest,
    pub(super) filename: String,
    /// The server's `Last-Modified`.
    pub(super) modified: Option<String>,
    pub(super) result: String,
    pub(super) created_ns: u64,
}

impl Record for Seen {
    const KIND: &'static str = "answer to an http request";
}

/// An answer whose file is still here and stays while this lives.
pub(super) struct Held {
    pub(super) etag: String,
    pub(super) seen: Seen,
    pub(super) pin: Pin,
}

/// The answers to a request whose files are still here; the others are forgotten.
///
/// # Errors
/// When the metadata store fails.
pub(super) fn answers(meta: &Meta, request: &str) -> Result<Vec<Held>, Failure> {
    let collection = format!("{SEEN}{request}");
    let mut held = Vec::new();
    let documents = meta.documents(&collection);
    for (etag, bytes) in documents.map_err(|error| meta_failure(&error))? {
        let kept = Seen::decode(&bytes).ok().and_then(|seen| {
            let result = ResultId(seen.result.clone());
            let pin = meta.pins().hold(&result);
            meta.result(&result).is_ok().then_some((seen, pin))
        });
        match kept {
            Some((seen, pin)) => held.push(Held { etag, seen, pin }),
            None => forget(meta, &collection, &etag)?,
        }
    }
    held.sort_by_key(|it| std::cmp::Reverse(it.seen.created_ns));
    for old in held.iter().skip(MOST) {
        forget(meta, &collection, &old.etag)?;
    }
    held.truncate(MOST);
    Ok(held)
}

/// Remembers an answer.
///
/// # Errors
/// When the metadata store fails.
pub(super) fn remember(meta: &Meta, request: &str, etag: &str, seen: &Seen) -> Result<(), Failure> {
    meta.save_document(&format!("{SEEN}{request}"), etag, Some(seen.encode()))
        .map_err(|error| meta_failure(&error))
}

fn forget(meta: &Meta, collection: &str, etag: &str) -> Result<(), Failure> {
    meta.save_document(collection, etag, None)
        .map_err(|error| meta_failure(&error))
}
