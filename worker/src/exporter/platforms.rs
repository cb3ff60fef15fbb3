use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_proto::{oci, pb, platform};

use super::attributes::{invalid, seconds};

/// One platform of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ResultPlatform {
    /// The id under which parts and metadata are found.
    pub(super) id: String,
    pub(super) platform: pb::Platform,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping {
    #[serde(default)]
    platforms: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    #[serde(default, rename = "ID")]
    id: String,
    #[serde(rename = "Platform")]
    platform: oci::Platform,
}

/// The platforms of a result: as `refs.platforms` lists them, else the one of the image
/// configuration, else the machine's.
///
/// # Errors
/// `InvalidInput` for metadata that cannot be read.
pub(super) fn of_metadata(
    metadata: &BTreeMap<String, Bytes>,
) -> Result<Vec<ResultPlatform>, Failure> {
    if let Some(bytes) = metadata.get("refs.platforms") {
        return listed(bytes);
    }
    let found = match metadata.get("containerimage.config") {
        None => platform::host(),
        Some(config) => {
            let named: oci::Platform = serde_json::from_slice(config)
                .map_err(|error| invalid(&format!("invalid image config for export: {error}")))?;
            if named.os.is_empty() || named.architecture.is_empty() {
                return Err(invalid(
                    "invalid image config: os and architecture must be specified together",
                ));
            }
            named.into()
        }
    };
    let found = platform::normalize(&found);
    Ok(vec![ResultPlatform {
        id: platform::format_all(&found),
        platform: found,
    }])
}

fn listed(bytes: &[u8]) -> Result<Vec<ResultPlatform>, Failure> {
    let mapping: Mapping = serde_json::from_slice(bytes)
        .map_err(|error| invalid(&format!("refs.platforms cannot be read: {error}")))?;
    if mapping.platforms.is_empty() {
        return Err(invalid("invalid empty platforms index for exporter"));
    }
    mapping
        .platforms
        .into_iter()
        .map(|entry| {
            if entry.id.is_empty() {
                return Err(invalid("invalid empty platform key for exporter"));
            }
            if entry.platform.os.is_empty() || entry.platform.architecture.is_empty() {
                return Err(invalid(&format!(
                    "invalid platform of {:?} for exporter",
                    entry.id
                )));
            }
            Ok(ResultPlatform {
                id: entry.id,
                platform: platform::normalize(&entry.platform.into()),
            })
        })
        .collect()
}

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
