use std::sync::Arc;

use cooper_core::{
    model::{Failure, FailureKind, Material, OpEvent, Pin, ResultId, SessionId, Status},
    ports::{
        Events, ImageQuery, OpRequest, ResolvedImage, Sessions, SourceKey, SourceKeyRequest,
        StatementChain, StatementQuery,
    },
};
use cooper_proto::{Digest, ParseDigestError, oci::Descriptor, pb};

use super::{
    identifier::Wanted,
    image_fetch::{ImageFetcher, source_text},
    image_key::{chain_key, manifest_key},
    image_resolve::{Located, Origin, Resolver},
};
use crate::{
    distribution::Distribution,
    images::{ImageStore, meta_failure},
    layer::{LayerError, Layers},
    meta::{LayerBlob, LayerId, LayerOrigin},
};

/// Images as inputs of builds: `docker-image://` and `oci-layout://`.
///
/// # Model
/// A key needs the image's documents and no layer. A run only declares the layers; they are
/// fetched and unpacked when [`Layers::ensure`] or [`Layers::ensure_blob`] is called with
/// [`Self::fetcher`], which mounting and exporting do. Layers that are on this machine
/// already are unpacked at once.
#[derive(Clone)]
pub struct ImageSource {
    resolver: Resolver,
    layers: Layers,
}

impl ImageSource {
    /// The images that a worker can reach.
    #[must_use]
    pub fn new(
        images: &ImageStore,
        layers: &Layers,
        distribution: &Distribution,
        sessions: Arc<dyn Sessions>,
    ) -> Self {
        Self {
            resolver: Resolver {
                images: images.clone(),
                distribution: distribution.clone(),
                sessions,
            },
            layers: layers.clone(),
        }
    }

    /// What fetches layers in the name of a build.
    #[must_use]
    pub fn fetcher(&self, sessions: &[SessionId], events: Events) -> ImageFetcher {
        ImageFetcher {
            resolver: self.resolver.clone(),
            sessions: sessions.to_vec(),
            events,
        }
    }

    /// The key of an image: of its manifest (index 0), of its layers' content (index 1).
    ///
    /// The second is given only for layers that were unpacked and found to be what the
    /// configuration says: a key that an image could claim would let it answer for another
    /// (security.md T-A21).
    ///
    /// # Errors
    /// `NotFound` when there is no such image, `Denied` when it wants (other) credentials.
    pub async fn key(
        &self,
        request: &SourceKeyRequest,
        events: &Events,
    ) -> Result<SourceKey, Failure> {
        let _hold = self.resolver.images.gate().hold().await;
        let wanted = Wanted::of_op(&request.op)?;
        let wanted = match &request.pin {
            Some(pin) => pinned(wanted, pin)?,
            None => wanted,
        };
        let status = format!("resolve {}", wanted.reference);
        let located = if request.index == 0 {
            let located = self.resolver.locate(&wanted, &request.sessions).await;
            events.emit(OpEvent::Status(Status {
                id: status,
                completed: true,
                ..Status::default()
            }));
            located?
        } else {
            self.resolver.locate(&wanted, &request.sessions).await?
        };
        let diff_ids = limited(&located, &wanted)?.1;
        let pin = pin_of(&located);
        let by_manifest = manifest_key(
            &located.tree.root.digest,
            &wanted.platform,
            wanted.layer_limit,
        );
        let by_chain = chain_key(diff_ids);
        let (key, more) = match (request.index, by_chain) {
            (0, Some(_)) => (by_manifest, self.are_verified(diff_ids)?),
            (0, None) => (by_manifest, false),
            (_, Some(chain)) => (chain, false),
            (_, None) => (by_manifest, false),
        };
        Ok(SourceKey {
            key: key.to_string(),
            pin,
            more,
        })
    }

    /// Makes a result of an image. Fetches nothing from a registry.
    ///
    /// # Errors
    /// As [`Self::key`]; `InvalidInput` for a layer on this machine that is not what the
    /// image says.
    pub async fn run(
        &self,
        request: &OpRequest,
        events: &Events,
    ) -> Result<Vec<ResultId>, Failure> {
        let _hold = self.resolver.images.gate().hold().await;
        let wanted = Wanted::of_op(&request.op)?;
        let wanted = match &request.pin {
            Some(pin) => pinned(wanted, pin)?,
            None => wanted,
        };
        let located = self.resolver.locate(&wanted, &request.sessions).await?;
        let (descriptors, diff_ids) = limited(&located, &wanted)?;
        let source = source_text(&located.origin, wanted.layout_store());
        let mut layers = Vec::with_capacity(descriptors.len());
        for (descriptor, diff_id) in descriptors.iter().zip(diff_ids) {
            layers.push(self.declare(descriptor, diff_id, &source)?);
        }
        if layers.is_empty() {
            return Ok(vec![ResultId::scratch()]);
        }
        let description = format!("pulled from {}", located.reference);
        let result = self
            .layers
            .snapshots()
            .compose(layers.clone(), &description)
            .map_err(|error| Failure::new(FailureKind::Infrastructure, error.to_string()))?;
        let unpacked = match located.origin {
            Origin::Local => self.unpack_all(&layers, events).await,
            Origin::Registry(_) | Origin::Layout => Ok(()),
            // The client may be gone when the bytes are needed, and nobody else has them.
            Origin::ClientLayout => self.fetch_all(&layers, &request.sessions, events).await,
        };
        if let Err(failure) = unpacked {
            self.layers.snapshots().meta().pins().unpin(&result);
            return Err(failure);
        }
        Ok(vec![result])
    }

