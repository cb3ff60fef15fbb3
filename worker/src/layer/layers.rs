use std::{io::Write, path::Path, sync::Arc};

use async_trait::async_trait;
use cooper_core::model::ResultId;
use cooper_proto::Digest;
use parking_lot::Mutex;

use super::{
    Applied, Compression, LayerError, apply, compress, decompress,
    keyed::Keyed,
    pipeline::{read_and_hash, write_and_hash},
    write_changes,
};
use crate::{
    clock::now_ns,
    confine::Root,
    content::{ContentStore, Expected, VerifiedBlob},
    limits::Limits,
    meta::{LayerBlob, LayerForm, LayerId, LayerInfo, LayerOrigin, Meta},
    snapshot::Snapshots,
};

/// The layers of one state folder, as directories and as archives. Clones are the same.
#[derive(Clone, Debug)]
pub struct Layers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    content: ContentStore,
    snapshots: Snapshots,
    limits: Limits,
    /// Who works on a layer holds its lock, so that nothing is made twice.
    locks: Keyed<Mutex<()>>,
    /// The same for fetching, which waits.
    fetches: Keyed<tokio::sync::Mutex<()>>,
    /// Held while a layer is declared, so that one diff id has one layer.
    declaring: Mutex<()>,
}

/// A layer as an image lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerArchive {
    /// Which layer it is.
    pub layer: LayerId,
    /// The digest of the archive before compression.
    pub diff_id: Digest,
    /// What is stored.
    pub blob: LayerBlob,
    /// What made it, for people.
    pub description: String,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
}

/// What a caller wants of layers that are stored already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Takes them as they are, in whatever compression: nothing is made twice, and a base
    /// image's layers stay the registry's. What exporters do by default.
    #[default]
    Keep,
    /// Converts what is stored otherwise (`force-compression`).
    Convert,
}

