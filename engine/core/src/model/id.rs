use std::fmt;

use cooper_proto::Digest;

/// One build that a client asked for, from `Solve` until its record is written.
///
/// The text is the `Ref` that the client chose, so that progress and history carry the name it knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub String);

/// A client's session: the channel by which a build reaches the client's files, secrets and credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub String);

/// A file-system state that a worker holds: one output of a vertex that ran or was loaded from a cache.
///
/// The worker chooses the text when it commits the state. [`ResultId::scratch`] names the empty state, which
/// every worker has and none stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResultId(pub String);

impl ResultId {
    /// The empty file system.
    #[must_use]
    pub fn scratch() -> Self {
        Self(String::from("scratch"))
    }

    /// Whether this names the empty file system.
    #[must_use]
    pub fn is_scratch(&self) -> bool {
        self.0 == "scratch"
    }
}

/// A key under which a result can be found again: derived from an op's cache digest, the output's index and the
/// keys of the inputs. Equal keys promise interchangeable results.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKeyId(pub Digest);

/// One output of one vertex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// sha256 of the op's bytes as received.
    pub vertex: Digest,
    /// Position among the op's outputs.
    pub output: u32,
}

/// A question put to the scheduler, to be answered exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A piece of work that the scheduler handed to its driver, to be finished exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ResultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
