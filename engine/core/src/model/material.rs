use cooper_proto::{Digest, pb};

/// What a source brought into a build, in the state that the build saw it in. Without names and passwords of addresses.
#[derive(Debug, Clone, PartialEq)]
pub enum Material {
    /// An image.
    Image {
        /// Its full reference.
        reference: String,
        /// The platform that was chosen.
        platform: Option<pb::Platform>,
        /// What the reference led to.
        digest: Digest,
        /// Whether it came from a layout of the client.
        local: bool,
    },
    /// A single blob of a repository of images.
    ImageBlob {
        /// Its full reference.
        reference: String,
        /// Its digest.
        digest: Digest,
        /// Whether it came from a layout of the client.
        local: bool,
    },
    /// A repository.
    Git {
        /// Its address, `#` and the reference when one was named.
        url: String,
        /// What the reference led to.
        commit: String,
        /// The bundle that its objects were read from instead.
        bundle: Option<GitBundle>,
        /// Names of the secrets that could be used to read it.
        secrets: Vec<String>,
        /// Id of the agent that could be used to read it.
        ssh: Option<String>,
    },
    /// A file by URL.
    Http {
        /// Its address.
        url: String,
        /// Digest of its bytes.
        digest: Digest,
    },
    /// A folder of the client.
    Local {
        /// Its name.
        name: String,
    },
}

/// A bundle of a repository, as a blob of a repository of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitBundle {
    /// Its reference, without the digest.
    pub reference: String,
    /// Its digest.
    pub digest: Digest,
    /// Whether it came from a layout of the client.
    pub local: bool,
}
