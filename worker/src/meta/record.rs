//! The persisted form of records: one version byte, then JSON.
//!
//! A field may be added with `#[serde(default)]` under the same version. Whatever else
//! changes raises the version and reads the old one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{LayerForm, MetaError};

/// A kind of record.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const KIND: &'static str;
    /// The version that we write, and the only one that we read.
    const VERSION: u8 = 1;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![Self::VERSION];
        serde_json::to_writer(&mut bytes, self).expect("plain records become JSON");
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, MetaError> {
        let damaged = |reason| MetaError::Record {
            kind: Self::KIND,
            reason,
        };
        match bytes.split_first() {
            Some((version, json)) if *version == Self::VERSION => {
                serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))
            }
            Some((version, _)) => Err(damaged(format!(
                "it has version {version}, and this program reads version {}",
                Self::VERSION
            ))),
            None => Err(damaged(String::from("it is empty"))),
        }
    }
}

/// A result: a chain of layers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ResultRecord {
    pub(super) layers: Vec<String>,
    pub(super) created_ns: u64,
    pub(super) last_used_ns: u64,
    pub(super) usage_count: u64,
    pub(super) description: String,
    pub(super) record_type: String,
}

impl Record for ResultRecord {
    const KIND: &'static str = "result";
}

/// A layer directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) created_ns: u64,
    pub(super) unpacked: bool,
    #[serde(default)]
    pub(super) diff_id: Option<String>,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) parent: Option<String>,
    #[serde(default)]
    pub(super) origin: Option<OriginRecord>,
    #[serde(default)]
    pub(super) form: LayerForm,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) implied: Vec<String>,
}

impl Record for LayerRecord {
    const KIND: &'static str = "layer";
}

/// Where the bytes of a layer that was not fetched yet can be had.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OriginRecord {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) source: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) urls: Vec<String>,
}

/// One compressed form of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BlobRecord {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

impl Record for BlobRecord {
    const KIND: &'static str = "layer blob";
}

/// A name in the image store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) created_ns: u64,
    pub(super) updated_ns: u64,
}

impl Record for ImageRecord {
    const KIND: &'static str = "image";
}
