use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{
    Digest,
    oci::{Descriptor, ImageConfig, media_type},
    reference::Reference,
};

use super::{ImageStore, content_failure, meta_failure};
use crate::{
    confine::Root,
    meta::{LayerId, MetaError},
};

/// Collection of blobs whose removal was postponed, by digest; the value is the media type.
const POSTPONED: &str = "image-postponed-1";

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The name that is gone.
    pub name: String,
    /// Blobs that nothing needs any more and that are gone.
    pub blobs: Vec<Digest>,
    /// Their bytes.
    pub bytes: u64,
    /// Unpacked layers that nothing needs any more and that are gone, by diff id.
    pub layers: Vec<Digest>,
    /// Whether blobs stay because builds are under way; the next removal takes them.
    pub postponed: bool,
}

impl ImageStore {
    /// Gives an image a further name.
    ///
    /// # Errors
    /// `NotFound` when there is no such image.
    pub fn tag(&self, name: &Reference, new: &Reference, now_ns: u64) -> Result<(), Failure> {
        let name = name.clone().with_default_tag();
        let new = new.clone().with_default_tag();
        if new.digest().is_some() {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("{new} cannot be a new name: it has a digest"),
            ));
        }
        let target = self.find(&name)?.ok_or_else(|| self.no_such_image(&name))?;
        self.name(&new, &target, now_ns)
    }

    /// Removes a name, and the blobs and layers that only it needed. Builds that are under
    /// way keep what they use: while there are any, blobs and layers stay.
    ///
    /// # Errors
    /// `NotFound` when there is no such name.
    pub fn remove(&self, name: &Reference) -> Result<Removed, Failure> {
        let name = name.clone().with_default_tag();
        let target = self.find(&name)?.ok_or_else(|| self.no_such_image(&name))?;
        // A damaged image can still be removed; then its blobs are not known.
        let mut candidates: BTreeMap<Digest, String> = self
            .reachable(&target)
            .unwrap_or_default()
            .into_iter()
            .map(|it| (it.digest, it.media_type))
            .collect();
        self.meta()
            .remove_image(&name.to_string())
            .map_err(|error| meta_failure(&error))?;
        let mut removed = Removed {
            name: name.to_string(),
            ..Removed::default()
        };
        let Some(_closed) = self.gate().try_close() else {
            removed.postponed = true;
            self.postpone(&candidates)
                .map_err(|error| meta_failure(&error))?;
            return Ok(removed);
        };
        candidates.extend(self.postponed().map_err(|error| meta_failure(&error))?);
        let needed = self.needed(candidates.keys())?;
        candidates.retain(|digest, _| !needed.contains(digest));
        self.remove_layers(&candidates, &mut removed)?;
        self.remove_blobs(&candidates, &mut removed)?;
        Ok(removed)
    }

    fn postpone(&self, candidates: &BTreeMap<Digest, String>) -> Result<(), MetaError> {
        for (digest, media_type) in candidates {
            let media_type = Some(media_type.clone().into_bytes());
            self.meta()
                .save_document(POSTPONED, digest.as_str(), media_type)?;
        }
        Ok(())
    }

    fn postponed(&self) -> Result<BTreeMap<Digest, String>, MetaError> {
        let mut found = BTreeMap::new();
        for (key, value) in self.meta().documents(POSTPONED)? {
            if let (Ok(digest), Ok(media_type)) = (key.parse(), String::from_utf8(value)) {
                found.insert(digest, media_type);
            }
            self.meta().save_document(POSTPONED, &key, None)?;
        }
        Ok(found)
    }

    /// Removes the layers that the configurations among the candidates list, where no result
    /// stands on them.
    fn remove_layers(
        &self,
        candidates: &BTreeMap<Digest, String>,
        removed: &mut Removed,
    ) -> Result<(), Failure> {
        let mut unneeded: BTreeMap<LayerId, Digest> = BTreeMap::new();
        let configs = candidates
            .iter()
            .filter(|(_, kind)| media_type::is_config(kind));
        for (digest, _) in configs {
            let cap = self.limits().manifest_bytes;
            let config = self.content().read(digest, cap).ok();
            let config = config.and_then(|bytes| ImageConfig::parse(&bytes).ok());
            for diff_id in config.map(|it| it.rootfs.diff_ids).unwrap_or_default() {
                let layer = self.meta().layer_by_diff_id(&diff_id);
                if let Some(layer) = layer.map_err(|error| meta_failure(&error))? {
                    unneeded.insert(layer.id, diff_id);
                }
            }
        }
        let ids = unneeded.keys().cloned().collect();
        // Layers that a result has stay: this looks in the same transaction.
        let gone = self.meta().remove_layers(ids);
        for id in gone.map_err(|error| meta_failure(&error))? {
            self.remove_layer_dir(&id)?;
            removed.layers.extend(unneeded.remove(&id));
        }
        removed.layers.sort();
        Ok(())
    }

    fn remove_layer_dir(&self, id: &LayerId) -> Result<(), Failure> {
        let path = self.snapshots.layer_dir(id);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let removed = Root::open(parent).and_then(|root| root.remove_all(Path::new(name)));
        match removed {
            Err(error) if !error.is_not_found() => Err(Failure::new(
                FailureKind::Infrastructure,
                format!("removing a layer: {error}"),
            )),
            _ => Ok(()),
        }
    }

    fn remove_blobs(
        &self,
        candidates: &BTreeMap<Digest, String>,
        removed: &mut Removed,
    ) -> Result<(), Failure> {
        for digest in candidates.keys() {
            let Ok(Some(size)) = self.content().size(digest) else {
                continue;
            };
            let gone = self.content().remove(digest);
            gone.map_err(|error| content_failure(&error))?;
            removed.bytes += size;
            removed.blobs.push(digest.clone());
        }
        Ok(())
    }

    /// The blobs that other names need, and those of layers that results stand on.
    fn needed<'a>(
        &self,
        candidates: impl Iterator<Item = &'a Digest> + Clone,
    ) -> Result<HashSet<Digest>, Failure> {
        let mut needed = HashSet::new();
        for entry in self.meta().images().map_err(|error| meta_failure(&error))? {
            let target = Descriptor::new(entry.media_type, entry.digest, entry.size);
            // One damaged image must not cost others their blobs: keep everything then.
            match self.reachable(&target) {
                Ok(blobs) => needed.extend(blobs.into_iter().map(|it| it.digest)),
                Err(_) => needed.extend(candidates.clone().cloned()),
            }
        }
        let used = self.layers_of_results()?;
        for layer in self.meta().layers().map_err(|error| meta_failure(&error))? {
            if !used.contains(&layer.id) {
                continue;
            }
            if let Some(origin) = layer.origin {
                needed.insert(origin.blob.digest);
            }
            let Some(diff_id) = layer.diff_id else {
                continue;
            };
            for compression in ["gzip", "zstd", "uncompressed"] {
                let blob = self.meta().layer_blob(&diff_id, compression);
                let blob = blob.map_err(|error| meta_failure(&error))?;
                needed.extend(blob.map(|it| it.digest));
            }
        }
        Ok(needed)
    }

    fn layers_of_results(&self) -> Result<HashSet<LayerId>, Failure> {
        let results = self.meta().results();
        let results = results.map_err(|error| meta_failure(&error))?;
        Ok(results.into_iter().flat_map(|it| it.layers).collect())
    }

    /// Removes blobs that were put down on the way and that nothing names.
    pub(super) fn discard(&self, digests: &[Digest]) {
        for digest in digests {
            if let Err(error) = self.content().remove(digest) {
                tracing::warn!(%digest, %error, "a blob that is not needed stays");
            }
        }
    }
}
