use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_proto::{pb, platform};
use regex::Regex;

use super::attributes::invalid;

type Map = BTreeMap<String, String>;

/// Annotations by where they go and for which platform (parity sheet C2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    /// For an index. A platform, if one was named, means nothing here.
    pub(super) index: Map,
    /// For what refers to an index.
    pub(super) index_descriptor: Map,
    manifest: BTreeMap<Option<String>, Map>,
    manifest_descriptor: BTreeMap<Option<String>, Map>,
}

/// Where an annotation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Index,
    IndexDescriptor,
    Manifest,
    ManifestDescriptor,
}

/// An annotation's key as an attribute spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnnotationKey {
    place: Place,
    platform: Option<String>,
    key: String,
}

#[expect(
    clippy::unwrap_used,
    reason = "the expression is fixed and a test compiles it"
)]
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$").unwrap()
});

/// Reads a key; `None` when it is none of an annotation.
///
/// # Errors
/// `InvalidInput` for a place or platform that does not exist.
pub(super) fn annotation(key: &str) -> Result<Option<AnnotationKey>, Failure> {
    let Some(parts) = KEY.captures(key) else {
        return Ok(None);
    };
    let place = match parts.get(1).map(|it| it.as_str()) {
        None | Some("manifest") => Place::Manifest,
        Some("manifest-descriptor") => Place::ManifestDescriptor,
        Some("index") => Place::Index,
        Some("index-descriptor") => Place::IndexDescriptor,
        Some(other) => return Err(invalid(&format!("unrecognized annotation type {other}"))),
    };
    let platform = match parts.get(2) {
        None => None,
        Some(text) => {
            let parsed = platform::parse(text.as_str(), &platform::host())
                .map_err(|error| invalid(&format!("{key}: {error}")))?;
            Some(platform::format_all(&parsed))
        }
    };
    Ok(Some(AnnotationKey {
        place,
        platform,
        key: parts[3].to_owned(),
    }))
}

impl Annotations {
    /// Adds one; a later one of the same key replaces it.
    pub(super) fn add(&mut self, key: AnnotationKey, value: &str) {
        let map = match key.place {
            Place::Index => &mut self.index,
            Place::IndexDescriptor => &mut self.index_descriptor,
            Place::Manifest => self.manifest.entry(key.platform).or_default(),
            Place::ManifestDescriptor => self.manifest_descriptor.entry(key.platform).or_default(),
        };
        map.insert(key.key, value.to_owned());
    }

    /// Adds those among the metadata of a result.
    pub(super) fn add_metadata(
        &mut self,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<(), Failure> {
        for (key, value) in metadata {
            if let Some(parsed) = annotation(key)? {
                self.add(parsed, &String::from_utf8_lossy(value));
            }
        }
        Ok(())
    }

    /// Those of a platform's manifest.
    pub(super) fn of_manifest(&self, platform: Option<&pb::Platform>) -> Map {
        merged(&self.manifest, platform)
    }

    /// Those of what refers to a platform's manifest.
    pub(super) fn of_descriptor(&self, platform: Option<&pb::Platform>) -> Map {
        merged(&self.manifest_descriptor, platform)
    }

    /// The platforms that annotations name.
    pub(super) fn platforms(&self) -> impl Iterator<Item = &String> {
        let all = self.manifest.keys().chain(self.manifest_descriptor.keys());
        all.flatten()
    }

    /// Whether there are any for what Docker's documents have no place for.
    pub(super) fn need_oci(&self) -> bool {
        !(self.index.is_empty()
            && self.index_descriptor.is_empty()
            && self.manifest_descriptor.is_empty())
    }
}

fn merged(by_platform: &BTreeMap<Option<String>, Map>, platform: Option<&pb::Platform>) -> Map {
    let mut all = by_platform.get(&None).cloned().unwrap_or_default();
    if let Some(platform) = platform {
        let own = by_platform.get(&Some(platform::format_all(platform)));
        all.extend(own.cloned().unwrap_or_default());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_place_and_platform() {
        let read = |key: &str| annotation(key).unwrap();
        assert_eq!(read("name"), None);
        let key = read("annotation.org.example.a").unwrap();
        assert_eq!(
            (key.place, key.platform.as_deref()),
            (Place::Manifest, None)
        );
        let key = read("annotation-manifest-descriptor[linux/arm64].a").unwrap();
        assert_eq!(key.place, Place::ManifestDescriptor);
        assert_eq!(key.platform.as_deref(), Some("linux/arm64"));
        assert!(annotation("annotation-x.a").is_err());
    }

    #[test]
    fn a_platforms_own_annotation_wins_over_the_common_one() {
        let mut annotations = Annotations::default();
        for (key, value) in [
            ("annotation.a", "common"),
            ("annotation.b", "common"),
            ("annotation[linux/amd64].a", "own"),
        ] {
            annotations.add(annotation(key).unwrap().unwrap(), value);
        }
        let amd64 = platform::parse("linux/amd64", &platform::host()).unwrap();
        let own = annotations.of_manifest(Some(&amd64));
        assert_eq!((own["a"].as_str(), own["b"].as_str()), ("own", "common"));
        assert_eq!(annotations.of_manifest(None)["a"], "common");
    }
}
