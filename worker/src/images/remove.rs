use std::collections::HashSet;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{Digest, oci::Descriptor, reference::Reference};

use super::{ImageStore, content_failure, meta_failure};

/// What a removal did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The name that is gone.
    pub name: String,
    /// Blobs that nothing needs any more and that are gone.
    pub blobs: Vec<Digest>,
    /// Their bytes.
    pub bytes: u64,
    /// Whether blobs stay because builds are under way; a later removal takes them.
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

    /// Removes a name, and the blobs that only it needed. Builds that are under way keep
    /// what they use: while there are any, blobs stay.
    ///
    /// # Errors
    /// `NotFound` when there is no such name.
    pub fn remove(&self, name: &Reference) -> Result<Removed, Failure> {
        let name = name.clone().with_default_tag();
        let target = self.find(&name)?.ok_or_else(|| self.no_such_image(&name))?;
        // A damaged image can still be removed; then its blobs are not known.
        let before = self.reachable(&target).unwrap_or_default();
        self.meta()
            .remove_image(&name.to_string())
            .map_err(|error| meta_failure(&error))?;
        let mut removed = Removed {
            name: name.to_string(),
            ..Removed::default()
        };
        let Some(_closed) = self.gate().try_close() else {
            removed.postponed = true;
            return Ok(removed);
        };
        let needed = self.needed(&before)?;
        for descriptor in before {
            let digest = descriptor.digest;
            let size = self.content().size(&digest);
            let Ok(Some(size)) = size else { continue };
            if needed.contains(&digest) {
                continue;
            }
            let gone = self.content().remove(&digest);
            gone.map_err(|error| content_failure(&error))?;
            removed.bytes += size;
            removed.blobs.push(digest);
        }
        removed.blobs.sort();
        Ok(removed)
    }

    /// The blobs that other names need, and those of layers that results stand on.
    fn needed(&self, candidates: &[Descriptor]) -> Result<HashSet<Digest>, Failure> {
        let mut needed = HashSet::new();
        for entry in self.meta().images().map_err(|error| meta_failure(&error))? {
            let target = Descriptor::new(entry.media_type, entry.digest, entry.size);
            // One damaged image must not cost others their blobs: keep everything then.
            match self.reachable(&target) {
                Ok(blobs) => needed.extend(blobs.into_iter().map(|it| it.digest)),
                Err(_) => needed.extend(candidates.iter().map(|it| it.digest.clone())),
            }
        }
        let used = self.layers_of_results()?;
        for layer in self.meta().layers().map_err(|error| meta_failure(&error))? {
            if !used.contains(layer.id.as_str()) {
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

    fn layers_of_results(&self) -> Result<HashSet<String>, Failure> {
        let results = self
            .meta()
            .results()
            .map_err(|error| meta_failure(&error))?;
        Ok(results
            .into_iter()
            .flat_map(|result| result.layers)
            .map(|layer| layer.as_str().to_owned())
            .collect())
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
