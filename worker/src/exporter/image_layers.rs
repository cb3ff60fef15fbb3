//! The layers of an image: made as far as they do not exist, and as the image lists them.

use std::sync::Arc;

use bytes::Bytes;
use cooper_core::model::{Failure, ResultId};
use cooper_proto::{
    Digest,
    oci::{Descriptor, media_type},
};

use super::{
    image_config,
    image_history::{LayerFacts, epoch_text},
    image_writer::{Absent, ImageWriter},
};
use crate::{
    images::meta_failure,
    layer::{Compression, Existing, LayerError, Wanted},
    meta::{LayerBlob, LayerId, LayerOrigin},
    source::layer_failure,
};

/// Annotation of a layer that has no times after an epoch.
const REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// A layer of a manifest.
#[derive(Clone)]
pub(crate) struct WrittenLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) facts: LayerFacts,
    pub(crate) layer: LayerId,
    /// Where it comes from, for one of another image.
    pub(crate) origin: Option<LayerOrigin>,
}

impl ImageWriter<'_> {
    /// The layers of a result, made as far as they do not exist.
    ///
    /// # Errors
    /// When a layer cannot be read, or its bytes are nowhere.
    pub(crate) async fn layers_of(&self, result: &ResultId) -> Result<Vec<WrittenLayer>, Failure> {
        let meta = self.layers.snapshots().meta();
        let chain = meta.result(result).map_err(|error| meta_failure(&error))?;
        let chain = Arc::new(chain.layers);
        let each = (0..chain.len()).map(|index| self.layer(&chain, index));
        futures::future::try_join_all(each).await
    }

    async fn layer(
        &self,
        chain: &Arc<Vec<LayerId>>,
        index: usize,
    ) -> Result<WrittenLayer, Failure> {
        let meta = self.layers.snapshots().meta();
        let id = &chain[index];
        let info = meta.layer(id).map_err(|error| meta_failure(&error))?;
        let facts = |diff_id: Digest| LayerFacts {
            diff_id,
            description: info.description.clone(),
            created_ns: info.created_ns,
        };
        if let (Some(origin), Some(diff_id)) = (&info.origin, &info.diff_id)
            && !self.images.content().contains(&origin.blob.digest)
        {
            if self.absent == Absent::Leave && !self.attributes.force_compression {
                return Ok(WrittenLayer {
                    descriptor: self.descriptor(&origin.blob, Some(origin)),
                    facts: facts(diff_id.clone()),
                    layer: id.clone(),
                    origin: Some(origin.clone()),
                });
            }
            self.layers
                .ensure_blob(id, &*self.fetcher)
                .await
                .map_err(layer_failure)?;
        }
        let wanted = self.wanted();
        let (layers, chain) = (self.layers.clone(), Arc::clone(chain));
        let made = tokio::task::spawn_blocking(move || layers.archive(&chain, index, wanted));
        let made = made
            .await
            .unwrap_or_else(|error| Err(LayerError::Io(std::io::Error::other(error))));
        let archive = made.map_err(layer_failure)?;
        Ok(WrittenLayer {
            descriptor: self.descriptor(&archive.blob, info.origin.as_ref()),
            facts: facts(archive.diff_id),
            layer: id.clone(),
            origin: info
                .origin
                .filter(|it| it.blob.digest == archive.blob.digest),
        })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            compression: self.attributes.compression,
            level: self.attributes.compression_level,
            existing: match self.attributes.force_compression {
                true => Existing::Convert,
                false => Existing::Keep,
            },
        }
    }

    /// The layers with no time after the epoch, but for those that the base image has.
    pub(super) async fn with_times(
        &self,
        layers: Vec<WrittenLayer>,
        base: Option<&Bytes>,
        epoch: i64,
    ) -> Result<Vec<WrittenLayer>, Failure> {
        let status = format!(
            "rewriting layers with source-date-epoch {epoch} ({})",
            epoch_text(epoch)
        );
        let base = image_config::diff_ids(base.map(|it| &it[..]));
        let same = |(layer, known): &(&WrittenLayer, &Digest)| layer.facts.diff_id == **known;
        let kept = layers.iter().zip(&base).take_while(same).count();
        self.one_off(&status, async {
            let each = layers
                .into_iter()
                .enumerate()
                .map(|(index, layer)| async move {
                    match index < kept {
                        true => Ok(layer),
                        false => self.rewritten(layer, epoch).await,
                    }
                });
            futures::future::try_join_all(each).await
        })
        .await
    }

    async fn rewritten(&self, layer: WrittenLayer, epoch: i64) -> Result<WrittenLayer, Failure> {
        let from = LayerBlob {
            media_type: layer.descriptor.media_type.clone(),
            digest: layer.descriptor.digest.clone(),
            size: layer.descriptor.size,
        };
        if !self.images.content().contains(&from.digest) {
            let fetched = self.layers.ensure_blob(&layer.layer, &*self.fetcher).await;
            fetched.map_err(layer_failure)?;
        }
        let wanted = Wanted {
            compression: Compression::of_media_type(&from.media_type).unwrap_or_default(),
            ..self.wanted()
        };
        let layers = self.layers.clone();
        let made =
            tokio::task::spawn_blocking(move || layers.rewritten(&from, epoch, wanted)).await;
        let made = made.unwrap_or_else(|error| Err(LayerError::Io(std::io::Error::other(error))));
        let (diff_id, blob) = made.map_err(layer_failure)?;
        let mut descriptor = self.descriptor(&blob, None);
        let annotations = &mut descriptor.annotations;
        annotations.insert(REWRITTEN.to_owned(), epoch.to_string());
        Ok(WrittenLayer {
            descriptor,
            facts: LayerFacts {
                diff_id,
                ..layer.facts
            },
            layer: layer.layer,
            origin: None,
        })
    }

    /// A layer's descriptor as this image lists it.
    fn descriptor(&self, blob: &LayerBlob, origin: Option<&LayerOrigin>) -> Descriptor {
        let oci = self.attributes.uses_oci_types();
        let kind = layer_type(
            &blob.media_type,
            oci,
            self.attributes.prefer_nondistributable,
        );
        let mut descriptor = Descriptor::new(kind, blob.digest.clone(), blob.size);
        if let Some(origin) = origin
            && media_type::is_nondistributable_layer(&descriptor.media_type)
        {
            descriptor.urls.clone_from(&origin.urls);
        }
        if let Some(origin) = origin.filter(|_| oci) {
            descriptor.annotations = origin
                .annotations
                .iter()
                .filter(|(key, _)| !is_internal(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
        }
        descriptor
    }
}

/// Annotations that are about our store and not about the layer.
fn is_internal(key: &str) -> bool {
    key == "containerd.io/uncompressed"
        || key == "buildkit/createdat"
        || key.starts_with("containerd.io/distribution.source.")
}

/// The media type of a layer in the other family.
pub(crate) fn family(known: &str, oci: bool) -> String {
    layer_type(known, oci, true)
}

/// The media type that an image of one family has for a layer of any.
fn layer_type(known: &str, oci: bool, keep_nondistributable: bool) -> String {
    let Some(compression) = Compression::of_media_type(known) else {
        return known.to_owned();
    };
    if keep_nondistributable && media_type::is_nondistributable_layer(known) {
        let foreign = match (oci, compression) {
            (true, Compression::Uncompressed) => media_type::OCI_LAYER_NONDISTRIBUTABLE,
            (true, Compression::Gzip) => media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP,
            (true, Compression::Zstd) => media_type::OCI_LAYER_NONDISTRIBUTABLE_ZSTD,
            (false, Compression::Uncompressed) => media_type::DOCKER_LAYER_FOREIGN,
            (false, Compression::Gzip) => media_type::DOCKER_LAYER_FOREIGN_GZIP,
            (false, Compression::Zstd) => known,
        };
        return foreign.to_owned();
    }
    match oci {
        true => compression.oci_media_type().to_owned(),
        false => compression.docker_media_type().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_change_family_and_become_distributable() {
        let oci = media_type::OCI_LAYER_GZIP;
        let docker = media_type::DOCKER_LAYER_GZIP;
        let foreign = media_type::DOCKER_LAYER_FOREIGN_GZIP;
        assert_eq!(layer_type(docker, true, false), oci);
        assert_eq!(layer_type(oci, false, false), docker);
        assert_eq!(layer_type(foreign, true, false), oci);
        let kept = media_type::OCI_LAYER_NONDISTRIBUTABLE_GZIP;
        assert_eq!(layer_type(foreign, true, true), kept);
        assert_eq!(layer_type("application/x", true, true), "application/x");
    }
}