/// How layers are to be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The compression of what is made.
    pub compression: Compression,
    /// What of what exists.
    pub existing: Existing,
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

    fn meta(&self) -> &Meta {
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
    /// refused. Then nothing was kept.
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
        let (this, id) = (self.clone(), layer.clone());
        tokio::task::spawn_blocking(move || this.unpack_declared(&id))
            .await
            .map_err(|error| LayerError::Io(std::io::Error::other(error)))?
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
                Ok(found) => Err(LayerError::Content(crate::content::ContentError::Digest {
                    expected: origin.blob.digest,
                    received: found.digest().clone(),
                })),
                Err(error) => Err(LayerError::Fetch(error)),
            }
        }
    }

    /// The archives of a result's layers, the bottom one first. What does not exist is made,
    /// several at a time, and remembered. Blocks. The blobs of layers of images must have been
    /// fetched ([`Self::ensure_blob`]).
    ///
    /// # Errors
    /// When a layer cannot be read, or its bytes are nowhere.
    pub fn archives(
        &self,
        result: &ResultId,
        wanted: Wanted,
    ) -> Result<Vec<LayerArchive>, LayerError> {
        let chain = self.meta().result(result)?.layers;
        let mut archives = Vec::with_capacity(chain.len());
        // Compressing uses all cores already; two layers at a time hide what else there is to
        // wait for.
        for pair in (0..chain.len()).collect::<Vec<_>>().chunks(2) {
            let made = std::thread::scope(|scope| {
                let running: Vec<_> = pair
                    .iter()
                    .map(|index| scope.spawn(|| self.archive(&chain, *index, wanted)))
                    .collect();
                running
                    .into_iter()
                    .map(|it| {
                        it.join().unwrap_or_else(|_| {
                            Err(std::io::Error::other("making a layer panicked").into())
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()
            })?;
            archives.extend(made);
        }
        Ok(archives)
    }

    /// The archive of the layer at a position of a chain. Blocks.
    ///
    /// # Errors
    /// As [`Self::archives`].
    pub fn archive(
        &self,
        chain: &[LayerId],
        index: usize,
        wanted: Wanted,
    ) -> Result<LayerArchive, LayerError> {
        let layer = &chain[index];
        let lock = self.inner.locks.of(layer);
        let _one_at_a_time = lock.lock();
        self.archive_locked(layer, &chain[..index], wanted)
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
                    ..info
                };
                Ok(self.inner.snapshots.adopt_layer(&work, info)?)
            });
        if unpacked.is_err() {
            remove_dir(&work)?;
            return unpacked;
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

    fn archive_locked(
        &self,
        layer: &LayerId,
        below: &[LayerId],
        wanted: Wanted,
    ) -> Result<LayerArchive, LayerError> {
        let info = self.meta().layer(layer)?;
        let (diff_id, blob) = match &info.diff_id {
            Some(diff_id) => (
                diff_id.clone(),
                self.archive_again(&info, diff_id, below, wanted)?,
            ),
            None => {
                let (diff_id, blob) = self.make(&info, below, wanted.compression)?;
                let name = wanted.compression.name();
                self.meta()
                    .save_layer_blob(&diff_id, name, &blob, Some(layer))?;
                (diff_id, blob)
            }
        };
        Ok(LayerArchive {
            layer: layer.clone(),
            diff_id,
            blob,
            description: info.description,
            created_ns: info.created_ns,
        })
    }

    /// The archive of a layer that had one before.
    fn archive_again(
        &self,
        info: &LayerInfo,
        diff_id: &Digest,
        below: &[LayerId],
        wanted: Wanted,
    ) -> Result<LayerBlob, LayerError> {
        let compression = wanted.compression;
        if let Some(blob) = self.kept(diff_id, compression)? {
            return Ok(blob);
        }
        if let Some((form, blob)) = self.any_kept(info, diff_id)? {
            return if wanted.existing == Existing::Keep || form == compression {
                Ok(blob)
            } else {
                self.convert(&blob, diff_id, compression)
            };
        }
        if !info.unpacked || info.origin.is_some() {
            // An image's layer, packed again from its directory, would be another one.
            return Err(LayerError::Gone(info.id.clone()));
        }
        let (made, blob) = self.make(info, below, compression)?;
        if made != *diff_id {
            return Err(LayerError::DiffId {
                expected: diff_id.clone(),
                found: made,
            });
        }
        self.meta()
            .save_layer_blob(diff_id, compression.name(), &blob, None)?;
        Ok(blob)
    }

    /// The archive in this compression, if the content store has it.
    fn kept(
        &self,
        diff_id: &Digest,
        compression: Compression,
    ) -> Result<Option<LayerBlob>, LayerError> {
        let blob = self.meta().layer_blob(diff_id, compression.name())?;
        Ok(blob.filter(|it| self.inner.content.contains(&it.digest)))
    }

    /// The archive in whatever compression the content store has it, its diff id verified.
    fn any_kept(
        &self,
        info: &LayerInfo,
        diff_id: &Digest,
    ) -> Result<Option<(Compression, LayerBlob)>, LayerError> {
        for compression in [
            Compression::Gzip,
            Compression::Zstd,
            Compression::Uncompressed,
        ] {
            if let Some(blob) = self.kept(diff_id, compression)? {
                return Ok(Some((compression, blob)));
            }
        }
        let Some(blob) = info.origin.as_ref().map(|it| it.blob.clone()) else {
            return Ok(None);
        };
        let Some(compression) = Compression::of_media_type(&blob.media_type) else {
            return Ok(None);
        };
        if !self.inner.content.contains(&blob.digest) {
            return Ok(None);
        }
        // Fetched and never unpacked: nobody has looked yet whether the image tells the truth.
        let reader = self.inner.content.reader(&blob.digest)?;
        let archive = decompress(reader, &self.inner.limits)?;
        let (_, found) = read_and_hash(archive, |input| {
            std::io::copy(input, &mut std::io::sink()).map_err(LayerError::Io)
        })?;
        if found != *diff_id {
            return Err(LayerError::DiffId {
                expected: diff_id.clone(),
                found,
            });
        }
        self.meta()
            .save_layer_blob(diff_id, compression.name(), &blob, None)?;
        Ok(Some((compression, blob)))
    }

    /// Makes the archive of a directory: walking, hashing, compressing and writing overlap.
    fn make(
        &self,
        info: &LayerInfo,
        below: &[LayerId],
        compression: Compression,
    ) -> Result<(Digest, LayerBlob), LayerError> {
        let snapshots = &self.inner.snapshots;
        let changes = Root::open(&snapshots.layer_dir(&info.id))?;
        // A layer says what it changes of the state that it was made on, wherever it lies now.
        let made_on = info
            .parent
            .clone()
            .filter(|it| self.meta().result(it).is_ok());
        let view = match made_on {
            Some(parent) if parent.is_scratch() => None,
            Some(parent) => Some(snapshots.view(&parent)?),
            None if below.is_empty() => None,
            None => {
                let here = snapshots.compose(below.to_vec(), "")?;
                let view = snapshots.view(&here);
                // The view pins it from now on.
                self.meta().pins().unpin(&here);
                Some(view?)
            }
        };
        let below = view.as_ref().map(|it| it.root()).transpose()?;
        self.store(compression, |output| {
            write_changes(&changes, below.as_ref(), output)
        })
    }

    /// Compresses an archive that is there in another form.
    fn convert(
        &self,
        from: &LayerBlob,
        diff_id: &Digest,
        compression: Compression,
    ) -> Result<LayerBlob, LayerError> {
        let reader = self.inner.content.reader(&from.digest)?;
        let mut archive = decompress(reader, &self.inner.limits)?;
        let (found, blob) = self.store(compression, |output| {
            std::io::copy(&mut archive, output)?;
            Ok(())
        })?;
        if found != *diff_id {
            return Err(LayerError::DiffId {
                expected: diff_id.clone(),
                found,
            });
        }
        self.meta()
            .save_layer_blob(diff_id, compression.name(), &blob, None)?;
        Ok(blob)
    }

    fn store(
        &self,
        compression: Compression,
        write: impl FnOnce(&mut dyn Write) -> Result<(), LayerError>,
    ) -> Result<(Digest, LayerBlob), LayerError> {
        let ingest = self.inner.content.ingest(Expected::default())?;
        let mut diff_id = None;
        let mut failure = None;
        let ingest = compress(ingest, compression, |output| {
            match write_and_hash(output, write) {
                Ok(((), digest)) => {
                    diff_id = Some(digest);
                    Ok(())
                }
                Err(error) => {
                    failure = Some(error);
                    Err(std::io::ErrorKind::Other.into())
                }
            }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let blob = ingest?.commit()?;
        let blob = LayerBlob {
            media_type: compression.oci_media_type().to_owned(),
            digest: blob.digest().clone(),
            size: blob.size(),
        };
        Ok((diff_id.expect("it is set where there is no failure"), blob))
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
