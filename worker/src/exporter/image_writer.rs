use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cooper_core::{
    model::{Failure, FailureKind, OpEvent, ResultId, Status},
    ports::{Events, ExportPart, ExportRequest},
};
use cooper_proto::oci::{Descriptor, Index, Manifest, Platform, media_type};

use super::{
    attestation::{StatementWriter, WrittenStatements, any_exported},
    attributes::{ImageAttributes, invalid},
    image_config,
    image_history::LayerFacts,
    image_layers::WrittenLayer,
    platforms::{self, ResultPlatform},
};
use crate::{
    images::ImageStore,
    layer::{FetchLayer, Layers},
    remotecache::inline_records,
};

/// Whether layers of images that are still only in their registry are brought here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Their bytes are needed.
    Fetch,
    /// Their descriptors suffice.
    Leave,
}

/// Makes an image's documents of results and keeps them in the content store.
pub(crate) struct ImageWriter<'a> {
    pub(crate) images: &'a ImageStore,
    pub(crate) layers: &'a Layers,
    pub(crate) fetcher: Arc<dyn FetchLayer>,
    pub(crate) attributes: &'a ImageAttributes,
    pub(crate) absent: Absent,
    pub(crate) events: &'a Events,
}

/// An image whose documents were written.
pub(super) struct WrittenImage {
    /// The manifest, or the index above several.
    pub(super) root: Descriptor,
    /// The manifests, in the order of the index.
    pub(super) manifests: Vec<WrittenManifest>,
    /// The manifests of statements about them, which come last in the index.
    pub(super) statements: Vec<WrittenStatements>,
    /// Whether there is an index.
    pub(super) is_index: bool,
}

/// One platform's manifest.
pub(super) struct WrittenManifest {
    pub(super) descriptor: Descriptor,
    pub(super) config: Descriptor,
    /// When the image was made, as its configuration says.
    pub(super) created: Option<String>,
    pub(super) layers: Vec<WrittenLayer>,
}

