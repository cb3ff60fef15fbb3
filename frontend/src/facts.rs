//! What a conversion must know from outside, and what it was told.

use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_core::ports::{ImageAnswer, ImageQuery, SourceMeta, SourceQuery};
use cooper_proto::{Digest, pb};
use prost::Message;

/// A question of a conversion.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// The content of a file of a result.
    File {
        /// What makes the result.
        definition: pb::Definition,
        /// The path in it.
        path: String,
        /// How many bytes at most are wanted.
        limit: Option<u64>,
        /// Whether a result that does not exist is one without the file: a folder that no client offers has none, and
        /// whoever uses it will hear so.
        lenient: bool,
    },
    /// An image's digest and configuration.
    Image(ImageQuery),
    /// What a file by URL or a repository's reference is now.
    Source(SourceQuery),
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A file's content; `None` if there is no such file.
    File(Option<Bytes>),
    /// An image, or why it could not be resolved: the conversion says where it is asked for.
    Image(Result<ImageAnswer, Failure>),
    /// What a source is.
    Source(SourceMeta),
}

/// Answers by question.
#[derive(Clone, Debug, Default)]
pub struct Facts(BTreeMap<String, Fact>);

impl Need {
    /// A text that is equal for equal questions only.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::File {
                definition,
                path,
                limit,
                lenient,
            } => {
                let digest = Digest::sha256_of(definition.def.concat());
                format!("file {digest} {limit:?} {lenient} {path}")
            }
            Self::Source(query) => format!(
                "source {:?} {} {:?}",
                query.source, query.git_objects, query.checksum
            ),
            Self::Image(query) => {
                let platform = query.platform.as_ref().map(pb::Platform::encode_to_vec);
                format!(
                    "image {} {platform:?} {:?} {:?}",
                    query.reference, query.mode, query.oci_layout_store
                )
            }
        }
    }
}

impl Facts {
    /// Remembers an answer.
    pub fn insert(&mut self, need: &Need, fact: Fact) {
        self.0.insert(need.key(), fact);
    }

    /// The answer, if it is known.
    #[must_use]
    pub fn get(&self, need: &Need) -> Option<&Fact> {
        self.0.get(&need.key())
    }
}
