use std::io::Write;

use cooper_core::model::ResultId;
use cooper_proto::Digest;

use super::{
    Compression, LayerError, Layers, compress, decompress,
    pipeline::{read_and_hash, write_and_hash},
    rewrite_times, write_changes,
};
use crate::{
    confine::Root,
    content::Expected,
    meta::{LayerBlob, LayerId, LayerInfo},
};

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
    /// How hard what is made is compressed, in the compression's own numbers; its default when `None`.
    pub level: Option<i32>,
    /// What of what exists.
    pub existing: Existing,
}

/// Whether a layer was made here. An image's, packed again from its directory, would be another one.
fn is_ours(info: &LayerInfo) -> bool {
    info.unpacked && info.origin.is_none()
}

impl Layers {
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
        let below = &chain[..index];
        match self.archive_locked(layer, below, wanted) {
            // What it was to be made from went bad and is gone: from what else there is.
            Err(error) if error.is_damage() => self.archive_locked(layer, below, wanted),
            made => made,
        }
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
                let (diff_id, blob) = self.make(&info, below, wanted)?;
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
            if wanted.existing == Existing::Keep || form == compression {
                return Ok(blob);
            }
            // To read the files is faster than to unpack what was packed from them.
            if form != Compression::Uncompressed
                && is_ours(info)
                && let Ok((made, blob)) = self.make(info, below, wanted)
                && made == *diff_id
            {
                self.meta()
                    .save_layer_blob(diff_id, compression.name(), &blob, None)?;
                return Ok(blob);
            }
            return self.convert(&blob, diff_id, wanted);
        }
        if !is_ours(info) {
            return Err(LayerError::Gone(info.id.clone()));
        }
        let (made, blob) = self.make(info, below, wanted)?;
        if made != *diff_id {
            // Without its directory the layer is lost, and what made it runs again.
            self.inner.snapshots.set_aside(&info.id)?;
            return Err(LayerError::Altered(info.id.clone()));
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
        self.check_diff_id(&blob, diff_id)
            .map_err(|error| self.blame(&blob.digest, error))?;
        self.meta()
            .save_layer_blob(diff_id, compression.name(), &blob, None)?;
        Ok(Some((compression, blob)))
    }

    fn check_diff_id(&self, blob: &LayerBlob, diff_id: &Digest) -> Result<(), LayerError> {
        let reader = self.inner.content.reader(&blob.digest)?;
        let archive = decompress(reader, &self.inner.limits)?;
        let (_, found) = read_and_hash(archive, |input| {
            std::io::copy(input, &mut std::io::sink()).map_err(LayerError::Io)
        })?;
        same(diff_id, found)
    }

    /// Makes the archive of a directory: walking, hashing, compressing and writing overlap.
    fn make(
        &self,
        info: &LayerInfo,
        below: &[LayerId],
        wanted: Wanted,
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
        self.store(wanted, |output| {
            write_changes(&changes, below.as_ref(), output)
        })
    }

    /// Compresses an archive that is there in another form.
    fn convert(
        &self,
        from: &LayerBlob,
        diff_id: &Digest,
        wanted: Wanted,
    ) -> Result<LayerBlob, LayerError> {
        let convert = || {
            let reader = self.inner.content.reader(&from.digest)?;
            let mut archive = decompress(reader, &self.inner.limits)?;
            let (found, blob) = self.store(wanted, |output| {
                std::io::copy(&mut archive, output)?;
                Ok(())
            })?;
            same(diff_id, found)?;
            Ok(blob)
        };
        let blob = convert().map_err(|error| self.blame(&from.digest, error))?;
        self.meta()
            .save_layer_blob(diff_id, wanted.compression.name(), &blob, None)?;
        Ok(blob)
    }

    /// The archive of a blob in the content store with no time later than `epoch` (in seconds since 1970), and its
    /// diff id. Blocks.
    ///
    /// # Errors
    /// When the archive cannot be read as one.
    pub fn rewritten(
        &self,
        from: &LayerBlob,
        epoch: i64,
        wanted: Wanted,
    ) -> Result<(Digest, LayerBlob), LayerError> {
        let rewrite = || {
            let reader = self.inner.content.reader(&from.digest)?;
            let mut archive = decompress(reader, &self.inner.limits)?;
            self.store(wanted, |output| {
                Ok(rewrite_times(&mut archive, output, epoch)?)
            })
        };
        rewrite().map_err(|error| self.blame(&from.digest, error))
    }

    fn store(
        &self,
        wanted: Wanted,
        write: impl FnOnce(&mut dyn Write) -> Result<(), LayerError>,
    ) -> Result<(Digest, LayerBlob), LayerError> {
        let ingest = self.inner.content.ingest(Expected::default())?;
        let mut diff_id = None;
        let mut failure = None;
        let (compression, level) = (wanted.compression, wanted.level);
        let ingest = compress(ingest, compression, level, |output| {
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

fn same(diff_id: &Digest, found: Digest) -> Result<(), LayerError> {
    match found == *diff_id {
        true => Ok(()),
        false => Err(LayerError::DiffId {
            expected: diff_id.clone(),
            found,
        }),
    }
}
