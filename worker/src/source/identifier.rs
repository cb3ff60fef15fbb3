use std::collections::BTreeMap;

use cooper_core::{
    model::{Failure, FailureKind, SessionId},
    ports::{ImageQuery, ResolveMode},
};
use cooper_proto::{Digest, oci::Descriptor, pb, platform, reference::Reference};

/// The scheme of images in registries and in the local store.
pub(super) const DOCKER_IMAGE: &str = "docker-image";
/// The scheme of images in an OCI layout of the client.
pub(super) const OCI_LAYOUT: &str = "oci-layout";

/// An image that a source op or a frontend wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) reference: Reference,
    pub(super) platform: pb::Platform,
    pub(super) mode: ResolveMode,
    /// What the reference must resolve to.
    pub(super) checksum: Option<Digest>,
    /// How many layers are taken, the bottom one first.
    pub(super) layer_limit: Option<usize>,
    /// The client's store, for a layout.
    pub(super) layout: Option<String>,
    /// The session that has the store.
    pub(super) layout_session: Option<SessionId>,
    /// The manifest or index of the local store that the reference led to before.
    pub(super) local_root: Option<Descriptor>,
}

impl Wanted {
    /// Reads a source op (parity sheet B3).
    ///
    /// # Errors
    /// `InvalidInput` for a reference or attribute that cannot be read, `Unsupported` for
    /// attributes that are not known.
    pub(super) fn of_op(op: &pb::Op) -> Result<Self, Failure> {
        let Some(pb::op::Op::Source(source)) = &op.op else {
            return Err(invalid("the op is no source"));
        };
        let (scheme, rest) = source
            .identifier
            .split_once("://")
            .ok_or_else(|| invalid(&format!("{:?} is no source", source.identifier)))?;
        let reference = parse_reference(rest)?;
        let platform = op.platform.clone().unwrap_or_else(platform::host);
        let mut wanted = Self {
            reference,
            platform,
            mode: ResolveMode::Default,
            checksum: None,
            layer_limit: None,
            layout: None,
            layout_session: None,
            local_root: None,
        };
        match scheme {
            DOCKER_IMAGE => wanted.read_image(&source.attrs)?,
            OCI_LAYOUT => wanted.read_layout(&source.attrs)?,
            other => return Err(Failure::unsupported(format!("source scheme {other:?}"))),
        }
        Ok(wanted)
    }

    /// Reads a frontend's question.
    ///
    /// # Errors
    /// `InvalidInput` for a reference that cannot be read.
    pub(super) fn of_query(query: &ImageQuery) -> Result<Self, Failure> {
        Ok(Self {
            reference: parse_reference(&query.reference)?,
            platform: query.platform.clone().unwrap_or_else(platform::host),
            mode: query.mode,
            checksum: None,
            layer_limit: None,
            layout: query.oci_layout_store.clone(),
            layout_session: None,
            local_root: None,
        })
    }

    /// The client's store that has the image's layout; `None` for an image that is in none. Without a name of its own
    /// it is called as the image.
    pub(super) fn layout_store(&self) -> Option<&str> {
        match self.layout.as_deref() {
            Some("") => Some(self.reference.path()),
            store => store,
        }
    }

    fn read_image(&mut self, attributes: &BTreeMap<String, String>) -> Result<(), Failure> {
        for (key, value) in attributes {
            match key.as_str() {
                "image.resolvemode" => self.mode = resolve_mode(value)?,
                // What kind of disk usage the image is counted as; changes no byte.
                "image.recordtype" => {}
                "image.layerlimit" => self.layer_limit = Some(layer_limit(value)?),
                "image.checksum" => {
                    let read = value.parse();
                    let digest =
                        read.map_err(|error| invalid(&format!("image checksum: {error}")))?;
                    self.checksum = Some(digest);
                }
                other if is_foreign(other) => {}
                other => return Err(unknown_attribute(other)),
            }
        }
        Ok(())
    }

