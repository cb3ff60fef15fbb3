use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::{
    model::{Failure, FailureKind},
    ports::{
        Cancelled, ChunkSink, Events, ExportRequest, ExportResponse, ExportTarget,
        ExportTargetRequest, Exporter, Sessions,
    },
};
use cooper_proto::{
    oci::{self, Descriptor, Index, media_type},
    reference::Reference,
};

use super::{
    archive::{Content, send},
    attributes::{ImageAttributes, invalid, split_names},
    image::{ensure_statements, parse_name, response},
    image_history::{epoch_text, time_text},
    image_writer::{Absent, ImageWriter, WrittenImage, WrittenManifest, tell, unwritten},
};
use crate::{
    images::{IMAGE_NAME, ImageStore, REF_NAME, blame},
    layer::Layers,
    remotecache::{InClient, Place},
    source::ImageSource,
};

const OWN: &[&str] = &["tar"];
/// How a refusal of gRPC says that what is sent is there already.
const EXISTS: &str = "code = AlreadyExists";
/// The client's content store that takes an image that is no archive (parity sheet D).
const STORE: &str = "export";
const CREATED: &str = "org.opencontainers.image.created";

/// Which archive is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `type=oci`: an OCI image layout.
    Oci,
    /// `type=docker`: one that `docker load` takes too. One platform only.
    Docker,
}

/// `type=oci` and `type=docker`: an archive for the client.
#[derive(Clone)]
pub struct ArchiveExporter {
    variant: Variant,
    images: ImageStore,
    layers: Layers,
    source: ImageSource,
    sessions: Arc<dyn Sessions>,
}

impl ArchiveExporter {
    /// An exporter out of these stores.
    #[must_use]
    pub fn new(
        variant: Variant,
        images: &ImageStore,
        layers: &Layers,
        source: &ImageSource,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self {
            variant,
            images: images.clone(),
            layers: layers.clone(),
            source: source.clone(),
            sessions,
        }
    }

    fn read(&self, attributes: &BTreeMap<String, String>) -> Result<ImageAttributes, Failure> {
        let attributes = ImageAttributes::read(attributes, OWN)?;
        attributes.own_flag("tar", true)?;
        Ok(attributes)
    }

    async fn run(
        &self,
        request: &ExportRequest,
        events: &Events,
    ) -> Result<ExportResponse, Failure> {
        let mut attributes = self.read(&request.attributes)?;
        if self.variant == Variant::Docker && request.parts.iter().any(|it| it.platform.is_some()) {
            return Err(invalid(
                "docker exporter does not currently support exporting manifest lists",
            ));
        }
        let metadata = merged_metadata(request, &mut attributes)?;
        if let ("*", Some(name)) = (attributes.name.as_str(), metadata.get("image.name")) {
            attributes.name = String::from_utf8_lossy(name).into_owned();
        }
        let statements = request.attestations.values().flatten();
        ensure_statements(&self.source, statements, &request.sessions, events).await?;
        let _hold = self.images.gate().hold().await;
        let writer = ImageWriter {
            images: &self.images,
            layers: &self.layers,
            fetcher: Arc::new(self.source.fetcher(&request.sessions, events.clone())),
            attributes: &attributes,
            absent: Absent::Fetch,
            events,
        };
        let mut written = writer.write(request, &metadata).await?;
        let created = created(&written, &attributes, request.now_ns);
        let annotations = &mut written.root.annotations;
        annotations.entry(CREATED.to_owned()).or_insert(created);
        let names = split_names(&attributes.name)
            .into_iter()
            .map(parse_name)
            .collect::<Result<Vec<Reference>, _>>()?;
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        let response = response(&written, &shown.join(","))?;
        if !attributes.own_flag("tar", true)? {
            self.put_into_store(request, &written, events).await?;
            return Ok(response);
        }
        let sink = self.target(request, &response).await?;
        let files = self.files(&written, &names)?;
        match send(self.images.content(), files, sink, events).await {
            // A client that has the archive says so and takes no more of it.
            Err(failure) if failure.message.contains(EXISTS) => Ok(response),
            sent => sent.map(|()| response),
        }
    }

