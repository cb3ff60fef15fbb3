use cooper_proto::Digest;

use crate::model::{Failure, FailureKind};

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// More of something than [`super::Limits`] allows.
    #[error("definition has {found} {what}, more than the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
    /// An entry is not an encoded op.
    #[error("entry {entry} of the definition is not an op: {reason}")]
    Undecodable {
        /// Position in the definition.
        entry: usize,
        /// What the decoder said.
        reason: String,
    },
    /// The same op is listed twice.
    #[error("op {vertex} is listed twice, as entries {first} and {second}")]
    Duplicate {
        /// The op.
        vertex: Digest,
        /// Position of the first mention.
        first: usize,
        /// Position of the second mention.
        second: usize,
    },
    /// The last entry does not name what the definition asks for.
    #[error("the last entry of a definition has exactly one input and no op of its own: {reason}")]
    Terminal {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The ops stand on each other in a circle.
    #[error("ops depend on each other in a circle, {vertex} among them")]
    Cycle {
        /// One of them.
        vertex: Digest,
    },
    /// One op is wrong.
    #[error("op {vertex}: {reason}")]
    Op {
        /// The op.
        vertex: Digest,
        /// What is wrong with it.
        reason: OpError,
    },
    /// The source map is wrong.
    #[error("source map of {vertex}: {reason}")]
    SourceMap {
        /// Whose places it gives.
        vertex: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What is wrong with one op.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The kind of op is not one we know.
    #[error("its kind is not known")]
    UnknownKind,
    /// A capability that we do not have is required.
    #[error("it requires the capability {0:?}, which is not known")]
    UnknownCapability(String),
    /// A step asks for an isolation that does not exist.
    #[error("invalid security mode {0}")]
    SecurityMode(i32),
    /// An enum has a value that we do not know.
    #[error("{field} has the value {value}, which is not known")]
    UnknownValue {
        /// The field.
        field: &'static str,
        /// Its number on the wire.
        value: i32,
    },
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An input's digest is not one.
    #[error("input {input} names {digest:?}, which is not a sha256 digest")]
    InputDigest {
        /// Position of the input.
        input: usize,
        /// What is there.
        digest: String,
    },
    /// An input is not in the definition.
    #[error("input {input} is {digest}, which the definition does not have")]
    InputMissing {
        /// Position of the input.
        input: usize,
        /// What is looked for.
        digest: Digest,
    },
    /// An input names an output that its op does not have.
    #[error("input {input} asks for output {index} of an op that has {outputs}")]
    OutputIndex {
        /// Position of the input.
        input: usize,
        /// What is asked for.
        index: i64,
        /// How many there are.
        outputs: u32,
    },
    /// An index points at nothing.
    #[error("{field} is {index}, outside {low}..{high}")]
    Index {
        /// The field.
        field: &'static str,
        /// What is there.
        index: i64,
        /// Smallest that is allowed.
        low: i64,
        /// First that is not allowed.
        high: i64,
    },
    /// Output numbers are not 0, 1, 2 and so on.
    #[error("its outputs are not numbered from 0 without gaps or repeats: {index} is out of order")]
    OutputOrder {
        /// The first number that is wrong.
        index: i64,
    },
    /// More of something than [`super::Limits`] allows.
    #[error("it has {found} {what}, more than the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
    /// Something else that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        let vertex = match &error {
            GraphError::Duplicate { vertex, .. }
            | GraphError::Cycle { vertex }
            | GraphError::Op { vertex, .. } => Some(vertex.clone()),
            GraphError::TooMany { .. }
            | GraphError::Undecodable { .. }
            | GraphError::Terminal { .. }
            | GraphError::SourceMap { .. } => None,
        };
        let mut failure = Self::new(
            FailureKind::InvalidInput,
            format!("invalid definition: {error}"),
        );
        failure.vertex = vertex;
        failure
    }
}
