use std::io;

/// Why an archive is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The parser does not understand a header.
    #[error("the archive is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where the header begins.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Other programs would read the entry differently than we do.
    #[error("the archive is ambiguous at byte {offset}: {reason}")]
    Ambiguous {
        /// Where the header begins.
        offset: u64,
        /// What contradicts what.
        reason: &'static str,
    },
    /// An entry's type has no meaning in a layer.
    #[error(
        "the archive has an entry of type {kind:?} at byte {offset}, which a layer cannot hold"
    )]
    Kind {
        /// Where the header begins.
        offset: u64,
        /// The type flag.
        kind: char,
    },
    /// The archive ends in the middle of something.
    #[error("the archive ends early, after {offset} bytes")]
    Truncated {
        /// How many bytes there were.
        offset: u64,
    },
    /// Too many entries, or one with too much metadata.
    #[error("the archive exceeds the cap on {what} of {cap}")]
    TooLarge {
        /// What is capped, with its unit.
        what: &'static str,
        /// The cap.
        cap: u64,
    },
    /// A path leads out of the archive's root.
    #[error("the archive has an entry {path:?}, which leads out of it")]
    Escapes {
        /// The path as written.
        path: String,
    },
    /// The bytes could not be read or decompressed.
    #[error("reading the archive: {0}")]
    Io(#[from] io::Error),
}
