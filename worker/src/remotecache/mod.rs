//! Caches in registries and in directories of clients: reading and writing their documents and layers.
//!
//! What a document claims is taken to the engine as it is and checked there. Layers come in under digests that are
//! computed here, and stay where they are until they are needed where that is possible.

mod attributes;
mod inline;
mod layers;
mod local;
mod places;
mod read;
mod registry;
mod write;

pub(crate) use inline::inline_records;
pub use local::LocalCache;
pub(crate) use places::{InClient, Place};
pub use registry::RegistryCache;

use std::sync::Arc;

use cooper_core::ports::Sessions;

use crate::{distribution::Distribution, images::ImageStore, layer::Layers, source::ImageSource};

/// The stores that caches are made of and brought into.
#[derive(Clone)]
pub struct CacheStores {
    pub(crate) images: ImageStore,
    pub(crate) layers: Layers,
    pub(crate) source: ImageSource,
    pub(crate) distribution: Distribution,
    pub(crate) sessions: Arc<dyn Sessions>,
}

impl CacheStores {
    /// The stores of one worker.
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
        }
    }
}
