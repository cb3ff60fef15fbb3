use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    descriptor::Descriptor,
    json::{null_default, refuse_duplicate_keys, to_json_indented},
    media_type,
};

/// Longest manifest or index that is read.
///
/// # Units
/// Bytes. Source: what registries must accept, distribution-spec 1.1, is 4 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Names an image's configuration and its layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own media type; older OCI documents leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// What kind of artifact it is, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// Another manifest that this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Names manifests, most often one for each platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The document's own media type; older OCI documents leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// What kind of artifact it is, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, in order of preference.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Another manifest that this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of an image.
    #[must_use]
    pub fn new(media_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type.into(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest whose media type was said to be `said` (by a descriptor or a header).
    ///
    /// # Errors
    /// As [`Document::parse`]; and when it is an index.
    pub fn parse(said: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        match Document::parse(said, bytes)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(DocumentError::Kind(said.into())),
        }
    }

    /// The document's bytes as BuildKit writes them.
    ///
    /// # Errors
    /// Never in practice; the signature is serde's.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        to_json_indented(self)
    }
}

impl Index {
    /// An index of images.
    #[must_use]
    pub fn new(media_type: &str, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type.into(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads an index whose media type was said to be `said` (by a descriptor or a header).
    ///
    /// # Errors
    /// As [`Document::parse`]; and when it is a manifest.
    pub fn parse(said: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        match Document::parse(said, bytes)? {
            Document::Index(index) => Ok(index),
            Document::Manifest(_) => Err(DocumentError::Kind(said.into())),
        }
    }

    /// The document's bytes as BuildKit writes them.
    ///
    /// # Errors
    /// Never in practice; the signature is serde's.
    pub fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        to_json_indented(self)
    }
}

/// What a reference or a descriptor of an image may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "documents are read one at a time and taken apart at once"
)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several images.
    Index(Index),
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is longer than [`MAX_DOCUMENT_BYTES`].
    #[error("the document has {0} bytes; at most {MAX_DOCUMENT_BYTES} are read")]
    TooLong(usize),
    /// It is no JSON, has a key twice, lacks a field or has one of a wrong type.
    #[error("the document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It says to be something else than what led to it.
    #[error("the document was said to be {said:?} and calls itself {found:?}")]
    MediaType {
        /// What led to it said this.
        said: String,
        /// It says this.
        found: String,
    },
    /// Its media type is none of a manifest or index that is known.
    #[error("{0:?} is not a media type of a manifest or index that Cooper knows")]
    Unknown(String),
    /// A manifest was wanted and it is an index, or the other way round.
    #[error("a document of the media type {0:?} cannot stand here")]
    Kind(String),
    /// It could be read as a manifest and as an index.
    #[error("the document is ambiguous: as {kind} it must not have {field:?}")]
    Ambiguous {
        /// What it was said to be.
        kind: &'static str,
        /// The field that speaks against it.
        field: String,
    },
    /// Its schema version is not 2.
    #[error("the document has schema version {0}; Cooper reads version 2")]
    SchemaVersion(u32),
}

impl Document {
    /// Reads a document whose media type was said to be `said`, by the descriptor or
    /// the header that led to it. Parameters after a `;` are ignored.
    ///
    /// # Errors
    /// Whenever two programs could read the document differently: a key that stands
    /// twice or in other letters, a media type that differs from the said one, the
    /// fields of both kinds of documents (security.md T-C7, CVE-2021-41190).
    pub fn parse(said: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let said = said.split(';').next().unwrap_or_default().trim();
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLong(bytes.len()));
        }
        let (kind, foreign): (_, &[_]) = if media_type::is_manifest(said) {
            ("a manifest", &["manifests", "fslayers", "signatures"])
        } else if media_type::is_index(said) {
            let foreign = &["layers", "config", "fslayers", "signatures"];
            ("an index", foreign)
        } else {
            return Err(DocumentError::Unknown(said.into()));
        };
        refuse_duplicate_keys(bytes)?;
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes)?;
        refuse_foreign_fields(kind, foreign, fields.keys())?;
        if let Some(serde_json::Value::String(found)) = fields.get("mediaType")
            && !found.is_empty()
            && found != said
        {
            return Err(DocumentError::MediaType {
                said: said.into(),
                found: found.clone(),
            });
        }
        let (document, schema_version) = if media_type::is_manifest(said) {
            let manifest: Manifest = serde_json::from_slice(bytes)?;
            let version = manifest.schema_version;
            (Self::Manifest(manifest), version)
        } else {
            let index: Index = serde_json::from_slice(bytes)?;
            let version = index.schema_version;
            (Self::Index(index), version)
        };
        if schema_version == 2 {
            Ok(document)
        } else {
            Err(DocumentError::SchemaVersion(schema_version))
        }
    }

    /// The descriptors that the document leads to: the configuration and layers of a
    /// manifest, the manifests of an index.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let (first, rest) = match self {
            Self::Manifest(manifest) => (Some(&manifest.config), &manifest.layers),
            Self::Index(index) => (None, &index.manifests),
        };
        first.into_iter().chain(rest)
    }
}

