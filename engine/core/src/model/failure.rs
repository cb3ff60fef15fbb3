use std::sync::Arc;

use cooper_proto::{Digest, pb};

use super::ResultId;

/// Why something that a client asked for did not happen, with what is needed to show it well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whose fault it is, which decides status and exit codes.
    pub kind: FailureKind,
    /// What went wrong, in words that users of BuildKit know.
    pub message: String,
    /// The vertex that failed.
    pub vertex: Option<Digest>,
    /// The places in the build's source that led here, the most telling first.
    pub locations: Vec<SourceLocation>,
    /// What the user could try.
    pub hint: Option<String>,
    /// What there is to look at of the op that failed.
    pub op: Option<Arc<FailedOp>>,
    /// What a frontend told of it in its own terms, handed on as it is.
    pub details: Vec<FailureDetail>,
}

/// Something about a failure in the terms of who raised it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureDetail {
    /// What kind of value it is.
    pub type_url: String,
    /// The value.
    pub value: Vec<u8>,
}

/// What an op that failed leaves, for who wants to look around in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailedOp {
    /// The op's bytes.
    pub op: Vec<u8>,
    /// For each of the op's mounts the state that it began with; of a file op, its inputs.
    pub inputs: Vec<Option<ResultId>>,
    /// For each of the op's mounts (of a file op: actions) the state that it was left in, pinned once by who made it where it is not also among
    /// the inputs.
    pub mounts: Vec<Option<ResultId>>,
    /// Which part of the op failed, where it has parts.
    pub part: Option<FailedPart>,
    /// What the vertex is described by.
    pub description: std::collections::BTreeMap<String, String>,
}

/// A part of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedPart {
    /// An action of a file op, counted from 0.
    Action(usize),
    /// An input whose content was to be digested, counted from 0.
    Content(usize),
}

impl FailedOp {
    /// The states that were made by failing.
    #[must_use]
    pub fn made(&self) -> Vec<ResultId> {
        let made = self.mounts.iter().filter(|it| !self.inputs.contains(it));
        made.flatten()
            .filter(|it| !it.is_scratch())
            .cloned()
            .collect()
    }
}

/// Whose fault a failure is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureKind {
    /// The request or the Dockerfile says something that cannot be done.
    InvalidInput,
    /// A step's process ended with a code that its op does not allow.
    Exit {
        /// The code, 128 + n for signal n.
        code: i32,
    },
    /// Something named does not exist: a path, an image, a stage, a secret.
    NotFound,
    /// A path that a step takes is not in what it is given. BuildKit tells clients no code for it.
    MissingPath,
    /// The request needs a permission that was not given.
    Denied,
    /// Cooper does not have this feature yet; the message names it.
    Unsupported,
    /// The client or the user gave up.
    Cancelled,
    /// The world let us down (disk, network, registry, a lost worker); trying again may help.
    Infrastructure,
    /// A fault of Cooper's own.
    Internal,
}

/// A part of one source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Ranges in it, in order.
    pub ranges: Vec<SourceRange>,
}

/// A file that a build was described by, as it was read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SourceFile {
    /// Name to show, such as `Dockerfile`.
    pub name: String,
    /// Language for highlighting, such as `Dockerfile`.
    pub language: String,
    /// The whole text.
    pub text: String,
    /// What makes the file, where it was read out of a build's result.
    pub definition: Option<Arc<pb::Definition>>,
}

// A definition has no numbers that differ from themselves.
impl Eq for SourceFile {}

/// Lines of a file, counted from 1; both ends are included. Characters are counted from 0 as the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SourceRange {
    /// First line.
    pub start_line: u32,
    /// Character in the first line.
    pub start_character: u32,
    /// Last line.
    pub end_line: u32,
    /// Character in the last line.
    pub end_character: u32,
}

impl Failure {
    /// A failure with nothing known but its kind and words.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            vertex: None,
            locations: Vec::new(),
            hint: None,
            op: None,
            details: Vec::new(),
        }
    }

    /// A feature that this build of Cooper does not have.
    pub fn unsupported(feature: impl Into<String>) -> Self {
        Self::new(
            FailureKind::Unsupported,
            format!("{} is not supported yet", feature.into()),
        )
    }

    /// The same failure with advice for the user.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure, said to be of this vertex unless one is named already.
    #[must_use]
    pub fn of_vertex(mut self, vertex: &Digest) -> Self {
        self.vertex.get_or_insert_with(|| vertex.clone());
        self
    }

    /// The same failure with one more place in the build's source.
    #[must_use]
    pub fn at(mut self, location: SourceLocation) -> Self {
        self.locations.push(location);
        self
    }
}
