use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use cooper_core::model::ResultId;
use cooper_proto::Digest;
use parking_lot::Mutex;

use super::{
    Applied, Compression, LayerError, apply, decompress, keyed::Keyed, pipeline::read_and_hash,
};
use crate::{
    clock::now_ns,
    confine::Root,
    content::{ContentError, ContentStore, VerifiedBlob},
    limits::Limits,
    meta::{LayerBlob, LayerForm, LayerId, LayerInfo, LayerOrigin, Meta},
    snapshot::Snapshots,
};

/// The layers of one state folder, as directories and as archives. Clones are the same.
#[derive(Clone, Debug)]
pub struct Layers {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) content: ContentStore,
    pub(super) snapshots: Snapshots,
    pub(super) limits: Limits,
    /// Who works on a layer holds its lock, so that nothing is made twice.
    pub(super) locks: Keyed<Mutex<()>>,
    /// The same for fetching, which waits.
    fetches: Keyed<tokio::sync::Mutex<()>>,
    /// Held while a layer is declared, so that one diff id has one layer.
    declaring: Mutex<()>,
}

/// Brings blobs of layers from where they are into the content store.
#[async_trait]
pub trait FetchLayer: Send + Sync {
    /// Fetches the blob of a layer, verified.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the user.
    ///
    /// # Cancel
    /// Dropped, it leaves nothing half-made.
    async fn fetch(
        &self,
        origin: &LayerOrigin,
    ) -> Result<VerifiedBlob, Box<dyn std::error::Error + Send + Sync>>;
}

