use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cooper_core::{
    model::{Attestation, Failure, FailureKind, SessionId},
    ports::{
        Cancelled, Events, ExportRequest, ExportResponse, Exporter, Sessions, StatementSource,
    },
};
use cooper_proto::{oci, reference::Reference};

use super::{
    attributes::{ImageAttributes, invalid, split_names},
    image_push::Push,
    image_writer::{Absent, ImageWriter, WrittenImage, tell, unwritten},
};
use crate::{distribution::Distribution, images::ImageStore, layer::Layers, source::ImageSource};

const OWN: &[&str] = &[
    "push",
    "push-by-digest",
    "registry.insecure",
    "unpack",
    "store",
    "dangling-name-prefix",
    // Spelled so on the wire.
    "danging-name-empty-only",
    "name-canonical",
    "unsafe-internal-store-allow-incomplete",
];

/// `type=image`: into the local store, and to registries.
#[derive(Clone)]
pub struct ImageExporter {
    pub(super) images: ImageStore,
    pub(super) layers: Layers,
    pub(super) source: ImageSource,
    pub(super) distribution: Distribution,
    pub(super) sessions: Arc<dyn Sessions>,
    stores_unasked: bool,
}

/// What the image exporter alone is told.
struct Own {
    push: bool,
    by_digest: bool,
    insecure: bool,
    unpack: bool,
    store: bool,
    canonical: bool,
    dangling_prefix: Option<String>,
    dangling_only_unnamed: bool,
}

impl ImageExporter {
    /// An exporter into these stores.
    #[must_use]
    pub fn new(
        images: &ImageStore,
        layers: &Layers,
        source: &ImageSource,
        distribution: &Distribution,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self {
            images: images.clone(),
            layers: layers.clone(),
            source: source.clone(),
            distribution: distribution.clone(),
            sessions,
            stores_unasked: true,
        }
    }

    /// The same exporter, which gives a name in the local store only when it is told `store=true`: what buildkitd does
    /// where there is no other image store beside it.
    #[must_use]
    pub fn storing_when_asked(mut self) -> Self {
        self.stores_unasked = false;
        self
    }

    async fn run(
        &self,
        request: &ExportRequest,
        events: &Events,
    ) -> Result<ExportResponse, Failure> {
        let mut attributes = ImageAttributes::read(&request.attributes, OWN)?;
        let own = Own::read(&attributes, self.stores_unasked)?;
        let metadata = super::image_archive::merged_metadata(request, &mut attributes)?;
        if let ("*", Some(name)) = (attributes.name.as_str(), metadata.get("image.name")) {
            attributes.name = String::from_utf8_lossy(name).into_owned();
        }
        // Whoever reads the image must find what was said of it.
        attributes.attestation_inline.get_or_insert(true);
        let statements = request.attestations.values().flatten();
        ensure_statements(&self.source, statements, &request.sessions, events).await?;
        let _hold = self.images.gate().hold().await;
        let stores = own.store && !attributes.name.is_empty();
        let writer = ImageWriter {
            images: &self.images,
            layers: &self.layers,
            fetcher: Arc::new(self.source.fetcher(&request.sessions, events.clone())),
            attributes: &attributes,
            absent: match stores {
                true => Absent::Fetch,
                false => Absent::Leave,
            },
            events,
        };
        let written = writer.write(request, &metadata).await?;
        let (names, canonical) = own.names(&attributes.name, &written);
        if own.store {
            for name in split_names(&names) {
                self.name(name, canonical, &written, request, events)?;
                if own.unpack {
                    self.unpack(name, request, events).await?;
                }
            }
        }
        let response = response(&written, &names)?;
        if own.push {
            for name in split_names(&names) {
                let push = Push {
                    exporter: self,
                    request,
                    events,
                    image: &written,
                    by_digest: own.by_digest,
                    insecure: own.insecure,
                };
                push.run(name).await.map_err(|mut failure| {
                    failure.message = format!("failed to push {name}: {}", failure.message);
                    failure
                })?;
            }
        }
        Ok(response)
    }

