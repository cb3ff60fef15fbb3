use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{
    Digest,
    oci::{Descriptor, Document, History, ImageConfig, Manifest},
    pb, platform,
    reference::Reference,
};

use super::{
    ImageStore, ImageTree, StoredDocuments, content_failure, meta_failure,
    tree::{Documents, parse},
};

/// One name and what it points to, for a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSummary {
    /// The full name with its tag.
    pub name: String,
    /// The manifest or index that it points to.
    pub target: Descriptor,
    /// When the name was last pointed somewhere, in nanoseconds since 1970.
    pub updated_ns: u64,
    /// The images, one for each platform that is here whole.
    pub variants: Vec<ImageVariant>,
}

/// One platform's image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageVariant {
    /// Its platform, such as `linux/amd64`.
    pub platform: String,
    /// The manifest's descriptor.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
}

/// One step of an image's history, with the layer that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryStep {
    /// What the configuration says.
    pub entry: History,
    /// The layer, for a step that made one.
    pub layer: Option<Descriptor>,
    /// The layer's diff id.
    pub diff_id: Option<Digest>,
}

impl ImageVariant {
    /// How many bytes its layers and documents take as they are stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let layers: u64 = self.manifest.layers.iter().map(|layer| layer.size).sum();
        layers + self.manifest.config.size + self.descriptor.size
    }

    /// The steps that made it, the first one first.
    ///
    /// # Shape
    /// Layers that the history does not account for come last, with an empty entry.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryStep> {
        let diff_ids = self.config.rootfs.diff_ids.iter();
        let mut layers = self.manifest.layers.iter().zip(diff_ids);
        let mut steps: Vec<HistoryStep> = self
            .config
            .history
            .iter()
            .map(|entry| {
                let made = if entry.empty_layer {
                    None
                } else {
                    layers.next()
                };
                HistoryStep {
                    entry: entry.clone(),
                    layer: made.map(|(layer, _)| layer.clone()),
                    diff_id: made.map(|(_, diff_id)| diff_id.clone()),
                }
            })
            .collect();
        steps.extend(layers.map(|(layer, diff_id)| HistoryStep {
            entry: History::default(),
            layer: Some(layer.clone()),
            diff_id: Some(diff_id.clone()),
        }));
        steps
    }
}

impl ImageStore {
    /// All names in order, with their images.
    ///
    /// # Errors
    /// When a store fails. An image whose documents are damaged or gone is listed without
    /// variants.
    pub async fn list(&self) -> Result<Vec<ImageSummary>, Failure> {
        let entries = self.meta().images().map_err(|error| meta_failure(&error))?;
        let mut summaries = Vec::with_capacity(entries.len());
        for entry in entries {
            let target = Descriptor::new(entry.media_type, entry.digest, entry.size);
            let variants = self.variants(&target).await.unwrap_or_default();
            summaries.push(ImageSummary {
                name: entry.name,
                target,
                updated_ns: entry.updated_ns,
                variants,
            });
        }
        Ok(summaries)
    }

    /// One platform's image of a name.
    ///
    /// # Errors
    /// `NotFound` when there is no such name, or its image is for other platforms.
    pub async fn inspect(
        &self,
        name: &Reference,
        wanted: &pb::Platform,
    ) -> Result<ImageVariant, Failure> {
        let name = name.clone().with_default_tag();
        let target = self.find(&name)?.ok_or_else(|| self.no_such_image(&name))?;
        let documents = StoredDocuments::new(self.content(), self.limits());
        let tree = ImageTree::load(&documents, &target, wanted).await?;
        Ok(variant(tree))
    }

    /// The images of a manifest or index that are here.
    pub(super) async fn variants(&self, target: &Descriptor) -> Result<Vec<ImageVariant>, Failure> {
        let documents = StoredDocuments::new(self.content(), self.limits());
        let mut open = vec![target.clone()];
        let mut variants = Vec::new();
        while let Some(descriptor) = open.pop() {
            let bytes = documents.document(&descriptor).await?;
            match parse(&descriptor, &bytes)? {
                Document::Index(index) => {
                    let known = index.manifests.into_iter().rev();
                    open.extend(known.filter(|it| self.content().contains(&it.digest)));
                }
                Document::Manifest(_) => {
                    let any = platform::host();
                    // A single manifest is taken whatever the platform. What is no image
                    // (an attestation) is not listed.
                    if let Ok(tree) = ImageTree::load(&documents, &descriptor, &any).await {
                        variants.push(variant(tree));
                    }
                }
            }
        }
        Ok(variants)
    }

    /// Says that a name does not exist, and which one may have been meant.
    pub(super) fn no_such_image(&self, name: &Reference) -> Failure {
        let message = format!("no image {} in the local store", name.familiar());
        let failure = Failure::new(FailureKind::NotFound, message);
        let names = self.meta().images().unwrap_or_default();
        let near = names
            .iter()
            .filter_map(|entry| entry.name.parse::<Reference>().ok())
            .find(|known| known.path() == name.path());
        match near {
            Some(near) => failure.with_hint(format!("there is {}", near.familiar())),
            None => failure.with_hint("`cooper image ls` shows what there is"),
        }
    }

    /// All blobs that a manifest or index leads to, itself included, as far as they are
    /// here.
    pub(crate) fn reachable(&self, target: &Descriptor) -> Result<Vec<Descriptor>, Failure> {
        let mut open = vec![target.clone()];
        let mut found = Vec::new();
        while let Some(descriptor) = open.pop() {
            let kind = &descriptor.media_type;
            let is_document = cooper_proto::oci::media_type::is_manifest(kind)
                || cooper_proto::oci::media_type::is_index(kind);
            if is_document && self.content().contains(&descriptor.digest) {
                let cap = self.limits().manifest_bytes;
                let bytes = self.content().read(&descriptor.digest, cap);
                let bytes = bytes.map_err(|error| content_failure(&error))?;
                let document = parse(&descriptor, &bytes)?;
                open.extend(document.children().cloned());
            }
            found.push(descriptor);
        }
        Ok(found)
    }
}

fn variant(tree: ImageTree) -> ImageVariant {
    ImageVariant {
        platform: platform::format_all(&tree.platform()),
        descriptor: tree.descriptor,
        manifest: tree.manifest,
        config: tree.config,
        config_bytes: tree.config_bytes.to_vec(),
    }
}