impl Layers {
    /// The layers of a state folder, whose parts are these.
    #[must_use]
    pub fn new(content: ContentStore, snapshots: Snapshots, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                content,
                snapshots,
                limits,
                locks: Keyed::default(),
                fetches: Keyed::default(),
                declaring: Mutex::default(),
            }),
        }
    }

    /// The content store that has the archives.
    #[must_use]
    pub fn content(&self) -> &ContentStore {
        &self.inner.content
    }

    /// The states that have the directories.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.inner.snapshots
    }

    pub(super) fn meta(&self) -> &Meta {
        self.inner.snapshots.meta()
    }

    /// Keeps a layer of an image of which nothing was fetched yet, or finds the one that has
    /// this diff id. What the image says of the diff id is checked when it is unpacked; until
    /// then no other image is served by it, unless that says the same of the same blob.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub fn declare(&self, origin: LayerOrigin, diff_id: &Digest) -> Result<LayerId, LayerError> {
        self.declare_made(origin, diff_id, "", None)
    }

    /// As [`Self::declare`], for a layer of which is known what made it and when, in nanoseconds since 1970.
    ///
    /// # Errors
    /// As [`Self::declare`].
    pub fn declare_made(
        &self,
        origin: LayerOrigin,
        diff_id: &Digest,
        description: &str,
        created_ns: Option<u64>,
    ) -> Result<LayerId, LayerError> {
        let _one_at_a_time = self.inner.declaring.lock();
        if let Some(known) = self.meta().layer_by_diff_id(diff_id)? {
            let same_blob = known
                .origin
                .as_ref()
                .is_some_and(|it| it.blob.digest == origin.blob.digest);
            if known.unpacked {
                return Ok(known.id);
            }
            if same_blob {
                // Where it was to be had last is the best place to look.
                self.meta().save_layer_origin(&known.id, origin)?;
                return Ok(known.id);
            }
        }
        let info = LayerInfo {
            unpacked: false,
            diff_id: Some(diff_id.clone()),
            origin: Some(origin),
            ..LayerInfo::new(
                LayerId::random(),
                description,
                0,
                created_ns.unwrap_or_else(now_ns),
            )
        };
        let id = info.id.clone();
        self.meta().save_layer(info)?;
        Ok(id)
    }

    /// Unpacks a layer's blob, which is in the content store, unless it is unpacked already.
    /// Blocks. Who asks for the same layer meanwhile waits and shares.
    ///
    /// # Errors
    /// [`LayerError::DiffId`] when the blob is not what the image says; or when the archive is
    /// refused, or the blob is damaged. Then nothing was kept.
    pub fn unpack_declared(&self, layer: &LayerId) -> Result<(), LayerError> {
        let lock = self.inner.locks.of(layer);
        let _one_at_a_time = lock.lock();
        self.unpack_locked(layer)
    }

    /// Declares and unpacks in one step.
    ///
    /// # Errors
    /// As [`Self::declare`] and [`Self::unpack_declared`].
    pub fn unpack(&self, blob: &LayerBlob, diff_id: &Digest) -> Result<LayerId, LayerError> {
        let origin = LayerOrigin {
            blob: blob.clone(),
            source: String::new(),
            annotations: std::collections::BTreeMap::new(),
            urls: Vec::new(),
        };
        let layer = self.declare(origin, diff_id)?;
        self.unpack_declared(&layer)?;
        Ok(layer)
    }

    /// Fetches and unpacks what a result still lacks, so that it can be mounted.
    ///
    /// # Errors
    /// When a layer cannot be fetched or unpacked.
    ///
    /// # Cancel
    /// Layers that were begun are finished or leave nothing.
    pub async fn ensure(
        &self,
        result: &ResultId,
        fetcher: &dyn FetchLayer,
    ) -> Result<(), LayerError> {
        let layers = self.meta().result(result)?.layers;
        let each = layers.iter().map(|layer| self.ensure_layer(layer, fetcher));
        futures::future::try_join_all(each).await?;
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.settle_implied(&layers))
            .await
            .map_err(|error| LayerError::Io(std::io::Error::other(error)))??;
        Ok(())
    }

    async fn ensure_layer(
        &self,
        layer: &LayerId,
        fetcher: &dyn FetchLayer,
    ) -> Result<(), LayerError> {
        if self.meta().layer(layer)?.unpacked {
            return Ok(());
        }
        self.ensure_blob(layer, fetcher).await?;
        match self.unpack_beside(layer).await {
            // It went bad here and is gone; where it came from it may be whole.
            Err(error) if error.is_damage() => {
                self.ensure_blob(layer, fetcher).await?;
                self.unpack_beside(layer).await
            }
            unpacked => unpacked,
        }
    }

    async fn unpack_beside(&self, layer: &LayerId) -> Result<(), LayerError> {
        let (this, id) = (self.clone(), layer.clone());
        tokio::task::spawn_blocking(move || this.unpack_declared(&id))
            .await
            .map_err(|error| LayerError::Io(std::io::Error::other(error)))?
    }

    /// Why a blob could not be read as an archive: if it is not what it was, then for that. In that case it is in
    /// quarantine, and who asks for it next makes or fetches it anew.
    pub(super) fn blame(&self, blob: &Digest, error: LayerError) -> LayerError {
        match self.inner.content.verify(blob) {
            Err(damaged @ ContentError::Damaged { .. }) => damaged.into(),
            Ok(_) | Err(_) => error,
        }
    }

    /// Fetches the blob of a layer of an image, unless the content store has it.
    ///
    /// # Errors
    /// When the layer has no origin or cannot be fetched.
    ///
    /// # Cancel
    /// As [`FetchLayer::fetch`].
    pub async fn ensure_blob(
        &self,
        layer: &LayerId,
        fetcher: &dyn FetchLayer,
    ) -> Result<LayerBlob, LayerError> {
        let info = self.meta().layer(layer)?;
        let origin = info.origin.ok_or_else(|| LayerError::Gone(layer.clone()))?;
        if self.inner.content.contains(&origin.blob.digest) {
            return Ok(origin.blob);
        }
        let lock = self.inner.fetches.of(layer);
        let _one_at_a_time = lock.lock().await;
        if self.inner.content.contains(&origin.blob.digest) {
            Ok(origin.blob)
        } else {
            match fetcher.fetch(&origin).await {
                Ok(found) if *found.digest() == origin.blob.digest => Ok(origin.blob),
                Ok(found) => Err(LayerError::Content(ContentError::Digest {
                    expected: origin.blob.digest,
                    received: found.digest().clone(),
                })),
                Err(error) => Err(LayerError::Fetch(error)),
            }
        }
    }

    /// The diff ids of a result's layers that are known without making their archives.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub fn known_diff_ids(&self, result: &ResultId) -> Result<Vec<Option<Digest>>, LayerError> {
        let chain = self.meta().result(result)?.layers;
        chain
            .iter()
            .map(|layer| Ok(self.meta().layer(layer)?.diff_id))
            .collect()
    }

    fn unpack_locked(&self, layer: &LayerId) -> Result<(), LayerError> {
        let info = self.meta().layer(layer)?;
        if info.unpacked {
            return Ok(());
        }
        let gone = || LayerError::Gone(layer.clone());
        let origin = info.origin.clone().ok_or_else(gone)?;
        let diff_id = info.diff_id.clone().ok_or_else(gone)?;
        let work = self.inner.snapshots.new_layer_dir(layer)?;
        let unpacked = self
            .unpack_into(&work, &origin.blob, &diff_id)
            .and_then(|applied| {
                let info = LayerInfo {
                    unpacked: true,
                    size: applied.bytes,
                    form: if applied.is_opaque {
                        LayerForm::Opaque
                    } else {
                        LayerForm::Plain
                    },
                    implied: applied
                        .implied
                        .iter()
                        .filter_map(|path| path.to_str().map(ToOwned::to_owned))
                        .collect(),
                    ..info
                };
                Ok(self.inner.snapshots.adopt_layer(&work, info)?)
            });
        if let Err(error) = unpacked {
            remove_dir(&work)?;
            return Err(self.blame(&origin.blob.digest, error));
        }
        if let Some(compression) = Compression::of_media_type(&origin.blob.media_type) {
            let name = compression.name();
            self.meta()
                .save_layer_blob(&diff_id, name, &origin.blob, None)?;
        }
        Ok(())
    }

    fn unpack_into(
        &self,
        work: &Path,
        blob: &LayerBlob,
        diff_id: &Digest,
    ) -> Result<Applied, LayerError> {
        use std::os::unix::fs::PermissionsExt;
        // What the root directory of every image looks like.
        std::fs::set_permissions(work, std::fs::Permissions::from_mode(0o755))?;
        let limits = &self.inner.limits;
        let archive = decompress(self.inner.content.reader(&blob.digest)?, limits)?;
        let root = Root::open(work)?;
        let (applied, found) = read_and_hash(archive, |input| apply(input, &root, limits))?;
        if found != *diff_id {
            return Err(LayerError::DiffId {
                expected: diff_id.clone(),
                found,
            });
        }
        Ok(applied)
    }
}

fn remove_dir(path: &Path) -> Result<(), LayerError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    match Root::open(parent)?.remove_all(Path::new(name)) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