    fn name(
        &self,
        name: &str,
        canonical: bool,
        written: &WrittenImage,
        request: &ExportRequest,
        events: &Events,
    ) -> Result<(), Failure> {
        let status = format!("naming to {name}");
        tell(events, &status, false);
        let reference = parse_name(name)?;
        self.images
            .name(&reference, &written.root, request.now_ns)?;
        if canonical && reference.digest().is_none() {
            let digest = written.root.digest.clone();
            let reference = reference.with_digest(digest);
            self.images
                .name(&reference, &written.root, request.now_ns)?;
        }
        tell(events, &status, true);
        Ok(())
    }

    async fn unpack(
        &self,
        name: &str,
        request: &ExportRequest,
        events: &Events,
    ) -> Result<(), Failure> {
        let status = format!("unpacking to {name}");
        tell(events, &status, false);
        for result in request.parts.iter().filter_map(|part| part.result.as_ref()) {
            self.source
                .ensure(result, &request.sessions, events)
                .await?;
        }
        tell(events, &status, true);
        Ok(())
    }
}

impl Own {
    fn read(attributes: &ImageAttributes, stores_unasked: bool) -> Result<Self, Failure> {
        let flag = |key, default| attributes.own_flag(key, default);
        flag("unsafe-internal-store-allow-incomplete", false)?;
        Ok(Self {
            push: flag("push", false)?,
            by_digest: flag("push-by-digest", false)?,
            insecure: flag("registry.insecure", false)?,
            unpack: flag("unpack", false)?,
            store: flag("store", stores_unasked)?,
            canonical: flag("name-canonical", false)?,
            dangling_prefix: attributes.rest.get("dangling-name-prefix").cloned(),
            dangling_only_unnamed: flag("danging-name-empty-only", false)?,
        })
    }

    /// The names to give, and whether each gets one with the digest too.
    fn names(&self, given: &str, written: &WrittenImage) -> (String, bool) {
        let prefix = self.dangling_prefix.as_deref().unwrap_or_default();
        if prefix.is_empty() || (self.dangling_only_unnamed && !given.is_empty()) {
            return (given.to_owned(), self.canonical);
        }
        let dangling = format!("{prefix}@{}", written.root.digest);
        match given.is_empty() {
            true => (dangling, false),
            false => (format!("{given},{dangling}"), self.canonical),
        }
    }
}

#[async_trait]
impl Exporter for ImageExporter {
    fn kind(&self) -> &str {
        "image"
    }

    fn describe(&self, attributes: &BTreeMap<String, String>) -> Result<String, Failure> {
        let attributes = ImageAttributes::read(attributes, OWN)?;
        Own::read(&attributes, self.stores_unasked)?;
        for name in attributes.names().into_iter().filter(|name| *name != "*") {
            parse_name(name)?;
        }
        Ok("exporting to image".to_owned())
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

/// Fetches what the results with statements lack, to look into them.
pub(super) async fn ensure_statements(
    source: &ImageSource,
    statements: impl Iterator<Item = &Attestation<StatementSource>>,
    sessions: &[SessionId],
    events: &Events,
) -> Result<(), Failure> {
    for statement in statements {
        if let StatementSource::Result(Some(result)) = &statement.source {
            source.ensure(result, sessions, events).await?;
        }
    }
    Ok(())
}

pub(super) fn parse_name(name: &str) -> Result<Reference, Failure> {
    name.parse::<Reference>()
        .map(Reference::with_default_tag)
        .map_err(|error| invalid(&format!("failed to parse {name}: {error}")))
}

/// What the client is told (parity sheet C2, response keys).
pub(super) fn response(written: &WrittenImage, names: &str) -> Result<ExportResponse, Failure> {
    let mut response = ExportResponse::new();
    let digest = written.root.digest.to_string();
    response.insert("containerimage.digest".to_owned(), digest);
    if let ([only], false) = (written.manifests.as_slice(), written.is_index) {
        let digest = only.config.digest.to_string();
        response.insert("containerimage.config.digest".to_owned(), digest);
    }
    let descriptor = oci::to_json(&written.root).map_err(unwritten)?;
    response.insert(
        "containerimage.descriptor".to_owned(),
        STANDARD.encode(descriptor),
    );
    if !names.is_empty() {
        response.insert("image.name".to_owned(), names.to_owned());
    }
    Ok(response)
}