/// Go matches keys in any letter case, so a key that differs from a known one only by
/// that is refused as well.
fn refuse_foreign_fields<'a>(
    kind: &'static str,
    foreign: &[&str],
    keys: impl Iterator<Item = &'a String>,
) -> Result<(), DocumentError> {
    const KNOWN: &[&str] = &[
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
    ];
    for key in keys {
        let misspelt = KNOWN
            .iter()
            .any(|known| *known != key && known.eq_ignore_ascii_case(key));
        if misspelt || foreign.iter().any(|f| f.eq_ignore_ascii_case(key)) {
            return Err(DocumentError::Ambiguous {
                kind,
                field: key.chars().take(64).collect(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest_text(extra: &str) -> String {
        let media_type = media_type::OCI_MANIFEST;
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"c","digest":"{DIGEST}","size":0}},"layers":[]{extra}}}"#
        )
    }

    #[test]
    fn manifest_is_written_in_the_order_of_go() {
        let digest: crate::Digest = DIGEST.parse().unwrap();
        let mut layer = Descriptor::new(media_type::OCI_LAYER_GZIP, digest.clone(), 7);
        layer.annotations.insert("b".into(), "<2>".into());
        layer.annotations.insert("a".into(), "1".into());
        let config = Descriptor::new(media_type::OCI_CONFIG, digest, 2);
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, vec![layer]);
        let bytes = manifest.to_bytes().unwrap();
        let expected = r#"{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {
    "mediaType": "application/vnd.oci.image.config.v1+json",
    "digest": "DIGEST",
    "size": 2
  },
  "layers": [
    {
      "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
      "digest": "DIGEST",
      "size": 7,
      "annotations": {
        "a": "1",
        "b": "\u003c2\u003e"
      }
    }
  ]
}"#
        .replace("DIGEST", DIGEST);
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(
            Manifest::parse(media_type::OCI_MANIFEST, &bytes).unwrap(),
            manifest
        );
    }

    // security.md T-C7
    #[test]
    fn ambiguous_documents_are_refused() {
        let manifest = media_type::OCI_MANIFEST;
        assert!(Document::parse(manifest, manifest_text("").as_bytes()).is_ok());
        let bad = [
            manifest_text(r#","manifests":[]"#),
            manifest_text(r#","Manifests":[]"#),
            manifest_text(r#","Layers":[]"#),
            manifest_text(r#","fsLayers":[]"#),
            manifest_text(r#","layers":[]"#),
            manifest_text(r#","annotations":{"a":"1","a":"2"}"#),
            manifest_text("").replace("manifest.v1", "index.v1"),
            manifest_text("").replace(":2,", ":1,"),
            manifest_text("").replace("\"size\":0", "\"size\":-1"),
            manifest_text("").replace(DIGEST, "sha256:../../../etc/passwd"),
            manifest_text("") + "{}",
        ];
        for text in bad {
            assert!(
                Document::parse(manifest, text.as_bytes()).is_err(),
                "{text}"
            );
        }
        let index = media_type::OCI_INDEX;
        assert!(Document::parse(index, br#"{"schemaVersion":2,"manifests":null}"#).is_ok());
        for text in [
            manifest_text(""),
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.into(),
            r#"{"schemaVersion":2,"manifests":[],"config":{}}"#.into(),
        ] {
            assert!(Document::parse(index, text.as_bytes()).is_err(), "{text}");
        }
        assert!(matches!(
            Document::parse("text/html", b"{}"),
            Err(DocumentError::Unknown(_))
        ));
    }

    #[test]
    fn documents_beyond_the_limit_are_refused_unread() {
        let bytes = vec![b' '; MAX_DOCUMENT_BYTES + 1];
        assert!(matches!(
            Document::parse(media_type::OCI_INDEX, &bytes),
            Err(DocumentError::TooLong(_))
        ));
    }
}
