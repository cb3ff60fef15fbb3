use cooper_proto::Digest;

use super::failure::SourceLocation;

/// What happens inside one op while it runs. Times are stamped by whoever receives the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpEvent {
    /// A named part of the op's work began, went on or ended.
    Status(Status),
    /// Bytes that the op's process wrote.
    Log {
        /// Where they were written.
        stream: LogStream,
        /// The bytes, not cut at line ends.
        data: bytes::Bytes,
    },
    /// Something the user should know though the op goes on.
    Warning(Warning),
}

/// Progress of one named part of an op, such as one layer's transfer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Unique within the op, shown to the user, such as `extracting sha256:…`.
    pub id: String,
    /// What is being done, in one word such as `transferring`, for programs that look for it; or empty.
    pub action: String,
    /// What is done so far, in bytes unless `id` says otherwise.
    pub current: u64,
    /// What there is to do, 0 when not known.
    pub total: u64,
    /// Whether this part is over.
    pub completed: bool,
}

/// Which of a process's outputs a log chunk came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogStream {
    /// Standard output, 1 on the wire.
    Stdout,
    /// Standard error, 2 on the wire.
    Stderr,
}

/// A remark on the build that does not stop it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Warning {
    /// The vertex the remark belongs to, if it has one.
    pub vertex: Option<Digest>,
    /// Severity as BuildKit counts it; lint rules are 1.
    pub level: i32,
    /// One line.
    pub short: String,
    /// Further lines.
    pub detail: Vec<String>,
    /// Where to read more, or empty.
    pub url: String,
    /// The place in the build's source that it is about.
    pub location: Option<SourceLocation>,
}
