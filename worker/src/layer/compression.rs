use std::fmt;

/// How a layer's archive is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As it is.
    Uncompressed,
    /// gzip, the default of all image tools.
    #[default]
    Gzip,
    /// zstd, which only OCI images may have.
    Zstd,
}

impl Compression {
    /// Its name as exporter attributes spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Reads what [`Self::name`] gives.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Uncompressed, Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|it| it.name() == name)
    }

    /// The media type of such a layer in an OCI image (image-spec, media-types.md).
    #[must_use]
    pub const fn oci_media_type(self) -> &'static str {
        match self {
            Self::Uncompressed => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The media type of such a layer in a Docker image (schema 2); zstd has none of its own
    /// and is called what BuildKit calls it.
    #[must_use]
    pub const fn docker_media_type(self) -> &'static str {
        match self {
            Self::Uncompressed => "application/vnd.docker.image.rootfs.diff.tar",
            Self::Gzip => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Self::Zstd => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }

    /// What a media type says, of OCI or Docker layers, also those that are not to be
    /// distributed.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let known = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        let rest = known.iter().find_map(|it| media_type.strip_prefix(it))?;
        match rest {
            "" => Some(Self::Uncompressed),
            "+gzip" | ".gzip" => Some(Self::Gzip),
            "+zstd" | ".zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_and_names_are_read_as_they_are_written() {
        for it in [
            Compression::Uncompressed,
            Compression::Gzip,
            Compression::Zstd,
        ] {
            assert_eq!(Compression::parse(it.name()), Some(it));
            for media_type in [it.oci_media_type(), it.docker_media_type()] {
                assert_eq!(Compression::of_media_type(media_type), Some(it));
            }
        }
        let other = "application/vnd.oci.image.layer.v1.tar+xz";
        assert_eq!(Compression::of_media_type(other), None);
    }
}
