use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_core::model::Failure;

pub(super) use cooper_core::result_platforms::{ResultPlatform, of_metadata};

use super::attributes::seconds;

/// The epoch of a platform: what the client says, where it says something, else what the frontend does.
///
/// # Errors
/// `InvalidInput` for a frontend's epoch that is no number.
pub(super) fn epoch(
    said: Option<Option<i64>>,
    metadata: &BTreeMap<String, Bytes>,
    platform: Option<&ResultPlatform>,
) -> Result<Option<i64>, Failure> {
    match (said, value(metadata, "source.date.epoch", platform)) {
        (Some(epoch), _) => Ok(epoch),
        (None, Some(text)) => seconds(
            "SOURCE_DATE_EPOCH from frontend",
            &String::from_utf8_lossy(text),
        ),
        (None, None) => Ok(None),
    }
}

/// Metadata of one platform: under `key/id`, else under `key`.
pub(super) fn value<'a>(
    metadata: &'a BTreeMap<String, Bytes>,
    key: &str,
    platform: Option<&ResultPlatform>,
) -> Option<&'a Bytes> {
    platform
        .and_then(|platform| metadata.get(&format!("{key}/{}", platform.id)))
        .or_else(|| metadata.get(key))
}