    fn read_layout(&mut self, attributes: &BTreeMap<String, String>) -> Result<(), Failure> {
        // The store's name is the reference's path when nothing else is said.
        self.layout = Some(String::new());
        for (key, value) in attributes {
            match key.as_str() {
                // Which session has the store; the build's own are asked next.
                "oci.session" if value.is_empty() => {}
                "oci.session" => self.layout_session = Some(SessionId(value.clone())),
                "oci.store" => self.layout = Some(value.clone()),
                "oci.layerlimit" => self.layer_limit = Some(layer_limit(value)?),
                other if is_foreign(other) => {}
                other => return Err(unknown_attribute(other)),
            }
        }
        if self.reference.digest().is_none() {
            return Err(invalid(&format!(
                "oci-layout reference {} must have a digest",
                self.reference
            )));
        }
        Ok(())
    }
}

/// Reads a reference; one without tag and digest gets the tag `latest`.
pub(super) fn parse_reference(text: &str) -> Result<Reference, Failure> {
    text.parse::<Reference>()
        .map(Reference::with_default_tag)
        .map_err(|error| invalid(&error.to_string()))
}

fn resolve_mode(text: &str) -> Result<ResolveMode, Failure> {
    match text {
        "" | "default" => Ok(ResolveMode::Default),
        "pull" => Ok(ResolveMode::ForcePull),
        "local" => Ok(ResolveMode::PreferLocal),
        other => Err(invalid(&format!(
            "invalid resolvemode {other:?}; it is default, pull or local"
        ))),
    }
}

fn layer_limit(text: &str) -> Result<usize, Failure> {
    match text.parse::<usize>() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err(invalid(&format!("invalid layer limit {text:?}"))),
    }
}

/// Whether an attribute is of nobody's kind: not half-understood, but a remark of who made the source, such as a client
/// that decides about sources. BuildKit passes over those too.
fn is_foreign(key: &str) -> bool {
    !["image.", "oci."].iter().any(|ours| key.starts_with(ours))
}

fn unknown_attribute(key: &str) -> Failure {
    Failure::unsupported(format!("source attribute {key:?}"))
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(identifier: &str, attributes: &[(&str, &str)]) -> pb::Op {
        pb::Op {
            op: Some(pb::op::Op::Source(pb::SourceOp {
                identifier: identifier.into(),
                attrs: attributes
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            })),
            ..pb::Op::default()
        }
    }

    #[test]
    fn attributes_are_read_and_unknown_ones_refused() {
        let digest = Digest::sha256_of("x");
        let wanted = Wanted::of_op(&op(
            "docker-image://busybox",
            &[
                ("image.resolvemode", "pull"),
                ("image.layerlimit", "2"),
                ("image.checksum", digest.as_str()),
                ("image.recordtype", "internal"),
            ],
        ))
        .unwrap();
        assert_eq!(
            wanted.reference.to_string(),
            "docker.io/library/busybox:latest"
        );
        assert_eq!(wanted.mode, ResolveMode::ForcePull);
        assert_eq!(wanted.layer_limit, Some(2));
        assert_eq!(wanted.checksum, Some(digest.clone()));
        for (key, value) in [
            ("image.resolvemode", "always"),
            ("image.layerlimit", "0"),
            ("image.layerlimit", "-1"),
            ("image.checksum", "sha256:../../x"),
            ("image.new", "1"),
        ] {
            assert!(Wanted::of_op(&op("docker-image://a", &[(key, value)])).is_err());
        }
        assert!(Wanted::of_op(&op("docker-image://a", &[("remark", "1")])).is_ok());
        let layout = format!("oci-layout://store@{digest}");
        let wanted = Wanted::of_op(&op(&layout, &[("oci.store", "s")])).unwrap();
        assert_eq!(wanted.layout.as_deref(), Some("s"));
        assert!(Wanted::of_op(&op("oci-layout://store:tag", &[])).is_err());
        assert!(Wanted::of_op(&op("docker-image+blob://a@b", &[])).is_err());
    }

    // T-C5
    #[test]
    fn references_with_digests_that_are_none_are_refused() {
        for digest in [
            "sha256:../../x",
            "sha256:abc",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert!(
                parse_reference(&format!("busybox@{digest}")).is_err(),
                "{digest}"
            );
        }
    }
}
