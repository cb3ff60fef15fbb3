use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{
    Digest,
    oci::{Descriptor, Document, DocumentError, ImageConfig, Index, Manifest, media_type},
    pb, platform,
};

use crate::{content::ContentStore, limits::Limits};

/// How deep indexes may lie in indexes.
const MOST_NESTED: usize = 4;

/// Gives the documents (manifests, indexes, configurations) that descriptors name.
#[async_trait]
pub trait Documents: Send + Sync {
    /// The bytes of a document, which have the descriptor's digest.
    ///
    /// # Errors
    /// `NotFound` when there is no such document.
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Failure>;
}

/// Documents that are in the content store already.
pub struct StoredDocuments {
    content: ContentStore,
    cap: u64,
}

impl StoredDocuments {
    /// The documents of a content store.
    #[must_use]
    pub fn new(content: &ContentStore, limits: &Limits) -> Self {
        Self {
            content: content.clone(),
            cap: limits.manifest_bytes,
        }
    }
}

#[async_trait]
impl Documents for StoredDocuments {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Failure> {
        let bytes = self
            .content
            .read(&descriptor.digest, self.cap)
            .map_err(|error| super::content_failure(&error))?;
        Ok(bytes.into())
    }
}

/// One platform's image: its manifest and configuration, read and found consistent.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageTree {
    /// What was asked for: the manifest, or the index that it was chosen from.
    pub root: Descriptor,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration's bytes.
    pub config_bytes: Bytes,
    /// The configuration.
    pub config: ImageConfig,
}

impl ImageTree {
    /// Reads the image for a platform that a manifest or index names.
    ///
    /// # Errors
    /// `NotFound` when the index has no manifest that runs on the platform, `InvalidInput`
    /// for documents that are ambiguous, contradict each other or cannot be read.
    pub async fn load(
        documents: &dyn Documents,
        root: &Descriptor,
        wanted: &pb::Platform,
    ) -> Result<Self, Failure> {
        let mut descriptor = root.clone();
        for _ in 0..MOST_NESTED {
            let bytes = documents.document(&descriptor).await?;
            match parse(&descriptor, &bytes)? {
                Document::Manifest(manifest) => {
                    return Self::of_manifest(documents, root, descriptor, manifest).await;
                }
                Document::Index(index) => {
                    descriptor = choose(&index, wanted)
                        .ok_or_else(|| no_match(root, wanted, &index))?
                        .clone();
                }
            }
        }
        Err(broken(root, "it has indexes in indexes in indexes"))
    }

    async fn of_manifest(
        documents: &dyn Documents,
        root: &Descriptor,
        descriptor: Descriptor,
        manifest: Manifest,
    ) -> Result<Self, Failure> {
        if !media_type::is_config(&manifest.config.media_type) {
            let found = &manifest.config.media_type;
            let what = format!("its configuration has the media type {found:?}: it is no image");
            return Err(broken(&descriptor, &what));
        }
        let config_bytes = documents.document(&manifest.config).await?;
        let config = ImageConfig::parse(&config_bytes).map_err(|error| {
            broken(
                &manifest.config,
                &format!("no image configuration: {error}"),
            )
        })?;
        let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != ids {
            let what = format!("it has {layers} layers and its configuration {ids} diff ids");
            return Err(broken(&descriptor, &what));
        }
        Ok(Self {
            root: root.clone(),
            descriptor,
            manifest,
            config_bytes,
            config,
        })
    }

    /// The platform that the configuration names.
    #[must_use]
    pub fn platform(&self) -> pb::Platform {
        pb::Platform {
            architecture: self.config.architecture.clone(),
            os: self.config.os.clone(),
            variant: self.config.variant.clone(),
            os_version: self.config.os_version.clone(),
            os_features: self.config.os_features.clone(),
        }
    }
}

/// Reads a manifest or index strictly (security.md T-C7), and what preceded both with an
/// error that says so.
pub fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Document, Failure> {
    let said = &descriptor.media_type;
    if said.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(Failure::new(
            FailureKind::InvalidInput,
            "support Docker Image manifest version 2, schema 1 has been removed. More information \
             at https://docs.docker.com/go/deprecated-image-specs/",
        )
        .with_hint("push the image again with a current client"));
    }
    Document::parse(said, bytes).map_err(|error| unreadable(descriptor, &error))
}

fn unreadable(descriptor: &Descriptor, error: &DocumentError) -> Failure {
    broken(descriptor, &error.to_string())
}

fn broken(descriptor: &Descriptor, what: &str) -> Failure {
    let digest = &descriptor.digest;
    Failure::new(FailureKind::InvalidInput, format!("image {digest}: {what}"))
}

