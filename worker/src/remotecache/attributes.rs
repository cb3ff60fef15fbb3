use std::collections::BTreeMap;

use cooper_core::model::Failure;

use crate::exporter::{ImageAttributes, flag, invalid};

/// What all caches that are written as documents are told (parity sheet C3).
#[derive(Clone, Debug)]
pub(super) struct CacheAttributes {
    /// Whether documents have OCI's media types.
    pub(super) oci: bool,
    /// Whether the cache looks like an image and not like an index.
    pub(super) image_manifest: bool,
    /// How layers are stored.
    pub(super) layers: ImageAttributes,
}

const OF_LAYERS: &[&str] = &["compression", "compression-level", "force-compression"];

impl CacheAttributes {
    /// Reads attributes; those of other parties are passed over, as BuildKit does.
    ///
    /// # Errors
    /// `InvalidInput` for a value that cannot be.
    pub(super) fn read(attributes: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let layers = Self::layers(attributes)?;
        let oci = boolean(attributes, "oci-mediatypes")?.unwrap_or(true);
        let image_manifest = boolean(attributes, "image-manifest")?.unwrap_or(oci);
        if image_manifest && !oci {
            return Err(invalid(
                "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format",
            ));
        }
        Ok(Self {
            oci,
            image_manifest,
            layers,
        })
    }

    /// Reads how layers are stored.
    ///
    /// # Errors
    /// `InvalidInput` for a value that cannot be.
    pub(super) fn layers(
        attributes: &BTreeMap<String, String>,
    ) -> Result<ImageAttributes, Failure> {
        let of_layers = attributes.iter();
        let of_layers = of_layers.filter(|(key, _)| OF_LAYERS.contains(&key.as_str()));
        let of_layers = of_layers.map(|(key, value)| (key.clone(), value.clone()));
        ImageAttributes::read(&of_layers.collect(), &[])
    }
}

/// A flag that may be left out.
pub(super) fn boolean(
    attributes: &BTreeMap<String, String>,
    key: &str,
) -> Result<Option<bool>, Failure> {
    let value = attributes.get(key);
    value
        .map(|value| {
            flag(key, value)
                .map_err(|failure| invalid(&format!("failed to parse {key}: {}", failure.message)))
        })
        .transpose()
}
