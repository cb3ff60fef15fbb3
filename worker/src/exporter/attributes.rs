use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};

use super::annotations::{Annotations, annotation};
use crate::layer::Compression;

/// What all image exporters are told (parity sheet C2, common image attributes).
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageAttributes {
    /// The image's names as given, separated by commas.
    pub(super) name: String,
    pub(super) oci_types: Option<bool>,
    pub(super) compression: Compression,
    pub(super) compression_level: Option<i32>,
    pub(super) force_compression: bool,
    /// Give layers no times after the epoch.
    pub(super) rewrite_timestamp: bool,
    /// Keep the media types of layers that are not to be distributed.
    pub(super) prefer_nondistributable: bool,
    /// `Some(None)` is an epoch that was emptied on purpose.
    pub(super) epoch: Option<Option<i64>>,
    pub(super) annotations: Annotations,
    /// Whether manifests of statements say themselves what they are and of which image.
    pub(super) artifact: Option<bool>,
    /// Whether statements that want to be in an index only where there is one anyway make one.
    pub(super) attestation_inline: Option<bool>,
    /// Attributes that belong to one exporter alone.
    pub(super) rest: BTreeMap<String, String>,
    /// Attributes that nobody here knows: metadata of the result, which they replace.
    pub(super) metadata: BTreeMap<String, Bytes>,
}

impl ImageAttributes {
    /// Reads attributes; `own` names those of the one exporter.
    ///
    /// # Errors
    /// `InvalidInput` for an attribute that has no value that it can have, `Unsupported` for what later issues bring.
    pub(crate) fn read(
        attributes: &BTreeMap<String, String>,
        own: &[&str],
    ) -> Result<Self, Failure> {
        let mut read = Self::default();
        for (key, value) in attributes {
            if own.contains(&key.as_str()) {
                read.rest.insert(key.clone(), value.clone());
            } else if let Some(parsed) = annotation(key)? {
                read.annotations.add(parsed, value);
            } else {
                read.one(key, value)?;
            }
        }
        read.check()?;
        Ok(read)
    }

    fn one(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match key {
            "name" => value.clone_into(&mut self.name),
            "oci-mediatypes" => self.oci_types = Some(flag(key, value)?),
            "prefer-nondist-layers" => self.prefer_nondistributable = flag(key, value)?,
            "force-compression" => self.force_compression = flag_or_true(key, value)?,
            "source-date-epoch" => self.epoch = Some(seconds(key, value)?),
            "compression" if value == "estargz" => {
                return Err(Failure::unsupported(
                    "exporter option \"compression=estargz\"",
                ));
            }
            "compression" => {
                self.compression = Compression::parse(value)
                    .ok_or_else(|| invalid(&format!("unsupported compression type {value}")))?;
            }
            "compression-level" => {
                let level = value.parse::<i64>().map_err(|_| {
                    invalid(&format!("non-integer value {value} specified for {key}"))
                })?;
                self.compression_level = Some(i32::try_from(level).unwrap_or(i32::MAX));
            }
            "rewrite-timestamp" => self.rewrite_timestamp = flag_or_true(key, value)?,
            "oci-artifact" => self.artifact = Some(flag(key, value)?),
            "attestation-inline" => self.attestation_inline = Some(flag(key, value)?),
            key => {
                let value = Bytes::copy_from_slice(value.as_bytes());
                self.metadata.insert(key.to_owned(), value);
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        // As BuildKit, a level that the compression does not have is the nearest that it has.
        let levels = match self.compression {
            Compression::Zstd => 1..=22,
            Compression::Gzip | Compression::Uncompressed => 0..=9,
        };
        let level = self.compression_level;
        self.compression_level = level.map(|level| level.clamp(*levels.start(), *levels.end()));
        if self.artifact == Some(true) && self.oci_types == Some(false) {
            return Err(invalid(
                "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"",
            ));
        }
        Ok(())
    }

    /// Whether manifests of statements say themselves what they are: they do unless told otherwise, or where they
    /// cannot.
    pub(super) fn writes_artifacts(&self) -> bool {
        self.artifact.unwrap_or(true) && self.uses_oci_types()
    }

    /// Whether documents and layers get the media types of OCI.
    pub(super) fn uses_oci_types(&self) -> bool {
        self.oci_types.unwrap_or(true)
    }

    /// A flag of the one exporter; a key without a value is true.
    pub(super) fn own_flag(&self, key: &str, default: bool) -> Result<bool, Failure> {
        self.rest
            .get(key)
            .map_or(Ok(default), |value| flag_or_true(key, value))
    }

    /// The names, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        split_names(&self.name)
    }
}

/// Names that are separated by commas.
pub(super) fn split_names(names: &str) -> Vec<&str> {
    names.split(',').filter(|name| !name.is_empty()).collect()
}

fn flag_or_true(key: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "" => Ok(true),
        value => flag(key, value),
    }
}

/// What Go's `strconv.ParseBool` reads.
pub(crate) fn flag(key: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(invalid(&format!(
            "non-bool value specified for {key}: {value:?}"
        ))),
    }
}

/// Seconds since 1970; nothing for an empty text.
pub(super) fn seconds(key: &str, value: &str) -> Result<Option<i64>, Failure> {
    if value.is_empty() {
        return Ok(None);
    }
    value
        .parse()
        .map(Some)
        .map_err(|_| invalid(&format!("invalid {key}: {value:?} is no number of seconds")))
}

pub(crate) fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ImageAttributes, Failure> {
        let attributes = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ImageAttributes::read(&attributes, &["push"])
    }

    #[test]
    fn attributes_mean_what_they_say() {
        let read = read(&[
            ("name", "a,b:1"),
            ("compression", "zstd"),
            ("force-compression", ""),
            ("source-date-epoch", "7"),
            ("push", ""),
            ("annotation-index.a", "1"),
            ("containerimage.config/linux/amd64", "{}"),
            ("compression-level", "30"),
            ("something.of.mine", "x"),
        ])
        .unwrap();
        assert_eq!(read.names(), ["a", "b:1"]);
        assert_eq!(read.compression, Compression::Zstd);
        assert!(read.force_compression && read.uses_oci_types());
        assert_eq!(read.epoch, Some(Some(7)));
        assert!(read.own_flag("push", false).unwrap());
        assert!(!read.own_flag("store", false).unwrap());
        assert_eq!(read.compression_level, Some(22));
        assert_eq!(read.metadata["something.of.mine"], "x");
        assert_eq!(read.metadata.len(), 2);
    }

    #[test]
    fn attributes_that_cannot_be_done_are_named() {
        for (key, value) in [
            ("compression", "estargz"),
            ("compression", "lz4"),
            ("compression-level", "high"),
            ("rewrite-timestamp", "maybe"),
            ("oci-mediatypes", "maybe"),
            ("source-date-epoch", "context"),
            ("annotation-manifset.a", "1"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().message;
            let word = key
                .split('.')
                .next()
                .unwrap()
                .trim_start_matches("annotation-");
            assert!(error.contains(word), "{error}");
        }
    }
}