impl ImageWriter<'_> {
    /// Writes layers, configurations, manifests and the index.
    ///
    /// # Errors
    /// `InvalidInput` for metadata and attributes that do not fit together.
    pub(super) async fn write(
        &self,
        request: &ExportRequest,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<WrittenImage, Failure> {
        let is_map = request.parts.iter().any(|part| part.platform.is_some());
        if is_map && !metadata.contains_key("refs.platforms") {
            return Err(invalid(
                "unable to export multiple refs, missing platforms mapping",
            ));
        }
        let platforms = platforms::of_metadata(metadata)?;
        self.check_annotations(&platforms)?;
        if !is_map && platforms.len() > 1 {
            return Err(invalid(
                "cannot export multiple platforms without multi-platform enabled",
            ));
        }
        let is_index = is_map || self.needs_index(request, &platforms)?;
        let layers = self.write_layers(request, &platforms).await?;
        let mut manifests = Vec::with_capacity(platforms.len());
        let mut statements = Vec::new();
        for (platform, layers) in platforms.iter().zip(layers) {
            let inline = self.inline_cache(request, platform, &layers)?;
            let layers = match (
                self.attributes.rewrite_timestamp,
                self.epoch(platform, metadata)?,
            ) {
                (true, Some(epoch)) => {
                    let key = "containerimage.base.config";
                    let base = platforms::value(metadata, key, Some(platform));
                    self.with_times(layers, base, epoch).await?
                }
                _ => layers,
            };
            let manifest = self.write_manifest(platform, layers, metadata, inline)?;
            if let Some(said) = request.attestations.get(&platform.id).filter(|_| is_index) {
                let writer = self.statement_writer();
                let (image, layers) = (&manifest.descriptor, &manifest.layers);
                let written = writer.write(platform, image, layers, said.clone());
                statements.push(written.await?);
            }
            manifests.push(manifest);
        }
        if is_index {
            return self.write_index(manifests, statements);
        }
        let annotations = &self.attributes.annotations;
        if !(annotations.index.is_empty() && annotations.index_descriptor.is_empty()) {
            return Err(invalid(
                "index annotations not supported for single platform export",
            ));
        }
        let only = manifests.first().expect("a result has a platform");
        Ok(WrittenImage {
            root: only.descriptor.clone(),
            manifests,
            statements,
            is_index: false,
        })
    }

    /// Whether there is something to be said of a single image, which an index has room for.
    fn needs_index(
        &self,
        request: &ExportRequest,
        platforms: &[ResultPlatform],
    ) -> Result<bool, Failure> {
        let always = self.attributes.attestation_inline.unwrap_or(false);
        let said = platforms
            .iter()
            .filter_map(|platform| request.attestations.get(&platform.id));
        let needs = said.into_iter().any(|said| any_exported(said, always));
        if needs && !self.attributes.uses_oci_types() {
            return Err(invalid(
                "cannot export attestations with \"oci-mediatypes=false\"",
            ));
        }
        Ok(needs)
    }

    fn statement_writer(&self) -> StatementWriter<'_> {
        StatementWriter {
            images: self.images,
            snapshots: self.layers.snapshots(),
            events: self.events,
            names: &self.attributes.name,
            artifact: self.attributes.writes_artifacts(),
        }
    }

    fn check_annotations(&self, platforms: &[ResultPlatform]) -> Result<(), Failure> {
        let annotations = &self.attributes.annotations;
        for named in annotations.platforms() {
            if !platforms.iter().any(|it| it.id == *named) {
                let what = format!("invalid annotation: no platform {named} found in source");
                return Err(invalid(&what));
            }
        }
        if annotations.need_oci() && !self.attributes.uses_oci_types() {
            return Err(invalid(
                "cannot export annotations with \"oci-mediatypes=false\"",
            ));
        }
        Ok(())
    }

    /// The layers of each platform, made as far as they do not exist.
    async fn write_layers(
        &self,
        request: &ExportRequest,
        platforms: &[ResultPlatform],
    ) -> Result<Vec<Vec<WrittenLayer>>, Failure> {
        let mut results = Vec::with_capacity(platforms.len());
        for platform in platforms {
            let part = part_of(request, platform);
            let part =
                part.ok_or_else(|| invalid(&format!("failed to find ref for ID {}", platform.id)))?;
            results.push(part.result.clone().unwrap_or_else(ResultId::scratch));
        }
        self.one_off("exporting layers", async {
            let each = results.iter().map(|result| self.layers_of(result));
            futures::future::try_join_all(each).await
        })
        .await
    }

    fn write_manifest(
        &self,
        platform: &ResultPlatform,
        layers: Vec<WrittenLayer>,
        metadata: &BTreeMap<String, Bytes>,
        inline_cache: Option<Vec<u8>>,
    ) -> Result<WrittenManifest, Failure> {
        let value = |key| platforms::value(metadata, key, Some(platform));
        let epoch = self.epoch(platform, metadata)?;
        let facts: Vec<LayerFacts> = layers.iter().map(|layer| layer.facts.clone()).collect();
        let config = image_config::written(
            value("containerimage.config").map(|it| &it[..]),
            value("containerimage.base.config").map(|it| &it[..]),
            &facts,
            epoch,
            inline_cache.as_deref(),
        )?;
        let oci = self.attributes.uses_oci_types();
        let (manifest_type, config_type) = match oci {
            true => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG),
            false => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG),
        };
        let created = created_of(&config);
        let config_descriptor = Descriptor::of(config_type, &config);
        let descriptors = layers.iter().map(|it| it.descriptor.clone()).collect();
        let mut manifest = Manifest::new(manifest_type, config_descriptor.clone(), descriptors);
        let annotations = &self.attributes.annotations;
        manifest.annotations = annotations.of_manifest(Some(&platform.platform));
        let bytes = manifest.to_bytes().map_err(unwritten)?;
        let mut descriptor = Descriptor::of(manifest_type, &bytes);
        descriptor.annotations = annotations.of_descriptor(Some(&platform.platform));
        descriptor.platform = Some(Platform::from(platform.platform.clone()));
        self.put(&format!("exporting manifest {}", descriptor.digest), &bytes)?;
        self.put(
            &format!("exporting config {}", config_descriptor.digest),
            &config,
        )?;
        Ok(WrittenManifest {
            descriptor,
            config: config_descriptor,
            created,
            layers,
        })
    }

    /// The time after which nothing of a platform's image was made: what the client says, else the frontend.
    fn epoch(
        &self,
        platform: &ResultPlatform,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<Option<i64>, Failure> {
        platforms::epoch(self.attributes.epoch, metadata, Some(platform))
    }

    /// The records that the platform's configuration gets, when the client wants them there.
    fn inline_cache(
        &self,
        request: &ExportRequest,
        platform: &ResultPlatform,
        layers: &[WrittenLayer],
    ) -> Result<Option<Vec<u8>>, Failure> {
        let part = part_of(request, platform);
        let Some(chains) = part.and_then(|part| part.inline_cache.as_ref()) else {
            return Ok(None);
        };
        let status = "preparing layers for inline cache";
        tell(self.events, status, false);
        let records = inline_records(chains, layers, self.layers);
        tell(self.events, status, true);
        records
    }

    fn write_index(
        &self,
        manifests: Vec<WrittenManifest>,
        statements: Vec<WrittenStatements>,
    ) -> Result<WrittenImage, Failure> {
        let kind = match self.attributes.uses_oci_types() {
            true => media_type::OCI_INDEX,
            false => media_type::DOCKER_INDEX,
        };
        let images = manifests.iter().map(|it| it.descriptor.clone());
        let said = statements.iter().map(|it| it.descriptor.clone());
        let mut index = Index::new(kind, images.chain(said).collect());
        index
            .annotations
            .clone_from(&self.attributes.annotations.index);
        let bytes = index.to_bytes().map_err(unwritten)?;
        let mut root = Descriptor::of(kind, &bytes);
        root.annotations
            .clone_from(&self.attributes.annotations.index_descriptor);
        self.put(&format!("exporting manifest list {}", root.digest), &bytes)?;
        Ok(WrittenImage {
            root,
            manifests,
            statements,
            is_index: true,
        })
    }

    fn put(&self, status: &str, bytes: &[u8]) -> Result<(), Failure> {
        tell(self.events, status, false);
        let stored = self.images.content().put(bytes);
        tell(self.events, status, true);
        stored
            .map(|_| ())
            .map_err(|error| crate::images::content_failure(&error))
    }

    /// Does a part of the work that has a name.
    pub(super) async fn one_off<T>(&self, status: &str, work: impl Future<Output = T>) -> T {
        tell(self.events, status, false);
        let done = work.await;
        tell(self.events, status, true);
        done
    }
}

/// The part of a request for a platform.
fn part_of<'a>(request: &'a ExportRequest, platform: &ResultPlatform) -> Option<&'a ExportPart> {
    request.parts.iter().find(|part| match &part.platform {
        Some(id) => *id == platform.id,
        None => true,
    })
}

/// Says that a named part of the work began or is over.
pub(crate) fn tell(events: &Events, status: &str, completed: bool) {
    events.emit(OpEvent::Status(Status {
        id: status.to_owned(),
        completed,
        ..Status::default()
    }));
}

fn created_of(config: &[u8]) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    Some(config.get("created")?.as_str()?.to_owned())
}

pub(crate) fn unwritten(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("an image's document cannot be written: {error}"),
    )
}
