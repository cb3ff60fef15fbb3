//! Caches in registries, in directories of clients and in stores of objects: reading and writing their documents and layers.
//!
//! What a document claims is taken to the engine as it is and checked there. Layers come in under digests that are
//! computed here, and stay where they are until they are needed where that is possible.

mod attributes;
mod inline;
mod layers;
mod local;
mod manifests;
mod objects;
mod places;
mod read;
mod registry;
mod write;

pub(crate) use inline::inline_records;
pub use local::LocalCache;
pub use objects::ObjectCache;
pub(crate) use places::{InClient, Place};
pub use registry::RegistryCache;

use std::{collections::BTreeMap, sync::Arc};

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
    environment: Arc<BTreeMap<String, String>>,
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
            environment: Arc::default(),
        }
    }

    /// The same with variables that stand behind attributes which clients leave out.
    #[must_use]
    pub fn with_environment(self, variables: BTreeMap<String, String>) -> Self {
        let environment = Arc::new(variables);
        Self {
            environment,
            ..self
        }
    }
}
