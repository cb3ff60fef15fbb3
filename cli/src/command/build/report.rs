use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_proto::oci::{Document, ImageConfig, MAX_DOCUMENT_BYTES, media_type};
use cooper_proto::{Digest, platform};
use serde_json::{Map, Value};

use crate::client::{Client, Joined, Place};
use crate::progress::LayerLine;

const DIGEST: &str = "containerimage.digest";
const CONFIG_DIGEST: &str = "containerimage.config.digest";
const NAME: &str = "image.name";

/// What users call the image's id: the digest of its configuration, or of its index when it has several.
pub(super) fn image_id(response: &ExportResponse) -> Option<&str> {
    let id = response.get(CONFIG_DIGEST).or_else(|| response.get(DIGEST));
    id.map(String::as_str)
}

/// Writes the image's id, if there is an image, to standard output.
pub(super) fn print_id(response: &ExportResponse) {
    if let Some(id) = image_id(response) {
        // A closed pipe is its reader's choice.
        let _ = writeln!(std::io::stdout(), "{id}");
    }
}

/// What the build made, in a line for people.
pub(super) fn image_line(response: &ExportResponse) -> String {
    let Some(id) = image_id(response) else {
        return String::new();
    };
    match response.get(NAME).filter(|name| !name.is_empty()) {
        Some(name) => format!("\nImage {name}\n      {id}\n"),
        None => format!("\nImage {id}\n"),
    }
}

/// What the exporters said as JSON: values that are JSON, or JSON in base64, as what they are (as buildx writes it).
///
/// `reference` is the build's, for a file that should have it.
pub(in crate::command) fn metadata(reference: Option<&str>, response: &ExportResponse) -> String {
    format!("{:#}", values(reference, response))
}

/// The same of several targets, by their names (as buildx's bake writes it).
pub(super) fn metadata_of_targets(
    references: &BTreeMap<String, String>,
    responses: &BTreeMap<String, ExportResponse>,
) -> String {
    let one = |(target, response): (&String, &ExportResponse)| {
        let reference = references.get(target).map(String::as_str);
        (target.clone(), values(reference, response))
    };
    format!("{:#}", Value::Object(responses.iter().map(one).collect()))
}

fn values(reference: Option<&str>, response: &ExportResponse) -> Value {
    let mut all = Map::new();
    if let Some(reference) = reference {
        all.insert("buildx.build.ref".into(), Value::from(reference));
    }
    for (key, value) in response {
        all.insert(key.clone(), decoded(value));
    }
    // Go's encoder, which users of the file know, orders keys.
    all.sort_keys();
    Value::Object(all)
}

fn decoded(value: &str) -> Value {
    let structured = |bytes: &[u8]| {
        let value: Option<Value> = serde_json::from_slice(bytes).ok();
        value.filter(|v| v.is_object() || v.is_array())
    };
    let from_base64 = STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| structured(&bytes));
    from_base64
        .or_else(|| structured(value.as_bytes()))
        .unwrap_or_else(|| Value::from(value))
}

/// The layers of the image that was made; of an index, those of this machine's platform. Empty when no image is kept.
pub(super) async fn layers(
    place: &Place,
    client: &Client,
    response: &ExportResponse,
) -> Vec<LayerLine> {
    let blobs = match (place, client) {
        (Place::State(folder), _) => Blobs::Folder(folder),
        (Place::Daemon(_), Client::Joined(joined)) => Blobs::Daemon(joined),
        (Place::Daemon(_), Client::Host(_)) => return Vec::new(),
    };
    blobs.layers(response).await.unwrap_or_default()
}

/// Where the blobs of the image are.
enum Blobs<'a> {
    Folder(&'a Path),
    Daemon(&'a Joined),
}

impl Blobs<'_> {
    async fn layers(&self, response: &ExportResponse) -> Option<Vec<LayerLine>> {
        let digest: Digest = response.get(DIGEST)?.parse().ok()?;
        let manifest = match self.document(&digest).await? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let host = platform::host();
                let ours = index.manifests.iter().find(|m| {
                    let image = m.platform.clone().unwrap_or_default();
                    platform::runs_on(&image.into(), &host)
                })?;
                match self.document(&ours.digest).await? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return None,
                }
            }
        };
        let config = self.blob(&manifest.config.digest).await?;
        let config = ImageConfig::parse(&config).ok()?;
        let mut made = config.history.iter().filter(|h| !h.empty_layer);
        let line = |layer: &cooper_proto::oci::Descriptor| LayerLine {
            size: layer.size,
            created_by: made.next().map(described).unwrap_or_default(),
        };
        Some(manifest.layers.iter().map(line).collect())
    }

    async fn document(&self, digest: &Digest) -> Option<Document> {
        let bytes = self.blob(digest).await?;
        let known = [
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
        ];
        known
            .iter()
            .find_map(|said| Document::parse(said, &bytes).ok())
    }

    async fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        match self {
            Self::Folder(state) => {
                let folder = state.join("blobs").join(digest.algorithm().name());
                std::fs::read(folder.join(digest.hex())).ok()
            }
            Self::Daemon(joined) => {
                let mut bytes = Vec::new();
                let read = joined.read_blob(digest, |part| {
                    bytes.extend_from_slice(part);
                    match bytes.len() > MAX_DOCUMENT_BYTES {
                        true => Err(Failure::new(FailureKind::InvalidInput, "it is no document")),
                        false => Ok(()),
                    }
                });
                read.await.ok()?;
                Some(bytes)
            }
        }
    }
}

/// What made a layer; imported ones have only a comment.
fn described(entry: &cooper_proto::oci::History) -> String {
    if entry.created_by.is_empty() {
        entry.comment.clone()
    } else {
        entry.created_by.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(pairs: &[(&str, &str)]) -> ExportResponse {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn metadata_holds_structures_as_structures() {
        let descriptor = STANDARD.encode(br#"{"size":1}"#);
        let response = response(&[
            ("image.name", "docker.io/library/a:latest"),
            ("containerimage.descriptor", &descriptor),
            ("cache.manifest", r#"{"a":[1]}"#),
            ("number", "12"),
        ]);
        let value: Value = serde_json::from_str(&metadata(Some("r1"), &response)).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "buildx.build.ref": "r1",
                "cache.manifest": {"a": [1]},
                "containerimage.descriptor": {"size": 1},
                "image.name": "docker.io/library/a:latest",
                "number": "12",
            })
        );
    }

    #[test]
    fn id_is_the_configurations_digest() {
        let both = response(&[(DIGEST, "sha256:m"), (CONFIG_DIGEST, "sha256:c")]);
        assert_eq!(image_id(&both), Some("sha256:c"));
        assert_eq!(
            image_id(&response(&[(DIGEST, "sha256:m")])),
            Some("sha256:m")
        );
        assert_eq!(image_id(&ExportResponse::new()), None);
    }
}