    async fn target(
        &self,
        request: &ExportRequest,
        response: &ExportResponse,
    ) -> Result<Box<dyn ChunkSink>, Failure> {
        let mut last = Failure::new(
            FailureKind::Infrastructure,
            "no session takes the archive; is the client gone?",
        );
        for id in &request.sessions {
            let wanted = ExportTargetRequest {
                exporter: request.index,
                directory: false,
                metadata: response.clone(),
            };
            let opened = match self.sessions.session(id).await {
                Ok(session) => session.export_target(wanted).await,
                Err(gone) => Err(gone),
            };
            match opened {
                Ok(ExportTarget::Stream(sink)) => return Ok(sink),
                Ok(_) => return Err(invalid("an archive cannot be written into a directory")),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Puts the image's blobs into a content store of the client, what refers to others after those.
    async fn put_into_store(
        &self,
        request: &ExportRequest,
        written: &WrittenImage,
        events: &Events,
    ) -> Result<(), Failure> {
        let mut opened = Err(invalid("no session takes the image; is the client gone?"));
        for id in &request.sessions {
            opened = match self.sessions.session(id).await {
                Ok(session) => session.content(STORE).await,
                Err(gone) => Err(gone),
            };
            if opened.is_ok() {
                break;
            }
        }
        let place = InClient { content: opened? };
        let mut blobs: Vec<&Descriptor> = Vec::new();
        for manifest in &written.manifests {
            blobs.extend(manifest.layers.iter().map(|layer| &layer.descriptor));
            blobs.push(&manifest.config);
            blobs.push(&manifest.descriptor);
        }
        for said in &written.statements {
            blobs.extend(&said.statements);
            blobs.push(&said.config);
            blobs.push(&said.descriptor);
        }
        blobs.push(&written.root);
        blobs.dedup();
        for blob in blobs {
            let status = format!("copying {}", blob.digest);
            tell(events, &status, false);
            let content = self.images.content();
            if let Err(refused) = place.put(content, blob).await {
                return Err(blame(content, &blob.digest, refused).await);
            }
            tell(events, &status, true);
        }
        Ok(())
    }

    fn files(
        &self,
        written: &WrittenImage,
        names: &[Reference],
    ) -> Result<Vec<(String, Content)>, Failure> {
        let mut files = vec![
            ("blobs/".to_owned(), Content::Directory),
            (
                "oci-layout".to_owned(),
                Content::Bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ),
            (
                "index.json".to_owned(),
                Content::Bytes(index(&written.root, names)?),
            ),
        ];
        if let (Variant::Docker, [manifest]) = (self.variant, written.manifests.as_slice()) {
            let listed = docker_manifest(manifest, names)?;
            files.push(("manifest.json".to_owned(), Content::Bytes(listed)));
        }
        let mut blobs: Vec<&Descriptor> = vec![&written.root];
        for manifest in &written.manifests {
            blobs.push(&manifest.descriptor);
            blobs.push(&manifest.config);
            blobs.extend(manifest.layers.iter().map(|layer| &layer.descriptor));
        }
        for said in &written.statements {
            blobs.push(&said.descriptor);
            blobs.push(&said.config);
            blobs.extend(&said.statements);
        }
        let mut algorithms = BTreeSet::new();
        for blob in blobs {
            algorithms.insert(blob.digest.algorithm().name());
            let content = Content::Blob {
                digest: blob.digest.clone(),
                size: blob.size,
            };
            files.push((blob_path(blob), content));
        }
        for algorithm in algorithms {
            files.push((format!("blobs/{algorithm}/"), Content::Directory));
        }
        Ok(files)
    }
}

#[async_trait]
impl Exporter for ArchiveExporter {
    fn kind(&self) -> &str {
        match self.variant {
            Variant::Oci => "oci",
            Variant::Docker => "docker",
        }
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        let attributes = self.read(attributes)?;
        for name in attributes.names().into_iter().filter(|name| *name != "*") {
            parse_name(name)?;
        }
        Ok(format!("exporting to {} image format", self.kind()))
    }

    async fn export(
        &self,
        request: ExportRequest,
        events: Events,
        cancelled: Cancelled,
    ) -> Result<ExportResponse, Failure> {
        tokio::select! {
            response = self.run(&request, &events) => response,
            () = cancelled => Err(Failure::new(FailureKind::Cancelled, "the export was cancelled")),
        }
    }
}

/// The result's metadata with what attributes say of it, and its annotations among the
/// attributes.
pub(super) fn merged_metadata(
    request: &ExportRequest,
    attributes: &mut ImageAttributes,
) -> Result<BTreeMap<String, Bytes>, Failure> {
    let mut metadata = request.metadata.clone();
    metadata.extend(std::mem::take(&mut attributes.metadata));
    attributes.annotations.add_metadata(&metadata)?;
    Ok(metadata)
}

fn blob_path(blob: &Descriptor) -> String {
    format!("blobs/{}/{}", blob.digest.algorithm(), blob.digest.hex())
}

/// When the archive's image was made: the epoch, else what its configuration says, so that
/// the same image gives the same archive.
fn created(written: &WrittenImage, attributes: &ImageAttributes, now_ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    if let Some(Some(epoch)) = attributes.epoch {
        return epoch_text(epoch);
    }
    let said = written.manifests.iter().find_map(|it| it.created.as_ref());
    let said = said.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    match said {
        Some(time) => epoch_text(time.as_second()),
        None => time_text(now_ns / SECOND * SECOND),
    }
}

/// `index.json`: one entry a name.
fn index(root: &Descriptor, names: &[Reference]) -> Result<Vec<u8>, Failure> {
    let mut entries: Vec<Descriptor> = names
        .iter()
        .map(|name| {
            let mut entry = root.clone();
            let short = match (name.tag(), name.digest()) {
                (Some(tag), _) => tag.to_owned(),
                (None, Some(digest)) => digest.to_string(),
                (None, None) => name.to_string(),
            };
            entry
                .annotations
                .insert(IMAGE_NAME.to_owned(), name.to_string());
            entry.annotations.insert(REF_NAME.to_owned(), short);
            entry
        })
        .collect();
    if entries.is_empty() {
        entries.push(root.clone());
    }
    let index = Index::new(media_type::OCI_INDEX, entries);
    oci::to_json(&index).map_err(unwritten)
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// `manifest.json`, which `docker load` reads.
fn docker_manifest(manifest: &WrittenManifest, names: &[Reference]) -> Result<Vec<u8>, Failure> {
    let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
    let listed = DockerManifest {
        config: blob_path(&manifest.config),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: manifest
            .layers
            .iter()
            .map(|layer| blob_path(&layer.descriptor))
            .collect(),
    };
    oci::to_json(&[listed]).map_err(unwritten)
}
