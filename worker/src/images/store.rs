use cooper_core::model::Failure;
use cooper_proto::{oci::Descriptor, reference::Reference};

use super::{Gate, content_failure, meta_failure};
use crate::{
    content::ContentStore,
    limits::Limits,
    meta::{ImageEntry, Meta},
    snapshot::Snapshots,
};

/// The images that have names on this machine. Clones are the same store.
#[derive(Clone)]
pub struct ImageStore {
    content: ContentStore,
    pub(super) snapshots: Snapshots,
    limits: Limits,
    gate: Gate,
}

impl ImageStore {
    /// The images of a state folder.
    #[must_use]
    pub fn new(content: &ContentStore, snapshots: &Snapshots, limits: &Limits) -> Self {
        Self {
            content: content.clone(),
            snapshots: snapshots.clone(),
            limits: limits.clone(),
            gate: Gate::default(),
        }
    }

    /// What keeps removal away while blobs are put down.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The content store that has the images' blobs.
    #[must_use]
    pub fn content(&self) -> &ContentStore {
        &self.content
    }

    /// The caps on what is read.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn meta(&self) -> &Meta {
        self.snapshots.meta()
    }

    /// What a name points to, `None` when there is no such name.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub fn find(&self, name: &Reference) -> Result<Option<Descriptor>, Failure> {
        let found = self
            .meta()
            .image(&name.to_string())
            .map_err(|error| meta_failure(&error))?;
        Ok(found.map(|entry| Descriptor::new(entry.media_type, entry.digest, entry.size)))
    }

    /// Points a name at a manifest or index of the content store.
    ///
    /// # Errors
    /// When the content store does not have it or the metadata store fails.
    pub fn name(&self, name: &Reference, target: &Descriptor, now_ns: u64) -> Result<(), Failure> {
        if !self.content.contains(&target.digest) {
            let missing = crate::content::ContentError::Missing(target.digest.clone());
            return Err(content_failure(&missing));
        }
        self.meta()
            .save_image(ImageEntry {
                name: name.to_string(),
                media_type: target.media_type.clone(),
                digest: target.digest.clone(),
                size: target.size,
                created_ns: now_ns,
                updated_ns: now_ns,
            })
            .map_err(|error| meta_failure(&error))
    }
}