    /// An image's digest and configuration, for a frontend.
    ///
    /// # Errors
    /// As [`Self::key`].
    pub async fn resolve(
        &self,
        query: &ImageQuery,
        sessions: &[SessionId],
    ) -> Result<ResolvedImage, Failure> {
        let _hold = self.resolver.images.gate().hold().await;
        let wanted = Wanted::of_query(query)?;
        let located = self.resolver.locate(&wanted, sessions).await?;
        Ok(ResolvedImage {
            reference: query.reference.clone(),
            digest: located.tree.root.digest.clone(),
            config: located.tree.config_bytes,
        })
    }

    /// What an image's index says of the image; `None` for an image without an index.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn statements(
        &self,
        query: &StatementQuery,
        sessions: &[SessionId],
    ) -> Result<Option<StatementChain>, Failure> {
        let _hold = self.resolver.images.gate().hold().await;
        self.resolver.statements(query, sessions).await
    }

    /// Fetches and unpacks what a result lacks, so that it can be mounted, and tells of it.
    ///
    /// # Errors
    /// When a layer cannot be fetched, or is not what its image says.
    pub async fn ensure(
        &self,
        result: &ResultId,
        sessions: &[SessionId],
        events: &Events,
    ) -> Result<(), Failure> {
        let layers = self
            .layers
            .snapshots()
            .meta()
            .result(result)
            .map_err(|error| meta_failure(&error))?
            .layers;
        let mut lacking = Vec::new();
        let mut unsettled = false;
        for layer in &layers {
            let info = self.layers.snapshots().meta().layer(layer);
            let info = info.map_err(|error| meta_failure(&error))?;
            unsettled |= !info.implied.is_empty();
            if !info.unpacked {
                lacking.push(layer.clone());
            }
        }
        if lacking.is_empty() && !unsettled {
            return Ok(());
        }
        let fetcher = self.fetcher(sessions, events.clone());
        let each = lacking.iter().map(|layer| async {
            let fetched = self.layers.ensure_blob(layer, &fetcher).await;
            fetched.map_err(layer_failure)?;
            self.unpack(layer, events).await
        });
        futures::future::try_join_all(each).await?;
        self.settle(layers).await
    }

    /// Finishes what only the whole chain tells of its layers.
    async fn settle(&self, chain: Vec<LayerId>) -> Result<(), Failure> {
        let layers = self.layers.clone();
        let settled = tokio::task::spawn_blocking(move || layers.settle_implied(&chain)).await;
        match settled {
            Ok(result) => result.map_err(layer_failure),
            Err(error) => Err(Failure::new(
                FailureKind::Internal,
                format!("settling layers: {error}"),
            )),
        }
    }

    async fn fetch_all(
        &self,
        layers: &[LayerId],
        sessions: &[SessionId],
        events: &Events,
    ) -> Result<(), Failure> {
        let mut lacking = Vec::new();
        for layer in layers {
            let info = self.layers.snapshots().meta().layer(layer);
            // A layer that was made here has no blob to fetch, and needs none.
            if !info.map_err(|error| meta_failure(&error))?.unpacked {
                lacking.push(layer);
            }
        }
        let fetcher = self.fetcher(sessions, events.clone());
        let each = lacking
            .into_iter()
            .map(|layer| self.layers.ensure_blob(layer, &fetcher));
        futures::future::try_join_all(each)
            .await
            .map_err(layer_failure)?;
        Ok(())
    }

    async fn unpack_all(&self, layers: &[LayerId], events: &Events) -> Result<(), Failure> {
        let each = layers.iter().map(|layer| self.unpack(layer, events));
        futures::future::try_join_all(each).await?;
        self.settle(layers.to_vec()).await
    }

    async fn unpack(&self, layer: &LayerId, events: &Events) -> Result<(), Failure> {
        let info = self.layers.snapshots().meta().layer(layer);
        let info = info.map_err(|error| meta_failure(&error))?;
        if info.unpacked {
            return Ok(());
        }
        let status = |completed| {
            let named = info.origin.as_ref().map(|it| it.blob.digest.to_string());
            OpEvent::Status(Status {
                id: format!("extracting {}", named.unwrap_or_default()),
                completed,
                ..Status::default()
            })
        };
        events.emit(status(false));
        let (layers, id) = (self.layers.clone(), layer.clone());
        let unpacked = tokio::task::spawn_blocking(move || layers.unpack_declared(&id)).await;
        events.emit(status(true));
        match unpacked {
            Ok(result) => result.map_err(layer_failure),
            Err(error) => Err(Failure::new(
                FailureKind::Internal,
                format!("unpacking a layer: {error}"),
            )),
        }
    }

    fn declare(
        &self,
        descriptor: &Descriptor,
        diff_id: &Digest,
        source: &str,
    ) -> Result<LayerId, Failure> {
        let origin = LayerOrigin {
            blob: LayerBlob {
                media_type: descriptor.media_type.clone(),
                digest: descriptor.digest.clone(),
                size: descriptor.size,
            },
            source: source.to_owned(),
            annotations: descriptor.annotations.clone(),
            urls: descriptor.urls.clone(),
        };
        self.layers.declare(origin, diff_id).map_err(layer_failure)
    }

    /// Whether every one of these was unpacked from an archive that had this diff id.
    fn are_verified(&self, diff_ids: &[Digest]) -> Result<bool, Failure> {
        let meta = self.layers.snapshots().meta();
        for diff_id in diff_ids {
            let known = meta.layer_by_diff_id(diff_id);
            let known = known.map_err(|error| meta_failure(&error))?;
            if !known.is_some_and(|layer| layer.unpacked) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The layers that are taken and their diff ids.
fn limited<'a>(
    located: &'a Located,
    wanted: &Wanted,
) -> Result<(&'a [Descriptor], &'a [Digest]), Failure> {
    let layers = &located.tree.manifest.layers;
    let diff_ids = &located.tree.config.rootfs.diff_ids;
    match wanted.layer_limit {
        None => Ok((layers, diff_ids)),
        Some(limit) if limit <= layers.len() => Ok((&layers[..limit], &diff_ids[..limit])),
        Some(limit) => Err(Failure::new(
            FailureKind::InvalidInput,
            format!(
                "layer limit {limit} is greater than the number of layers in the image {}",
                layers.len()
            ),
        )),
    }
}

const DIGEST: &str = "digest";
const LOCAL: &str = "local";

/// What to give back to a run: the root's digest, and for an image of the local store its
/// media type and size too.
fn pin_of(located: &Located) -> Pin {
    let root = &located.tree.root;
    let mut pin = Pin([(DIGEST.to_owned(), root.digest.to_string())].into());
    if let Origin::Local = located.origin {
        let described = format!("{} {}", root.size, root.media_type);
        pin.0.insert(LOCAL.to_owned(), described);
    }
    pin
}

/// The image that the key was made of, even if its name moved since.
fn pinned(mut wanted: Wanted, pin: &Pin) -> Result<Wanted, Failure> {
    let Some(text) = pin.0.get(DIGEST) else {
        return Ok(wanted);
    };
    let damaged =
        |what: String| Failure::new(FailureKind::Internal, format!("an image's pin: {what}"));
    let digest: Digest = text
        .parse()
        .map_err(|error: ParseDigestError| damaged(error.to_string()))?;
    if let Some(described) = pin.0.get(LOCAL) {
        let (size, media_type) = described
            .split_once(' ')
            .and_then(|(size, media_type)| Some((size.parse().ok()?, media_type)))
            .ok_or_else(|| damaged(format!("{described:?} is no size and media type")))?;
        wanted.local_root = Some(Descriptor::new(media_type, digest.clone(), size));
    }
    wanted.reference = wanted.reference.with_digest(digest);
    Ok(wanted)
}

/// What an image brought into a build.
pub(crate) fn image_material(op: &pb::Op, pin: &Pin) -> Option<Material> {
    let wanted = Wanted::of_op(op).ok()?;
    Some(Material::Image {
        reference: wanted.reference.to_string(),
        local: wanted.layout.is_some(),
        platform: op.platform.clone(),
        digest: pin.0.get(DIGEST)?.parse().ok()?,
    })
}

/// An error of the layers in the words of a build.
pub(crate) fn layer_failure(error: LayerError) -> Failure {
    let kind = match &error {
        LayerError::Fetch(inner) => match inner.downcast_ref::<Failure>() {
            Some(failure) => return failure.clone(),
            None => FailureKind::Infrastructure,
        },
        LayerError::Archive(_)
        | LayerError::Entry { .. }
        | LayerError::DiffId { .. }
        | LayerError::TooLarge { .. } => FailureKind::InvalidInput,
        _ => FailureKind::Infrastructure,
    };
    Failure::new(kind, error.to_string())
}
