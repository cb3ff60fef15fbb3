//! The document of an exported build cache, `application/vnd.buildkit.cacheconfig.v0` (parity sheet C3).

use serde::{Deserialize, Serialize};

/// Media type of the document.
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Field of an image's configuration that has the records of a cache whose layers are the image's own.
pub const INLINE_CACHE: &str = "moby.buildkit.cache.v0";

/// An exported cache: records of keys, and the layers that they lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheConfig {
    /// Layers, referred to by their position.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub layers: Vec<CacheLayer>,
    /// Records, referred to by their position.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub records: Vec<CacheRecord>,
}

/// One layer on top of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CacheLayer {
    /// Digest of its blob.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub blob: String,
    /// Position of the layer below it, -1 for none.
    #[serde(default, rename = "parent", skip_serializing_if = "is_zero")]
    pub parent: i64,
    /// What descriptors say elsewhere, for places that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<LayerAnnotations>,
}

/// What an importer must know of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerAnnotations {
    /// Media type of its blob.
    #[serde(
        default,
        rename = "mediaType",
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// Its digest before compression.
    #[serde(default, rename = "diffID", skip_serializing_if = "String::is_empty")]
    pub diff_id: String,
    /// Bytes of its blob.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: i64,
    /// When it was made, as RFC 3339 has it; [`NEVER`] when nobody knows.
    #[serde(default = "never", rename = "createdAt")]
    pub created_at: String,
}

/// How a time is written that nobody knows.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

fn never() -> String {
    NEVER.to_owned()
}

/// A key with the results that it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Results that are a layer with all below it.
    #[serde(
        default,
        rename = "layers",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub results: Vec<CacheResult>,
    /// Results that are listed layer by layer.
    #[serde(
        default,
        rename = "chains",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub chained_results: Vec<ChainedResult>,
    /// Digest of the op's cache digest and the output's index.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// For each input the alternatives that lead here.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    pub inputs: Vec<Vec<CacheInput>>,
}

/// A result by its topmost layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheResult {
    /// Position of the layer.
    #[serde(default)]
    pub layer: i64,
    /// When it was made, as RFC 3339 has it.
    #[serde(default, rename = "createdAt")]
    pub created_at: String,
}

/// A result by all its layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainedResult {
    /// Positions of the layers, the bottom one first.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<i64>,
    /// When it was made, as RFC 3339 has it.
    #[serde(default, rename = "createdAt")]
    pub created_at: String,
}

/// An alternative of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheInput {
    /// The part of the input that the op looks at; empty for all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Position of the input's record.
    #[serde(default)]
    pub link: i64,
}

impl CacheConfig {
    /// Reads a document. What it says is not checked.
    ///
    /// # Errors
    /// When it is no such document.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Reads the records of an image's configuration.
    ///
    /// # Errors
    /// When they are none.
    pub fn parse_records(bytes: &[u8]) -> Result<Vec<CacheRecord>, serde_json::Error> {
        let records: Option<Vec<CacheRecord>> = serde_json::from_slice(bytes)?;
        Ok(records.unwrap_or_default())
    }
}

/// Go writes a list that was never made as null.
fn nullable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives a reference to the field"
)]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // The bytes of a document that buildkitd wrote.
    #[test]
    fn the_document_is_written_as_it_was_read() {
        let text = concat!(
            r#"{"layers":[{"blob":"sha256:aa","parent":1},{"blob":"sha256:bb","parent":-1},"#,
            r#"{"blob":"sha256:cc"}],"records":[{"layers":[{"layer":2,"#,
            r#""createdAt":"2026-11-22T09:32:33.108639229Z"}],"digest":"sha256:0a","#,
            r#""inputs":[[{"link":1}],[{"selector":"sha256:8a","link":0}]]},"#,
            r#"{"digest":"sha256:8f"}]}"#
        );
        let read = CacheConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.layers[2].parent, 0);
        assert!(
            CacheConfig::parse(b"{\"records\":null}")
                .unwrap()
                .records
                .is_empty()
        );
        assert!(CacheConfig::parse(b"\"records\"").is_err());
    }
}