fn no_match(root: &Descriptor, wanted: &pb::Platform, index: &Index) -> Failure {
    let known: Vec<String> = index
        .manifests
        .iter()
        .filter_map(|it| it.platform.clone())
        .map(|it| platform::format_all(&it.into()))
        .filter(|name| !name.starts_with("unknown"))
        .collect();
    let message = format!(
        "no match for platform in manifest {}: not found",
        root.digest
    );
    Failure::new(FailureKind::NotFound, message).with_hint(format!(
        "{} was asked for; the image has {}",
        platform::format_all(wanted),
        known.join(", ")
    ))
}

/// The manifest of an index that serves a platform best: containerd's `platforms.Only`
/// order, and among equals the first.
#[must_use]
pub fn choose<'a>(index: &'a Index, wanted: &pb::Platform) -> Option<&'a Descriptor> {
    let eligible = |it: &&Descriptor| {
        media_type::is_manifest(&it.media_type) || media_type::is_index(&it.media_type)
    };
    for candidate in platform::runnable_on(wanted) {
        let found = index.manifests.iter().filter(eligible).find(|descriptor| {
            descriptor.platform.clone().is_some_and(|named| {
                let named = platform::normalize(&named.into());
                named.os == candidate.os
                    && named.architecture == candidate.architecture
                    && named.variant == candidate.variant
                    && (wanted.os_version.is_empty() || named.os_version == wanted.os_version)
            })
        });
        if found.is_some() {
            return found;
        }
    }
    // A descriptor that names no platform may be for any.
    index
        .manifests
        .iter()
        .filter(eligible)
        .find(|it| it.platform.is_none())
}

/// The chain id of layers (OCI image specification, config.md): what names a stack of
/// layers by content. `None` for no layers.
#[must_use]
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    let mut ids = diff_ids.iter();
    let first = ids.next()?.clone();
    Some(ids.fold(first, |chain, next| {
        Digest::sha256_of(format!("{chain} {next}"))
    }))
}

#[cfg(test)]
mod tests {
    use cooper_proto::oci::Platform;

    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let manifests = platforms
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let bytes = format!("{at}");
                let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, bytes.as_bytes());
                if !name.is_empty() {
                    let parsed = platform::parse(name, &platform::host()).unwrap();
                    descriptor.platform = Some(Platform::from(parsed));
                }
                descriptor
            })
            .collect();
        Index::new(media_type::OCI_INDEX, manifests)
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Option<usize> {
        let index = index(platforms);
        let wanted = platform::parse(wanted, &platform::host()).unwrap();
        let found = choose(&index, &wanted)?;
        index.manifests.iter().position(|it| it == found)
    }

    #[test]
    fn the_best_platform_wins_and_not_the_first() {
        let all = [
            "linux/386",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/amd64",
            "linux/arm64",
        ];
        assert_eq!(chosen(&all, "linux/amd64"), Some(3));
        assert_eq!(chosen(&all, "linux/arm64"), Some(4));
        assert_eq!(chosen(&all, "linux/arm/v7"), Some(2));
        assert_eq!(chosen(&all, "linux/arm/v6"), Some(1));
        assert_eq!(chosen(&all, "linux/s390x"), None);
        assert_eq!(chosen(&["linux/386"], "linux/amd64"), Some(0));
        assert_eq!(chosen(&["windows/amd64"], "linux/amd64"), None);
        assert_eq!(chosen(&["", "linux/arm64"], "linux/amd64"), Some(0));
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let ids: Vec<Digest> = ["a", "b", "c"].map(Digest::sha256_of).to_vec();
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&ids[..1]), Some(ids[0].clone()));
        let two = Digest::sha256_of(format!("{} {}", ids[0], ids[1]));
        assert_eq!(chain_id(&ids[..2]), Some(two.clone()));
        assert_eq!(
            chain_id(&ids),
            Some(Digest::sha256_of(format!("{two} {}", ids[2])))
        );
    }

    #[test]
    fn schema_1_is_named_in_its_error() {
        let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        let error = parse(&Descriptor::of(kind, b"{}"), b"{}").unwrap_err();
        assert!(error.message.contains("schema 1"), "{error}");
    }

    // T-C7
    #[test]
    fn a_document_that_could_be_read_in_two_ways_is_refused() {
        let manifest = media_type::OCI_MANIFEST;
        let index = media_type::OCI_INDEX;
        let config = r#"{"mediaType":"x","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;
        for (said, text) in [
            (
                manifest,
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
            ),
            (
                index,
                format!(r#"{{"schemaVersion":2,"manifests":[],"layers":[{config}]}}"#),
            ),
            (
                manifest,
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{index}","config":{config},"layers":[]}}"#
                ),
            ),
            (
                index,
                r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(),
            ),
        ] {
            let bytes = text.as_bytes();
            assert!(
                parse(&Descriptor::of(said, bytes), bytes).is_err(),
                "{text}"
            );
        }
    }
}
