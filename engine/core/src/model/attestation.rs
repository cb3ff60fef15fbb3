use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_proto::Digest;

/// Key of a statement's metadata: why it was made, `provenance` or `sbom`.
pub const ATTESTATION_REASON: &str = "reason";
/// Key of a statement's metadata: `true` for one that is written only where there is an index of images anyway.
pub const ATTESTATION_INLINE_ONLY: &str = "inline-only";
/// Key of a statement's metadata: the name, up to its first dot, of the file that is about the result itself.
pub const ATTESTATION_SBOM_CORE: &str = "sbom-core";
/// Predicate type of lists of what is in an image.
pub const SPDX_PREDICATE: &str = "https://spdx.dev/Document";
/// What predicate types of provenance start with.
pub const PROVENANCE_PREDICATE: &str = "https://slsa.dev/provenance/";

/// A statement about a result, as in-toto has them; `S` says where its words are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation<S> {
    /// Whether it is one statement or a folder of them.
    pub kind: AttestationKind,
    /// What exporters are told of it, such as `reason`.
    pub metadata: BTreeMap<String, Bytes>,
    /// Where its words are.
    pub source: S,
    /// The file's path in its source; the name that it is exported under.
    pub path: String,
    /// What kind of predicate it has; of a folder, what kind all of them must have, or empty.
    pub predicate_type: String,
    /// What it is about; the result itself when empty.
    pub subjects: Vec<Subject>,
}

/// How statements are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttestationKind {
    /// A file with the predicate of one statement.
    #[default]
    InToto,
    /// A folder of whole statements, a file each.
    Bundle,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// What is exported, under its own names and, if it is not empty, under this one.
    Itself {
        /// A further name.
        name: String,
    },
    /// Something else.
    Named {
        /// Its name.
        name: String,
        /// Its digests.
        digests: Vec<Digest>,
    },
}

impl<S> Attestation<S> {
    /// The same statement with its words elsewhere.
    pub fn with_source<T>(self, source: T) -> Attestation<T> {
        Attestation {
            kind: self.kind,
            metadata: self.metadata,
            source,
            path: self.path,
            predicate_type: self.predicate_type,
            subjects: self.subjects,
        }
    }
}
