//! Which platforms a result is for, as the metadata of a frontend says.

use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_proto::{oci, pb, platform};

use crate::model::{Failure, FailureKind};

/// One platform of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultPlatform {
    /// The id under which parts and metadata are found.
    pub id: String,
    /// The platform, by its normal names.
    pub platform: pb::Platform,
}

#[derive(Default, serde::Deserialize)]
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
pub fn of_metadata(metadata: &BTreeMap<String, Bytes>) -> Result<Vec<ResultPlatform>, Failure> {
    if let Some(bytes) = metadata.get("refs.platforms") {
        return listed(bytes);
    }
    let found = match metadata.get("containerimage.config") {
        None => platform::host(),
        Some(config) => {
            let named: Option<oci::Platform> = serde_json::from_slice(config)
                .map_err(|error| invalid(&format!("invalid image config for export: {error}")))?;
            let named = named.ok_or_else(|| invalid("invalid null image config for export"))?;
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
    let mapping: Option<Mapping> = serde_json::from_slice(bytes)
        .map_err(|error| invalid(&format!("refs.platforms cannot be read: {error}")))?;
    let mapping = mapping.unwrap_or_default();
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
                    "invalid platform value of {:?} for exporter: it lacks an os or an architecture",
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

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}
